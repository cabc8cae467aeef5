"""What a stochastic latent can be: categoricals, Gaussians, or, for the deterministic ablation, points."""

import abc
from typing import Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..losses.kl import categorical_kl, gaussian_kl

LatentKind = Literal["categorical", "gaussian", "point"]


class AbstractLatent(eqx.Module):
    """A distribution over latents `[*batch, stoch]`."""

    @abc.abstractmethod
    def sample(self, noise: Array) -> Float[Array, "*batch stoch"]:
        """A draw that gradients pass through; `noise` as `LatentShape.noise` draws it."""

    @abc.abstractmethod
    def mode(self) -> Float[Array, "*batch stoch"]:
        """The likeliest latent."""

    @abc.abstractmethod
    def kl(self, prior: Self) -> Float[Array, "*batch"]:
        """KL(self || prior) in nats, summed over the latent."""

    @abc.abstractmethod
    def entropy(self) -> Float[Array, "*batch"]:
        """In nats, summed over the latent."""


class CategoricalLatent(AbstractLatent):
    """Independent categoricals as one-hot vectors, with straight-through gradients (Hafner et al. 2021, Alg. 1)."""

    log_probs: Float[Array, "*batch latents classes"]

    def sample(self, noise: Float[Array, "*batch latents classes"]) -> Float[Array, "*batch stoch"]:
        return self._one_hot(self.log_probs + noise)

    def mode(self) -> Float[Array, "*batch stoch"]:
        return self._one_hot(self.log_probs)

    def _one_hot(self, score: Array) -> Array:
        probs = jnp.exp(self.log_probs)
        hot = jax.nn.one_hot(jnp.argmax(score, -1), score.shape[-1], dtype=probs.dtype)
        hot = hot + probs - jax.lax.stop_gradient(probs)
        return hot.reshape(*hot.shape[:-2], -1)

    def kl(self, prior: Self) -> Float[Array, "*batch"]:
        return categorical_kl(self.log_probs, prior.log_probs)

    def entropy(self) -> Float[Array, "*batch"]:
        return -jnp.sum(jnp.exp(self.log_probs) * self.log_probs, (-2, -1))


class GaussianLatent(AbstractLatent):
    """A diagonal Gaussian, re-parameterised."""

    mean: Float[Array, "*batch stoch"]
    std: Float[Array, "*batch stoch"]

    def sample(self, noise: Float[Array, "*batch stoch"]) -> Float[Array, "*batch stoch"]:
        return self.mean + self.std * noise

    def mode(self) -> Float[Array, "*batch stoch"]:
        return self.mean

    def kl(self, prior: Self) -> Float[Array, "*batch"]:
        return gaussian_kl(self.mean, self.std, prior.mean, prior.std)

    def entropy(self) -> Float[Array, "*batch"]:
        return jnp.sum(jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e), -1)


class PointLatent(AbstractLatent):
    """A point: nothing is drawn, and the divergence is half the squared distance, as of unit Gaussians."""

    mean: Float[Array, "*batch stoch"]

    def sample(self, noise: Float[Array, "*batch stoch"]) -> Float[Array, "*batch stoch"]:
        return self.mean

    def mode(self) -> Float[Array, "*batch stoch"]:
        return self.mean

    def kl(self, prior: Self) -> Float[Array, "*batch"]:
        return 0.5 * jnp.sum((self.mean - prior.mean) ** 2, -1)

    def entropy(self) -> Float[Array, "*batch"]:
        return jnp.zeros(self.mean.shape[:-1])


class LatentShape(eqx.Module):
    """Kind and size of a latent: how network outputs become its distribution, and its noise.

    Raises ValueError for invalid sizes and probabilities.
    """

    kind: LatentKind = eqx.field(static=True)
    latents: int = eqx.field(static=True)  # categoricals, or dimensions
    classes: int = eqx.field(static=True)  # of each categorical
    unimix: float = eqx.field(static=True)  # share of the uniform distribution in each categorical
    min_std: float = eqx.field(static=True)  # least standard deviation of a Gaussian
    drawn: bool = eqx.field(static=True, default=True)  # off: means, and the likeliest of categoricals

    def __check_init__(self) -> None:
        if self.kind not in ("categorical", "gaussian", "point"):
            raise ValueError(f"latent={self.kind!r} must be categorical, gaussian or point")
        if self.latents < 1 or (self.kind == "categorical" and self.classes < 2):
            raise ValueError(f"latents={self.latents} must be at least 1 and classes={self.classes} at least 2")
        if not 0 <= self.unimix < 1:
            raise ValueError(f"unimix={self.unimix} must be at least 0 and below 1; 0.01 is usual")
        if self.kind == "gaussian" and not 0 < self.min_std < float("inf"):
            raise ValueError(f"min_std={self.min_std} must be above 0; 0.1 is usual")

    @property
    def stoch(self) -> int:
        """Length of a latent as a flat vector."""
        return self.latents * self.classes if self.kind == "categorical" else self.latents

    @property
    def outputs(self) -> int:
        """Network outputs that a distribution takes."""
        return 2 * self.latents if self.kind == "gaussian" else self.stoch

    def distribution(self, raw: Float[Array, "*batch outputs"]) -> AbstractLatent:
        """The distribution that network outputs stand for."""
        if self.kind == "categorical":
            log_probs = jax.nn.log_softmax(raw.reshape(*raw.shape[:-1], self.latents, self.classes))
            if self.unimix:
                log_probs = jnp.log((1 - self.unimix) * jnp.exp(log_probs) + self.unimix / self.classes)
            return CategoricalLatent(log_probs)
        if self.kind == "gaussian":
            mean, std = jnp.split(raw, 2, -1)
            return GaussianLatent(mean, jax.nn.softplus(std) + self.min_std)
        return PointLatent(raw)

    def noise(self, batch: tuple[int, ...], *, key: PRNGKeyArray) -> Array:
        """The randomness of one draw for a batch: Gumbel for categoricals, normal for Gaussians."""
        shape = (*batch, self.latents, self.classes) if self.kind == "categorical" else (*batch, self.latents)
        if not self.drawn:
            return jnp.zeros(shape)
        if self.kind == "categorical":
            return jr.gumbel(key, shape)
        return jr.normal(key, shape) if self.kind == "gaussian" else jnp.zeros((*batch, 0))
