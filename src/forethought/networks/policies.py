"""Policies as distributions over actions, and the network that gives them."""

import abc
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.stats import norm as gaussian
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import ActionSpace, Box
from .layers import MLP, ActivationName, NormKind


class AbstractPolicy(eqx.Module):
    """A distribution over actions. What it draws is `raw`; `executed` makes an action of it."""

    @abc.abstractmethod
    def sample(self, *, key: PRNGKeyArray) -> Array:
        """A raw action; gradients pass through it where the distribution can be re-parameterised."""

    @abc.abstractmethod
    def mode(self) -> Array:
        """The likeliest raw action."""

    @abc.abstractmethod
    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        """Log-probability or -density of a raw action."""

    @abc.abstractmethod
    def entropy(self) -> Float[Array, "*batch"]:
        """In nats."""

    @abc.abstractmethod
    def features(self, raw: Array) -> Float[Array, "*batch features"]:
        """A raw action as the world model's network input."""

    @abc.abstractmethod
    def executed(self, raw: Array) -> Array:
        """A raw action as the environment takes it."""


class CategoricalPolicy(AbstractPolicy):
    """One of n actions. A raw action is one-hot, with straight-through gradients."""

    log_probs: Float[Array, "*batch n"]

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "*batch n"]:
        return self._one_hot(jr.categorical(key, self.log_probs))

    def mode(self) -> Float[Array, "*batch n"]:
        return self._one_hot(jnp.argmax(self.log_probs, -1))

    def _one_hot(self, chosen: Array) -> Float[Array, "*batch n"]:
        probs = jnp.exp(self.log_probs)
        return jax.nn.one_hot(chosen, probs.shape[-1]) + (probs - jax.lax.stop_gradient(probs))

    def log_prob(self, raw: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
        return jnp.sum(jax.lax.stop_gradient(raw) * self.log_probs, -1)

    def entropy(self) -> Float[Array, "*batch"]:
        return -jnp.sum(jnp.exp(self.log_probs) * self.log_probs, -1)

    def features(self, raw: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        return raw

    def executed(self, raw: Float[Array, "*batch n"]) -> Array:
        return jnp.argmax(raw, -1).astype(jnp.int32)


class NormalPolicy(AbstractPolicy):
    """A diagonal Gaussian, in units in which the Box is [-1, 1]. Draws beyond the bounds are clipped where used."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]
    space: Box

    def sample(self, *, key: PRNGKeyArray) -> Array:
        return self.mean + self.std * jr.normal(key, self.mean.shape)

    def mode(self) -> Array:
        return self.mean

    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        return jnp.sum(gaussian.logpdf(raw, self.mean, self.std), -1)

    def entropy(self) -> Float[Array, "*batch"]:
        return jnp.sum(jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e), -1)

    def features(self, raw: Array) -> Float[Array, "*batch action"]:
        return jnp.clip(raw, -1.0, 1.0)

    def executed(self, raw: Array) -> Array:
        return in_units(self.space, raw)


class TruncatedNormalPolicy(AbstractPolicy):
    """A Gaussian in [-1, 1], cut there and renormalised, re-parameterised by its distribution function (Dreamer v2)."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]
    space: Box

    def _edges(self) -> tuple[Array, Array]:
        """The bounds in standard deviations from the mean."""
        return (-1.0 - self.mean) / self.std, (1.0 - self.mean) / self.std

    def _mass(self) -> tuple[Array, Array]:
        """The untruncated distribution function at the lower bound, and the mass between the bounds."""
        low, high = self._edges()
        below = gaussian.cdf(low)
        return below, gaussian.cdf(high) - below

    def sample(self, *, key: PRNGKeyArray) -> Array:
        below, mass = self._mass()
        place = below + mass * jr.uniform(key, self.mean.shape, minval=1e-4, maxval=1 - 1e-4)
        return jnp.clip(self.mean + self.std * gaussian.ppf(place), -1.0, 1.0)

    def mode(self) -> Array:
        return self.mean

    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        return jnp.sum(gaussian.logpdf(raw, self.mean, self.std) - jnp.log(self._mass()[1]), -1)

    def entropy(self) -> Float[Array, "*batch"]:
        (low, high), mass = self._edges(), self._mass()[1]
        tilt = (low * gaussian.pdf(low) - high * gaussian.pdf(high)) / (2 * mass)
        return jnp.sum(jnp.log(self.std * mass) + 0.5 * jnp.log(2 * jnp.pi * jnp.e) + tilt, -1)

    def features(self, raw: Array) -> Float[Array, "*batch action"]:
        return raw

    def executed(self, raw: Array) -> Array:
        return in_units(self.space, raw)


class TanhNormalPolicy(AbstractPolicy):
    """A Gaussian squashed into [-1, 1] (Dreamer v1). Its mode is taken to be the squashed mean."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]
    space: Box

    def sample(self, *, key: PRNGKeyArray) -> Array:
        return jnp.tanh(self.mean + self.std * jr.normal(key, self.mean.shape))

    def mode(self) -> Array:
        return jnp.tanh(self.mean)

    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        before = jnp.arctanh(jnp.clip(raw, -1 + 1e-6, 1 - 1e-6))
        return jnp.sum(gaussian.logpdf(before, self.mean, self.std) - log_slope(before), -1)

    def entropy(self) -> Float[Array, "*batch"]:
        """By Gauss-Hermite quadrature."""
        return squashed_entropy(self.mean, self.std)

    def features(self, raw: Array) -> Float[Array, "*batch action"]:
        return raw

    def executed(self, raw: Array) -> Array:
        return in_units(self.space, raw)


class SquashedNormalPolicy(AbstractPolicy):
    """A Gaussian squashed into [-1, 1] (Haarnoja et al. 2018). A raw action is the number before tanh.

    Densities are of the action in [-1, 1], not in the environment's units and not of the raw action.
    """

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]
    space: Box

    def sample(self, *, key: PRNGKeyArray) -> Array:
        return self.sample_with_log_prob(key=key)[0]

    def sample_with_log_prob(
        self, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "*batch action"], Float[Array, "*batch"]]:
        """A raw action and its log-density, from the noise itself: exact also where the deviation is tiny."""
        noise = jr.normal(key, self.mean.shape)
        raw = self.mean + self.std * noise
        return raw, jnp.sum(gaussian.logpdf(noise) - jnp.log(self.std) - log_slope(raw), -1)

    def mode(self) -> Array:
        """The squashed mean, in raw units; not where the density peaks."""
        return self.mean

    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        return jnp.sum(gaussian.logpdf(raw, self.mean, self.std) - log_slope(raw), -1)

    def entropy(self) -> Float[Array, "*batch"]:
        """By Gauss-Hermite quadrature."""
        return squashed_entropy(self.mean, self.std)

    def features(self, raw: Array) -> Float[Array, "*batch action"]:
        return jnp.tanh(raw)

    def executed(self, raw: Array) -> Array:
        return in_units(self.space, jnp.tanh(raw))


def squashed_entropy(mean: Float[Array, "*batch action"], std: Float[Array, "*batch action"]) -> Float[Array, "*batch"]:
    """Entropy in nats of tanh of a Gaussian, by Gauss-Hermite quadrature."""
    points, weight = np.polynomial.hermite_e.hermegauss(32)
    squashed = log_slope(mean[..., None] + std[..., None] * points) @ (weight / weight.sum())
    return jnp.sum(jnp.log(std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e) + squashed, -1)


def log_slope(x: Array) -> Array:
    """`log(1 - tanh(x)^2)`, without loss of digits far out."""
    return 2 * (jnp.log(2.0) - x - jax.nn.softplus(-2 * x))


Policy = CategoricalPolicy | NormalPolicy | TruncatedNormalPolicy | TanhNormalPolicy | SquashedNormalPolicy
PolicyKind = Literal["bounded", "truncated", "tanh"]


def in_units(space: Box, unit: Float[Array, "*batch action"]) -> Float[Array, "*batch action"]:
    """Actions in [-1, 1], cut there, in the environment's own units."""
    low, high = jnp.array(space.low), jnp.array(space.high)
    return low + (jnp.clip(unit, -1.0, 1.0) + 1) / 2 * (high - low)


def to_unit(space: Box, action: Float[Array, "*batch action"]) -> Float[Array, "*batch action"]:
    """Actions in the environment's own units, in [-1, 1]: the inverse of `in_units`."""
    low, high = jnp.array(space.low), jnp.array(space.high)
    return 2 * (action - low) / (high - low) - 1


class Actor(eqx.Module):
    """A policy over features: categorical with a share of uniform, or over a Box the Gaussian that `kind` names.

    `bounded` has a standard deviation in [0.1, 1] (Dreamer v3), `truncated` one in [0.1, 2.1] (v2), and `tanh` one that
    is 5 at first and a mean, before squashing, in [-5, 5] (v1).
    """

    network: MLP
    space: ActionSpace
    kind: PolicyKind = eqx.field(static=True)
    unimix: float = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        space: ActionSpace,
        *,
        units: int,
        layers: int,
        norm: NormKind,
        activation: ActivationName,
        kind: PolicyKind = "bounded",
        unimix: float = 0.0,
        key: PRNGKeyArray,
    ):
        """Close to uniform, or to mean 0, at first. Raises ValueError if `unimix` is not a share."""
        if not 0 <= unimix < 1:
            raise ValueError(f"unimix={unimix} must be at least 0 and below 1; 0.01 is usual")
        outputs = 2 * space.feature_dim if isinstance(space, Box) else space.feature_dim
        style: Any = {"norm": norm, "activation": activation}
        self.network = MLP(features, outputs, (units,) * layers, **style, out_scale=0.01, key=key)
        self.space, self.kind, self.unimix = space, kind, unimix

    def __call__(self, features: Float[Array, "*batch features"]) -> Policy:
        raw = self.network(features)
        if isinstance(self.space, Box):
            mean, std = jnp.split(raw, 2, -1)
            if self.kind == "bounded":
                return NormalPolicy(jnp.tanh(mean), 0.1 + 0.9 * jax.nn.sigmoid(std + 2), self.space)
            if self.kind == "truncated":
                return TruncatedNormalPolicy(jnp.tanh(mean), 0.1 + 2 * jax.nn.sigmoid(std / 2), self.space)
            std = jax.nn.softplus(std + jnp.log(jnp.expm1(5.0))) + 1e-4
            return TanhNormalPolicy(5 * jnp.tanh(mean / 5), std, self.space)
        log_probs = jax.nn.log_softmax(raw)
        if self.unimix:
            log_probs = jnp.log((1 - self.unimix) * jnp.exp(log_probs) + self.unimix / raw.shape[-1])
        return CategoricalPolicy(log_probs)
