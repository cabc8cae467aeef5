"""Distributions that models predict."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractDistribution


class DiagonalNormal(AbstractDistribution):
    """Independent Gaussians. A variance of zero means certainty: its log-density is infinite or minus infinity."""

    loc: Float[Array, "*batch obs"]
    var: Float[Array, "*batch obs"]

    def mean(self) -> Float[Array, "*batch obs"]:
        return self.loc

    def variance(self) -> Float[Array, "*batch obs"]:
        return self.var

    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return -0.5 * jnp.sum((obs - self.loc) ** 2 / self.var + jnp.log(2 * jnp.pi * self.var), -1)
