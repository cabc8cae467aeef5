"""Gaussians through nonlinear functions, by exact moment matching (Deisenroth & Rasmussen 2011, Sec. 2.2).

Every function takes a mean `[d]` and a covariance `[d, d]`, and answers with mean `[k]` and covariance `[k, k]` of the
output and with the *gain* `[d, k]`: the expected gradient, so that cov(input, output) = cov(input) @ gain (Stein's
lemma). A Gaussian that is sent through several functions keeps its covariance with the first by multiplying gains.
Meant for float64; in float32 variances drown in rounding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Mean and covariance of an output, and its gain from the input."""

    mean: Float[Array, " k"]
    cov: Float[Array, "k k"]
    gain: Float[Array, "d k"]


class GPFactors(NamedTuple):
    """Gaussian processes of squared-exponential kernels on data, one per output, as prediction needs them.

    With k(x) the covariances of x with an output's points, its mean is k beta and its variance (of the function,
    without noise) `signal - k precision k`. Points whose `beta` and `precision` are zero count for nothing.
    """

    points: Float[Array, "outputs points d"]
    beta: Float[Array, "outputs points"]
    precision: Float[Array, "outputs points points"]
    scales: Float[Array, "outputs d"]  # length scales
    signal: Float[Array, " outputs"]  # variance of the function before data


def _weighted_sum(weights: Array, u: Array, v: Array, p: Array, y: Array) -> Array:
    """Sum over i, j of `weights[i, j] exp(u[i] + v[j] + p[i] y[j])`."""
    return jnp.sum(weights * jnp.exp(u[:, None] + v[None] + p @ y.T))


@jax.custom_vjp
def _sum_of_constant_weights(weights: Array, u: Array, v: Array, p: Array, y: Array) -> Array:
    """`_weighted_sum` for weights that are constants: the exponentials are taken once for value and gradient."""
    return _weighted_sum(weights, u, v, p, y)


def _sum_forward(weights: Array, u: Array, v: Array, p: Array, y: Array):
    terms = weights * jnp.exp(u[:, None] + v[None] + p @ y.T)
    by_i = terms @ jnp.concatenate([jnp.ones_like(y[:, :1]), y], 1)
    by_j = terms.T @ jnp.concatenate([jnp.ones_like(p[:, :1]), p], 1)
    gradients = by_i[:, 0], by_j[:, 0], by_i[:, 1:], by_j[:, 1:]
    return jnp.sum(by_i[:, 0]), gradients


def _sum_backward(gradients, cotangent):
    return None, *(cotangent * g for g in gradients)


_sum_of_constant_weights.defvjp(_sum_forward, _sum_backward)


@jax.custom_vjp
def inverse_and_logdet(a: Float[Array, "d d"]) -> tuple[Float[Array, "d d"], Float[Array, ""]]:
    """The inverse and the logarithm of the determinant, which must be positive; its gradient is products only."""
    lu, _, permutation = jax.lax.linalg.lu(a)
    eye = jnp.eye(len(a))[permutation]
    lower = jax.lax.linalg.triangular_solve(lu, eye, left_side=True, lower=True, unit_diagonal=True)
    inverse = jax.lax.linalg.triangular_solve(lu, lower, left_side=True, lower=False)
    return inverse, jnp.sum(jnp.log(jnp.abs(jnp.diag(lu))))


def _inverse_forward(a: Array):
    out = inverse_and_logdet(a)
    return out, out[0].T


def _inverse_backward(inverse_t: Array, cotangent: tuple[Array, Array]):
    of_inverse, of_logdet = cotangent
    return (of_logdet * inverse_t - inverse_t @ of_inverse @ inverse_t,)


inverse_and_logdet.defvjp(_inverse_forward, _inverse_backward)


def pair_weights(gp: GPFactors, *, certain: bool = False) -> Float[Array, "pairs points points"]:
    """What `gp_moments` weighs covariances with, for all pairs of outputs; `certain`: the mean is the function."""
    first, second = np.tril_indices(len(gp.signal))
    weights = gp.beta[first][:, :, None] * gp.beta[second][:, None]
    if certain:
        return weights
    return weights - jnp.where(jnp.asarray(first == second)[:, None, None], gp.precision[first], 0.0)


def gp_moments(
    gp: GPFactors, mean: Float[Array, " d"], cov: Float[Array, "d d"], weights: Float[Array, "pairs points points"]
) -> Moments:
    """Moments of Gaussian processes at an uncertain input, covariances between outputs included (eq. 14-23).

    `weights` are `pair_weights(gp)`, worked out once for many calls; `gp` and they are constants to differentiation.
    """
    return _gp_moments(gp, mean, cov, weights, _sum_of_constant_weights, gp.signal)


def rbf_moments(gp: GPFactors, mean: Float[Array, " d"], cov: Float[Array, "d d"]) -> Moments:
    """Moments of the mean function alone, a sum of Gaussian bumps, differentiable in all of it."""
    return _gp_moments(gp, mean, cov, pair_weights(gp, certain=True), _weighted_sum, jnp.zeros_like(gp.signal))


