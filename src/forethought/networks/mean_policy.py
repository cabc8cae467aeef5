"""The policy network of guided policy search: a mean, and one covariance for all states."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import EnvSpec
from .normaliser import Normaliser


class MeanPolicy(eqx.Module):
    """A network that gives the mean action, and one covariance for all states."""

    network: eqx.nn.MLP
    inputs: Normaliser
    scale: Float[Array, " action"]  # half the range of the actions: the network's unit
    covariance: Float[Array, "action action"]
    spec: EnvSpec

    @classmethod
    def fresh(
        cls, spec: EnvSpec, scale: Float[Array, " action"], hidden: tuple[int, ...], *, std: float, key: PRNGKeyArray
    ) -> "MeanPolicy":
        """Random weights. Raises ValueError unless the hidden layers are all of one width, at least one of them."""
        if not hidden or min(hidden) < 1 or len(set(hidden)) > 1:
            raise ValueError(f"hidden={hidden} must be layers of one width, at least one; use (64, 64)")
        network = eqx.nn.MLP(spec.feature_dim, scale.shape[0], hidden[0], len(hidden), jax.nn.tanh, key=key)
        return cls(network, Normaliser.identity(spec.feature_dim), scale, jnp.diag((std * scale) ** 2), spec)

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, " action"]:
        return self.scale * self.network(self.inputs(self.spec.features(obs)))
