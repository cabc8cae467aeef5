"""Distributions over action sequences: a diagonal Gaussian for Box, independent categoricals for Discrete."""

import abc
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..types import ActionSpace, Box, Discrete


class AbstractSequences(eqx.Module):
    """A distribution over action sequences `[horizon, *action]` that a planner narrows down."""

    @abc.abstractmethod
    def sample(self, n: int, *, key: PRNGKeyArray) -> Array:
        """`n` sequences `[n, horizon, *action]`, all inside the action space."""

    @abc.abstractmethod
    def sample_clipped(self, n: int, beta: float, *, key: PRNGKeyArray) -> Array:
        """As `sample`, from noise with spectrum `1 / frequency**beta` over the horizon, clipped to bounds.

        Categorical actions have no such noise: `beta` does not matter to them.
        """

    @abc.abstractmethod
    def refit(self, sequences: Array, weight: Float[Array, " n"], momentum: float) -> Self:
        """Moved to the weighted `sequences` `[n, horizon, *action]`; `momentum` is the share of the *old*.

        Weights need not sum to one; where all are zero, nothing moves.
        """

    @abc.abstractmethod
    def mode(self, tied: Array | None = None) -> Array:
        """The middle sequence `[horizon, *action]`: the mean (Box), the likeliest actions (Discrete).

        Of equally likely actions the one in `tied` is taken where that is among them, else the first.
        """

    @abc.abstractmethod
    def shift(self) -> Self:
        """Start of the search one step later: as wide as a fresh one where the type says so."""


class GaussianSequences(AbstractSequences):
    """Independent Gaussians, truncated at two standard deviations, that never leave the bounds."""

    mean: Float[Array, "horizon action"]
    variance: Float[Array, "horizon action"]
    space: Box
    initial_std: float = eqx.field(static=True)  # fraction of the range

    @classmethod
    def start(cls, space: Box, horizon: int, initial_std: float = 0.25) -> Self:
        """Centred in the bounds; the default variance is (high - low)^2 / 16."""
        mean = jnp.broadcast_to(centre(space), (horizon, *space.shape))
        return cls(mean, _initial_variance(space, initial_std, mean), space, initial_std)

    def sample(self, n: int, *, key: PRNGKeyArray) -> Array:
        # PETS: shrunk so that two standard deviations reach the nearer bound, hence no mass piles up on it.
        low, high = bounds(self.space)
        room = jnp.minimum(self.mean - low, high - self.mean) / 2
        std = jnp.minimum(jnp.sqrt(self.variance), room)
        noise = jr.truncated_normal(key, -2.0, 2.0, (n, *self.mean.shape), self.mean.dtype)
        return jnp.clip(self.mean + std * noise, low, high)

    def sample_clipped(self, n: int, beta: float, *, key: PRNGKeyArray) -> Array:
        noise = coloured_noise((n, *self.mean.shape), beta, key=key)
        return jnp.clip(self.mean + jnp.sqrt(self.variance) * noise, *bounds(self.space))

    def refit(self, sequences: Array, weight: Float[Array, " n"], momentum: float) -> Self:
        weight, old = _share(weight, momentum)
        mean = jnp.einsum("n,nha->ha", weight, sequences)
        variance = jnp.einsum("n,nha->ha", weight, (sequences - mean) ** 2)
        return type(self)(
            (old * self.mean + (1 - old) * mean).astype(self.mean.dtype),
            (old * self.variance + (1 - old) * variance).astype(self.variance.dtype),
            self.space,
            self.initial_std,
        )

    def mode(self, tied: Array | None = None) -> Array:
        return jnp.clip(self.mean, *bounds(self.space))

    def shift(self) -> Self:
        """The mean one step on, padded with the centre; the variance starts afresh (PETS)."""
        mean = shifted(self.mean, centre(self.space))
        return type(self)(mean, _initial_variance(self.space, self.initial_std, mean), self.space, self.initial_std)


