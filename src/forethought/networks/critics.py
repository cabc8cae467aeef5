"""Critics: values of observations, of actions by several networks, and of each of n actions by one."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .layers import MLP, RELU, ActivationName


class Critics(eqx.Module):
    """Q-functions of observation and action features, each an MLP with its own weights.

    A list of networks: on a CPU stacked weights are 5 to 15 % slower (two and ten networks of 256 x 256, batch 256).
    """

    networks: list[MLP]

    def __init__(
        self,
        features: int,
        actions: int,
        hidden: tuple[int, ...],
        *,
        num_critics: int = 2,
        layer_norm: bool = False,
        activation: ActivationName = "relu",
        key: PRNGKeyArray,
    ):
        """`layer_norm` normalises every hidden layer. Raises ValueError for fewer than one critic."""
        if num_critics < 1:
            raise ValueError(f"num_critics={num_critics} must be at least 1; 2 is usual")
        norm = "layer" if layer_norm else "none"
        self.networks = [
            MLP(features + actions, 1, hidden, norm=norm, activation=activation, scale=RELU, key=k)
            for k in jr.split(key, num_critics)
        ]

    def __call__(
        self, features: Float[Array, "*batch features"], action: Float[Array, "*batch actions"]
    ) -> Float[Array, "critics *batch"]:
        x = jnp.concatenate([features, action], -1)
        return jnp.stack([network(x)[..., 0] for network in self.networks])


class QNetwork(eqx.Module):
    """The value of each of n actions."""

    network: MLP

    def __init__(
        self,
        features: int,
        actions: int,
        hidden: tuple[int, ...],
        *,
        layer_norm: bool = False,
        activation: ActivationName = "relu",
        key: PRNGKeyArray,
    ):
        norm = "layer" if layer_norm else "none"
        self.network = MLP(features, actions, hidden, norm=norm, activation=activation, scale=RELU, key=key)

    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch actions"]:
        return self.network(features)


class ValueNetwork(eqx.Module):
    """The value of an observation, with orthogonal first weights."""

    network: MLP

    def __init__(
        self, features: int, hidden: tuple[int, ...], *, activation: ActivationName = "tanh", key: PRNGKeyArray
    ):
        self.network = MLP(
            features, 1, hidden, norm="none", activation=activation, scale=RELU, orthogonal=True, key=key
        )

    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch"]:
        return self.network(features)[..., 0]
