"""Deterministic policies that a Gaussian can be sent through: linear and radial basis functions, squashed by sines.

The action is `centre + half range * squash(f(features))`, within its bounds (Deisenroth & Rasmussen 2011, Sec. 2.3).
"""

import abc
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..numerics.float64 import raised
from ..numerics.moment_matching import (
    GPFactors,
    Moments,
    chained,
    inverse_and_logdet,
    linear_moments,
    rbf_moments,
    squash,
    squash_moments,
)
from ..types import Box, EnvSpec

_NOISE = 0.01  # standard deviation with which an RBF policy follows its targets, as in the authors' software


class AbstractSquashedPolicy(eqx.Module):
    """A policy on `EnvSpec.features`, with moments in closed form; made and used where float64 is enabled."""

    action: eqx.AbstractVar[Box]

    @abc.abstractmethod
    def raw(self, features: Float[Array, " features"]) -> Float[Array, " action"]:
        """The action before it is squashed."""

    @abc.abstractmethod
    def raw_moments(self, mean: Float[Array, " features"], cov: Float[Array, "features features"]) -> Moments:
        """Moments of `raw` for Gaussian features."""

    def __call__(self, features: Float[Array, " features"]) -> Float[Array, " action"]:
        """The action."""
        centre, half = _middle(self.action)
        return centre + half * squash(self.raw(features))

    def moments(self, mean: Float[Array, " features"], cov: Float[Array, "features features"]) -> Moments:
        """Moments of the action for Gaussian features, the raw action taken for Gaussian too."""
        centre, half = _middle(self.action)
        raw = self.raw_moments(mean, cov)
        out = chained(raw, squash_moments(raw.mean, raw.cov))
        return Moments(centre + half * out.mean, jnp.outer(half, half) * out.cov, out.gain * half)


class LinearPolicy(AbstractSquashedPolicy):
    """Linear in the features."""

    weights: Float[Array, "features action"]
    bias: Float[Array, " action"]
    action: Box

    @classmethod
    def random(cls, spec: EnvSpec, action: Box, *, key: PRNGKeyArray) -> Self:
        """Small weights: the standard deviation of each is 0.1."""
        size = len(action.low)
        weights = 0.1 * jr.normal(key, (spec.feature_dim, size), jnp.float32)
        return raised(cls(weights=weights, bias=jnp.zeros(size), action=action))

    def raw(self, features: Float[Array, " features"]) -> Float[Array, " action"]:
        return features @ self.weights + self.bias

    def raw_moments(self, mean: Array, cov: Array) -> Moments:
        return linear_moments(self.weights, self.bias, mean, cov)


class RBFPolicy(AbstractSquashedPolicy):
    """The mean of a Gaussian process with `targets` at `centres`: a sum of Gaussian bumps."""

    centres: Float[Array, "centres features"]
    targets: Float[Array, "centres action"]
    log_scales: Float[Array, "action features"]
    action: Box

    @classmethod
    def random(
        cls, spec: EnvSpec, action: Box, centres: Float[Array, "centres features"], *, key: PRNGKeyArray
    ) -> Self:
        """Targets of standard deviation 0.1; length scales 1, and 0.7 for sines and cosines."""
        scales = np.ones(spec.feature_dim)
        scales[[*spec.angle_dims, *range(spec.obs_dim, spec.feature_dim)]] = 0.7
        size = len(action.low)
        log_scales = jnp.broadcast_to(jnp.log(jnp.asarray(scales)), (size, spec.feature_dim))
        targets = 0.1 * jr.normal(key, (len(centres), size), jnp.float32)
        return raised(cls(centres=centres, targets=targets, log_scales=log_scales, action=action))

    def _factors(self) -> GPFactors:
        scaled = self.centres * jnp.exp(-self.log_scales)[:, None]
        distance = jnp.sum((scaled[:, :, None] - scaled[:, None]) ** 2, -1)
        kernel = jnp.exp(-0.5 * distance) + _NOISE**2 * jnp.eye(len(self.centres))
        beta = jnp.einsum("aij,ja->ai", jax.vmap(inverse_and_logdet)(kernel)[0], self.targets)
        size = len(self.action.low)
        points = jnp.broadcast_to(self.centres, (size, *self.centres.shape))
        return GPFactors(points, beta, jnp.zeros_like(kernel), jnp.exp(self.log_scales), jnp.ones(size))

    def raw(self, features: Float[Array, " features"]) -> Float[Array, " action"]:
        factors = self._factors()
        scaled = (features - factors.points) / factors.scales[:, None]
        return jnp.sum(factors.beta * jnp.exp(-0.5 * jnp.sum(scaled**2, -1)), -1)

    def raw_moments(self, mean: Array, cov: Array) -> Moments:
        return rbf_moments(self._factors(), mean, cov)


def _middle(action: Box) -> tuple[Array, Array]:
    """Centre and half range of the actions."""
    low, high = jnp.array(action.low), jnp.array(action.high)
    return (low + high) / 2, (high - low) / 2
