"""Distributions that models predict."""

import jax
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


class FullNormal(AbstractDistribution):
    """A Gaussian with a full covariance. A singular covariance has no density: its log-density is not finite."""

    loc: Float[Array, "*batch obs"]
    cov: Float[Array, "*batch obs obs"]

    def mean(self) -> Float[Array, "*batch obs"]:
        return self.loc

    def variance(self) -> Float[Array, "*batch obs"]:
        return jnp.diagonal(self.cov, axis1=-2, axis2=-1)

    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        factor = jnp.linalg.cholesky(self.cov)
        away = (obs - self.loc)[..., None]
        scaled = jax.scipy.linalg.solve_triangular(factor, away, lower=True)[..., 0]
        spread = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
        return -0.5 * jnp.sum(scaled**2 + jnp.log(2 * jnp.pi), -1) - jnp.sum(spread, -1)