def _gp_moments(gp: GPFactors, mean, cov, weights, weighted_sum, own_variance) -> Moments:
    eye = jnp.eye(len(mean))
    away = gp.points - mean  # [outputs, points, d]
    inverse = 1.0 / gp.scales
    scaled = away * inverse[:, None]

    def of_one(scaled: Array, inverse: Array, beta: Array, signal: Array) -> tuple[Array, Array]:
        narrow, logdet = inverse_and_logdet(inverse[:, None] * cov * inverse + eye)
        solved = scaled @ narrow
        bumps = jnp.exp(-0.5 * (jnp.sum(scaled * solved, 1) + logdet)) * beta * signal
        return jnp.sum(bumps), inverse * (bumps @ solved)

    out, gain = jax.vmap(of_one)(scaled, inverse, gp.beta, gp.signal)
    log_kernel = jnp.log(gp.signal)[:, None] - 0.5 * jnp.sum(scaled**2, -1)
    squared = inverse**2
    along = away * squared[:, None]

    def of_pair(a: Array, b: Array, weights: Array) -> Array:
        narrow, logdet = inverse_and_logdet(cov * (squared[a] + squared[b]) + eye)
        q = narrow @ cov / 2
        p, y = along[a] @ q, along[b]
        u = log_kernel[a] + jnp.sum(p * along[a], 1)
        v = log_kernel[b] + jnp.sum((y @ q) * y, 1)
        return weighted_sum(weights, u - 0.5 * logdet, v, 2 * p, y)

    first, second = (jnp.asarray(index) for index in np.tril_indices(len(out)))
    second_moments = jax.vmap(of_pair)(first, second, weights)
    square = jnp.zeros((len(out), len(out))).at[first, second].set(second_moments)
    square = square + jnp.tril(square, -1).T
    return Moments(out, square - jnp.outer(out, out) + jnp.diag(own_variance), gain.T)


def linear_moments(weights: Float[Array, "d k"], bias: Float[Array, " k"], mean: Array, cov: Array) -> Moments:
    """Moments of `x @ weights + bias`."""
    return Moments(mean @ weights + bias, weights.T @ cov @ weights, weights)


def trigonometric_moments(mean: Float[Array, " a"], cov: Float[Array, "a a"]) -> Moments:
    """Moments of the sines and then the cosines of `a` angles."""
    variance = jnp.diag(cov)
    sin, cos = jnp.exp(-variance / 2) * jnp.sin(mean), jnp.exp(-variance / 2) * jnp.cos(mean)
    spread = variance[:, None] + variance
    sums, differences = mean[:, None] + mean, mean[:, None] - mean
    of_sum, of_difference = jnp.exp(-(spread + 2 * cov) / 2), jnp.exp(-(spread - 2 * cov) / 2)
    cos_sum, cos_difference = of_sum * jnp.cos(sums), of_difference * jnp.cos(differences)
    sin_sum, sin_difference = of_sum * jnp.sin(sums), of_difference * jnp.sin(differences)
    sin_sin = (cos_difference - cos_sum) / 2 - jnp.outer(sin, sin)
    cos_cos = (cos_difference + cos_sum) / 2 - jnp.outer(cos, cos)
    sin_cos = (sin_sum + sin_difference) / 2 - jnp.outer(sin, cos)
    gain = jnp.concatenate([jnp.diag(cos), -jnp.diag(sin)], 1)
    return Moments(jnp.concatenate([sin, cos]), jnp.block([[sin_sin, sin_cos], [sin_cos.T, cos_cos]]), gain)


def feature_moments(mean: Float[Array, " d"], cov: Float[Array, "d d"], angle_dims: tuple[int, ...]) -> Moments:
    """Moments of `EnvSpec.features`: angles replaced by their sines, their cosines at the end."""
    size, dims = len(mean), np.asarray(angle_dims, int)
    if not len(dims):
        return Moments(mean, cov, jnp.eye(size))
    trig = trigonometric_moments(mean[dims], cov[dims][:, dims])
    gain = jnp.concatenate([jnp.eye(size), jnp.zeros((size, 2 * len(dims))).at[dims].set(trig.gain)], 1)
    across = cov @ gain[:, size:]
    whole = jnp.block([[cov, across], [across.T, trig.cov]])
    order = np.arange(size)
    order[dims] = size + np.arange(len(dims))
    order = np.concatenate([order, size + len(dims) + np.arange(len(dims))])
    return Moments(jnp.concatenate([mean, trig.mean])[order], whole[order][:, order], gain[:, order])


def squash(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """(9 sin x + sin 3x) / 8, in [-1, 1]."""
    return (9 * jnp.sin(x) + jnp.sin(3 * x)) / 8


def squash_moments(mean: Float[Array, " a"], cov: Float[Array, "a a"]) -> Moments:
    """Moments of `squash` of each dimension."""
    size = len(mean)
    threefold = jnp.concatenate([jnp.eye(size), 3 * jnp.eye(size)], 1)
    trig = trigonometric_moments(mean @ threefold, threefold.T @ cov @ threefold)
    mix = jnp.concatenate([9 * jnp.eye(size), jnp.eye(size)]) / 8
    sines = slice(0, 2 * size)
    return Moments(trig.mean[sines] @ mix, mix.T @ trig.cov[sines, sines] @ mix, threefold @ trig.gain[:, sines] @ mix)


def expected_bell(mean: Float[Array, " k"], cov: Float[Array, "k k"], width: float | Array) -> Float[Array, ""]:
    """Expectation of `exp(-|x|^2 / (2 width^2))`: one minus the expected saturating cost (eq. 24)."""
    narrow, logdet = inverse_and_logdet(jnp.eye(len(mean)) + cov / width**2)
    return jnp.exp(-0.5 * (mean @ narrow @ mean / width**2 + logdet))


def chained(first: Moments, then: Moments) -> Moments:
    """The output of `then`, which was fed that of `first`, with its gain from the input of `first`."""
    return Moments(then.mean, then.cov, first.gain @ then.gain)