class CategoricalSequences(AbstractSequences):
    """Independent categorical distributions, one for every step."""

    probs: Float[Array, "horizon n"]

    @classmethod
    def start(cls, space: Discrete, horizon: int) -> Self:
        """Uniform."""
        return cls(jnp.full((horizon, space.n), 1 / space.n, jnp.float32))

    def sample(self, n: int, *, key: PRNGKeyArray) -> Int[Array, "n horizon"]:
        return jr.categorical(key, jnp.log(self.probs), shape=(n, self.probs.shape[0])).astype(jnp.int32)

    def sample_clipped(self, n: int, beta: float, *, key: PRNGKeyArray) -> Int[Array, "n horizon"]:
        return self.sample(n, key=key)

    def refit(self, sequences: Array, weight: Float[Array, " n"], momentum: float) -> Self:
        weight, old = _share(weight, momentum)
        probs = jnp.einsum("n,nhc->hc", weight, jnp.eye(self.probs.shape[1])[sequences])
        return type(self)((old * self.probs + (1 - old) * probs).astype(self.probs.dtype))

    def mode(self, tied: Array | None = None) -> Int[Array, " horizon"]:
        probs = self.probs if tied is None else self.probs + 1e-6 * jnp.eye(self.probs.shape[1])[tied]
        return jnp.argmax(probs, -1).astype(jnp.int32)

    def shift(self) -> Self:
        """One step on, padded with uniform, then half-way back to uniform so that the search can move."""
        uniform = 1 / self.probs.shape[1]
        return type(self)((shifted(self.probs, jnp.full(self.probs.shape[1], uniform)) + uniform) / 2)


Sequences = GaussianSequences | CategoricalSequences


def start(space: ActionSpace, horizon: int, initial_std: float = 0.25) -> Sequences:
    """The widest distribution over sequences; `initial_std` is a fraction of the range (Box only)."""
    if isinstance(space, Box):
        return GaussianSequences.start(space, horizon, initial_std)
    return CategoricalSequences.start(space, horizon)


def bounds(space: Box) -> tuple[Float[Array, " action"], Float[Array, " action"]]:
    """`(low, high)` as float32 arrays."""
    return jnp.array(space.low, jnp.float32), jnp.array(space.high, jnp.float32)


def centre(space: ActionSpace) -> Array:
    """The action `[*action]` a planner falls back on: the middle of a Box, action 0 of a Discrete."""
    if isinstance(space, Box):
        low, high = bounds(space)
        return (low + high) / 2
    return jnp.zeros((), jnp.int32)


def shifted(sequence: Array, pad: Array) -> Array:
    """`sequence` `[horizon, ...]` one step later, with `pad` `[...]` as its new last entry."""
    return jnp.concatenate([sequence[1:], pad[None].astype(sequence.dtype)])


def coloured_noise(shape: tuple[int, ...], beta: float, *, key: PRNGKeyArray) -> Float[Array, "n horizon action"]:
    """Gaussian noise of variance 1, spectrum `1 / frequency**beta` over the horizon (Pinneri et al. 2020).

    0 is white, 2 is Brownian. The constant component is as strong as the lowest frequency, 1 / horizon.
    """
    white = jr.normal(key, shape, jnp.float32)
    if beta == 0:
        return white
    return jnp.einsum("nha,hk->nka", white, jnp.asarray(_colouring(shape[1], beta)))


def _colouring(horizon: int, beta: float) -> np.ndarray:
    """The `[horizon, horizon]` matrix that colours white noise: a filter over frequencies."""
    frequency = np.maximum(np.fft.rfftfreq(horizon), 1 / horizon)
    amplitude = frequency ** (-beta / 2)
    matrix = np.fft.irfft(amplitude[:, None] * np.fft.rfft(np.eye(horizon), axis=0), n=horizon, axis=0)
    return (matrix / np.sqrt((matrix**2).sum(0))).astype(np.float32)


def _initial_variance(space: Box, initial_std: float, mean: Array) -> Array:
    low, high = bounds(space)
    return jnp.broadcast_to((initial_std * (high - low)) ** 2, mean.shape)


def _share(weight: Float[Array, " n"], momentum: float) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Weights that sum to one, and the share of the old distribution (1 where every weight is zero)."""
    total = weight.sum()
    return weight / jnp.where(total > 0, total, 1), jnp.where(total > 0, momentum, 1.0)
