"""Policy-value networks: an MLP, or a ResNet for boards."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..presets.search import PolicyValueConfig
from ..types import EnvSpec
from .layers import MLP, RELU, Linear
from .resnet import ResNet

NetworkKind = Literal["mlp", "resnet"]


class Trunk(eqx.Module):
    """Dense layers on all of an observation; of one with a picture, on the picture alone."""

    network: MLP
    spec: EnvSpec

    def __init__(self, spec: EnvSpec, *, units: int, layers: int, key: PRNGKeyArray):
        inputs = spec.feature_dim if spec.image is None else spec.num_pixels
        style: Any = {"norm": "none", "activation": "relu", "scale": RELU}
        self.network = MLP(inputs, None, (units,) * layers, **style, key=key)
        self.spec = spec

    def __call__(self, obs: Float[Array, "n obs"]) -> tuple[Array, Array]:
        """What the policy's head sees, and what the value's does, `[n, features]`."""
        seen = self.spec.pixels(obs).reshape(len(obs), -1) / 255.0 if self.spec.image else self.spec.features(obs)
        hidden = self.network(seen)
        return hidden, hidden


class PolicyValue(eqx.Module):
    """A policy and a value, from the side of the player to move.

    In a game of two the value is `tanh` of what the head says, else that itself. Both heads say next to nothing at
    first. Raises ValueError for sizes below 1 and for a ResNet on a task without a picture.
    """

    trunk: Trunk | ResNet
    policy_head: Linear
    value_head: Linear
    bounded: bool = eqx.field(static=True)

    def __init__(
        self,
        spec: EnvSpec,
        kind: NetworkKind,
        *,
        units: int,
        layers: int,
        channels: int,
        blocks: int,
        bounded: bool,
        key: PRNGKeyArray,
    ):
        for name, size in {"units": units, "layers": layers, "channels": channels, "blocks": blocks}.items():
            if size < 1:
                raise ValueError(f"{name}={size} must be at least 1")
        trunk_key, policy_key, value_key = jr.split(key, 3)
        if kind == "mlp":
            self.trunk = Trunk(spec, units=units, layers=layers, key=trunk_key)
        else:
            self.trunk = ResNet(spec, channels=channels, blocks=blocks, units=units, key=trunk_key)
        sizes = jax.eval_shape(self.trunk, jnp.zeros((1, spec.obs_dim)))
        self.policy_head = Linear(sizes[0].shape[-1], spec.action.feature_dim, scale=0.1, key=policy_key)
        self.value_head = Linear(sizes[1].shape[-1], 1, scale=0.1, key=value_key)
        self.bounded = bounded

    def __call__(
        self, obs: Float[Array, "*batch obs"]
    ) -> tuple[Float[Array, "*batch actions"], Float[Array, "*batch"]]:
        """Logits of the policy, and the value before any `tanh`: see `value`."""
        policy, value = self.trunk(obs.reshape(-1, obs.shape[-1]))
        logits, score = self.policy_head(policy), self.value_head(value)[..., 0]
        return logits.reshape(*obs.shape[:-1], -1), score.reshape(obs.shape[:-1])

    def value(self, score: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """What a position is worth to the player to move, from the second output."""
        return jnp.tanh(score) if self.bounded else score


def policy_value(spec: EnvSpec, config: PolicyValueConfig, *, bounded: bool, key: PRNGKeyArray) -> PolicyValue:
    """A network that guides searches, with fresh weights. Raises ValueError for invalid sizes."""
    sizes = {"units": config.units, "layers": config.layers, "channels": config.channels, "blocks": config.blocks}
    return PolicyValue(spec, config.kind, **sizes, bounded=bounded, key=key)
