"""Centre and scale of features, fitted to data and never trained."""

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Normaliser(eqx.Module):
    """`(x - loc) / scale` over the last axis. A constant feature keeps scale 1, so it maps to 0 and back."""

    loc: Float[Array, " features"]
    scale: Float[Array, " features"]

    @classmethod
    def identity(cls, size: int) -> Self:
        """Leaves features as they are."""
        return cls(jnp.zeros(size), jnp.ones(size))

    @classmethod
    def of(cls, x: Float[Array, "n features"], mask: Bool[Array, " n"]) -> Self:
        """Mean and standard deviation of the rows of `x` where `mask`."""
        n = jnp.maximum(jnp.sum(mask), 1)
        # Selected, not weighted by zero: rows not in use may hold anything, and 0 * NaN is NaN.
        loc = jnp.sum(jnp.where(mask[:, None], x, 0.0), 0) / n
        scale = jnp.sqrt(jnp.sum(jnp.where(mask[:, None], (x - loc) ** 2, 0.0), 0) / n)
        return cls(loc, jnp.where(scale < 1e-6 * (1 + jnp.abs(loc)), 1.0, scale))

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        loc, scale = jax.lax.stop_gradient((self.loc, self.scale))
        return (x - loc) / scale

    def inverse(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """Back to the features' own units."""
        return x * self.scale + self.loc
