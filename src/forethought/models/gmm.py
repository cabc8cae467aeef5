"""Mixture of Gaussians with full covariances, fitted by expectation-maximisation in arrays of fixed shape."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..networks.normaliser import Normaliser

FLOOR = 1e-6  # added to the variances of every cluster, in units of those of the data
SMALLEST_CHANGE = 1e-4  # of the mean log-likelihood, relative: below it EM has converged


class Mixture(eqx.Module):
    """Weights, means and covariances of the clusters; one that is not in use has log-weight minus infinity."""

    log_weight: Float[Array, " clusters"]
    mean: Float[Array, "clusters dim"]
    cov: Float[Array, "clusters dim dim"]

    def log_joint(self, x: Float[Array, "n dim"]) -> Float[Array, "n clusters"]:
        """Log-density of each row together with each cluster."""
        factor = jnp.linalg.cholesky(self.cov)

        def one(mean: Array, factor: Array) -> Array:
            scaled = jax.scipy.linalg.solve_triangular(factor, (x - mean).T, lower=True)
            return -0.5 * jnp.sum(scaled**2, 0) - jnp.sum(jnp.log(jnp.diag(factor)))

        density = jax.vmap(one, out_axes=1)(self.mean, factor) - 0.5 * x.shape[1] * jnp.log(2 * jnp.pi)
        return density + self.log_weight

    def moments(self, x: Float[Array, "n dim"]) -> tuple[Float[Array, " dim"], Float[Array, "dim dim"]]:
        """Mean and covariance of the mixture, clusters weighted by their mean responsibility for the rows of `x`."""
        weight = jnp.mean(jax.nn.softmax(self.log_joint(x), axis=1), 0)
        mean = weight @ self.mean
        away = self.mean - mean
        return mean, jnp.einsum("k,kij->ij", weight, self.cov + away[:, :, None] * away[:, None, :])


class Fit(eqx.Module):
    """A fitted mixture and how well it fits."""

    mixture: Mixture
    log_likelihood: Float[Array, ""]  # mean over rows, in standard deviations of the data
    rounds: Array


def fit_mixture(
    x: Float[Array, "n dim"],
    in_use: Bool[Array, " n"],
    *,
    clusters: int,
    least_rows: int = 20,
    rounds: int = 50,
    key: PRNGKeyArray,
) -> Fit:
    """A mixture of at most `clusters` Gaussians, fewer where there are not `least_rows` rows for each.

    Works in standard deviations of the data, from clusters grown around rows that lie far from one another
    (k-means++ of Arthur & Vassilvitskii 2007). Raises ValueError for `clusters` below 1.
    """
    if clusters < 1:
        raise ValueError(f"clusters={clusters} must be at least 1")
    units = Normaliser.of(x, in_use)
    scaled = jnp.where(in_use[:, None], units(x), 0.0)
    allowed = jnp.clip(jnp.sum(in_use) // least_rows, 1, clusters)
    start = _maximised(_nearest(scaled, in_use, clusters, allowed, key), scaled)

    def go_on(carry: tuple) -> Array:
        _, new, old, i = carry
        return (i < rounds) & (jnp.abs(new - old) > SMALLEST_CHANGE * jnp.abs(new))

    def improve(carry: tuple) -> tuple:
        mixture, last, _, i = carry
        joint = mixture.log_joint(scaled)
        row = jax.scipy.special.logsumexp(joint, 1)
        share = jnp.where(in_use[:, None], jnp.exp(joint - row[:, None]), 0.0)
        likelihood = jnp.sum(jnp.where(in_use, row, 0.0)) / jnp.maximum(jnp.sum(in_use), 1)
        return _maximised(share, scaled), likelihood, last, i + 1

    worst = jnp.full((), -1e30, x.dtype)
    begin = (start, worst, -worst, jnp.zeros((), jnp.int32))
    mixture, likelihood, _, count = jax.lax.while_loop(go_on, improve, begin)
    cov = mixture.cov * units.scale[:, None] * units.scale[None, :]
    return Fit(Mixture(mixture.log_weight, units.inverse(mixture.mean), cov), likelihood, count)


def _nearest(x: Array, in_use: Array, clusters: int, allowed: Array, key: PRNGKeyArray) -> Float[Array, "n clusters"]:
    """Each row wholly in the cluster whose first row is nearest; the first `allowed` clusters have one."""

    def choose(carry: tuple, k: Array) -> tuple:
        distance, key = carry
        key, draw_key = jr.split(key)
        weight = jnp.where(in_use, distance, 0.0)
        weight = jnp.where(jnp.sum(weight) > 0, weight, in_use.astype(x.dtype))
        row = x[jr.choice(draw_key, x.shape[0], p=weight / jnp.sum(weight))]
        to_row = jnp.sum((x - row) ** 2, 1)
        return (jnp.minimum(distance, jnp.where(k < allowed, to_row, jnp.inf)), key), to_row

    begin = jnp.full(x.shape[0], 1e30, x.dtype)
    _, to_rows = jax.lax.scan(choose, (begin, key), jnp.arange(clusters))
    to_rows = jnp.where((jnp.arange(clusters) < allowed)[:, None], to_rows, jnp.inf)
    return jax.nn.one_hot(jnp.argmin(to_rows, 0), clusters, dtype=x.dtype) * in_use[:, None]


def _maximised(share: Float[Array, "n clusters"], x: Float[Array, "n dim"]) -> Mixture:
    """The mixture that is most likely if each row belongs to the clusters in these shares."""
    size = jnp.sum(share, 0)
    total = jnp.maximum(size, 1e-12)
    mean = share.T @ x / total[:, None]
    cov = jnp.einsum("nk,ni,nj->kij", share, x, x) / total[:, None, None] - mean[:, :, None] * mean[:, None, :]
    eye = jnp.eye(x.shape[1], dtype=x.dtype)
    used = size > 1e-6
    cov = jnp.where(used[:, None, None], (cov + jnp.swapaxes(cov, 1, 2)) / 2 + FLOOR * eye, eye)
    return Mixture(jnp.where(used, jnp.log(total / jnp.sum(size)), -jnp.inf), mean, cov)
