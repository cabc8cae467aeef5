"""Actors of model-free learners: MLPs that give a policy."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import ActionSpace, Box
from .layers import MLP, RELU, ActivationName
from .policies import CategoricalPolicy, NormalPolicy, SquashedNormalPolicy

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0  # of the authors of SAC


class SquashedActor(eqx.Module):
    """A squashed Gaussian whose mean and standard deviation depend on the features (Haarnoja et al. 2018)."""

    network: MLP
    space: Box

    def __init__(
        self,
        features: int,
        space: Box,
        hidden: tuple[int, ...],
        *,
        activation: ActivationName = "relu",
        key: PRNGKeyArray,
    ):
        outputs = 2 * space.feature_dim
        self.network = MLP(
            features, outputs, hidden, norm="none", activation=activation, scale=RELU, out_scale=0.01, key=key
        )
        self.space = space

    def __call__(self, features: Float[Array, "*batch features"]) -> SquashedNormalPolicy:
        mean, log_std = jnp.split(self.network(features), 2, -1)
        return SquashedNormalPolicy(mean, jnp.exp(jnp.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)), self.space)


class PolicyGradientActor(eqx.Module):
    """Categorical, or over a Box a Gaussian with the same standard deviation in all states (Schulman et al. 2017).

    Orthogonal first weights; mean 0 or close to uniform at first.
    """

    network: MLP
    log_std: Float[Array, " action"] | None  # None for Discrete actions
    space: ActionSpace

    def __init__(
        self,
        features: int,
        space: ActionSpace,
        hidden: tuple[int, ...],
        *,
        activation: ActivationName = "tanh",
        initial_std: float = 1.0,
        key: PRNGKeyArray,
    ):
        self.network = MLP(
            features,
            space.feature_dim,
            hidden,
            norm="none",
            activation=activation,
            scale=RELU,
            out_scale=0.01,
            orthogonal=True,
            key=key,
        )
        self.log_std = jnp.full(space.feature_dim, jnp.log(initial_std)) if isinstance(space, Box) else None
        self.space = space

    def __call__(self, features: Float[Array, "*batch features"]) -> NormalPolicy | CategoricalPolicy:
        out = self.network(features)
        if isinstance(self.space, Box) and self.log_std is not None:
            return NormalPolicy(out, jnp.broadcast_to(jnp.exp(self.log_std), out.shape), self.space)
        return CategoricalPolicy(jax.nn.log_softmax(out))
