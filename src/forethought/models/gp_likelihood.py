"""Fitting Gaussian processes: hyper-parameters by marginal likelihood, inducing points, and what prediction needs.

All of it in float64 and with fixed shapes: rows where `mask` is False count for nothing.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..numerics.moment_matching import GPFactors

MOST_SIGNAL_TO_NOISE = 1000.0  # of standard deviations: bounds the condition of the kernel matrix by its square
_STEEP = 30  # the power of the walls (Deisenroth's software, "hypCurb")


class Hyperparameters(eqx.Module):
    """Of one squared-exponential Gaussian process per output, all as logarithms; standard deviations, not variances."""

    log_scales: Float[Array, "outputs d"]  # length scale of every input
    log_signal: Float[Array, " outputs"]
    log_noise: Float[Array, " outputs"]

    @classmethod
    def of(cls, x: Float[Array, "n d"], y: Float[Array, "n outputs"], mask: Bool[Array, " n"]) -> "Hyperparameters":
        """Where a search starts: the data's own scales, and a noise of a tenth of the signal."""
        signal = jnp.log(_rms(y, mask))
        scales = jnp.broadcast_to(jnp.log(_spread(x, mask)), (y.shape[1], x.shape[1]))
        return cls(scales, signal, signal - jnp.log(10.0))


def fit_hyperparameters(
    x: Float[Array, "n d"],
    y: Float[Array, "n outputs"],
    mask: Bool[Array, " n"],
    start: Hyperparameters,
    *,
    restarts: int,
    iterations: int,
    key: PRNGKeyArray,
) -> tuple[Hyperparameters, Float[Array, " outputs"]]:
    """The likeliest hyper-parameters of every output, and their negative log posterior per row.

    L-BFGS from `start`, from the data's own scales, and from `restarts - 2` random places around these. A search that
    ends in a number that is not finite is dropped; where all do, `start` is kept and its value is NaN.
    """
    spread, signal = _spread(x, mask), _rms(y, mask)
    rows = jnp.maximum(jnp.sum(mask), 1)
    x = jnp.where(mask[:, None], x / spread, 0.0)
    usual = jnp.concatenate([jnp.zeros(x.shape[1]), jnp.array([0.0, -jnp.log(10.0)])])

    def of_output(start: Array, y: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        y = jnp.where(mask, y, 0.0)
        objective = lambda h: (_negative_log_posterior(h, x, y, mask)) / rows
        random = usual + jnp.concatenate([jnp.full(x.shape[1], 0.7), jnp.array([0.5, 1.0])]) * jr.normal(
            key, (max(restarts - 2, 0), len(usual)), jnp.float32
        )
        starts = jnp.concatenate([start[None], usual[None], random])[: max(restarts, 1)]
        found, value = jax.lax.map(lambda h: _minimise(objective, h, iterations), starts)
        best = _argmin(jnp.where(jnp.isfinite(value), value, jnp.inf))
        good = jnp.isfinite(value[best])
        return jnp.where(good, found[best], start), jnp.where(good, value[best], jnp.nan)

    relative = jnp.concatenate(
        [
            start.log_scales - jnp.log(spread),
            (start.log_signal - jnp.log(signal))[:, None],
            (start.log_noise - jnp.log(signal))[:, None],
        ],
        1,
    )
    keys = jr.split(key, y.shape[1])
    found, value = jax.lax.map(lambda a: of_output(*a), (relative, (y / signal).T, keys))
    fitted = Hyperparameters(
        found[:, :-2] + jnp.log(spread), found[:, -2] + jnp.log(signal), found[:, -1] + jnp.log(signal)
    )
    return fitted, value


def _negative_log_posterior(h: Array, x: Array, y: Array, mask: Array) -> Float[Array, ""]:
    """Of one output in units of its data's scales; `h` is log length scales, log signal, log noise.

    Priors: length scales are lognormal around the data's spread, a factor e^1.5 wide, and stay within a factor 100 of
    it; the signal is lognormal around the data's size; signal / noise stays below MOST_SIGNAL_TO_NOISE.
    """
    log_scales, log_signal, log_noise = h[:-2], h[-2], h[-1]
    z = x * jnp.exp(-log_scales)
    square = jnp.sum(z**2, 1)
    distance = jnp.maximum(square[:, None] + square - 2 * z @ z.T, 0.0)
    kernel = jnp.exp(2 * log_signal - 0.5 * distance) * mask * mask[:, None]
    diagonal = jnp.where(mask, jnp.exp(2 * log_noise), 1.0)
    kernel = kernel + jnp.diag(diagonal)
    # The gradient with respect to the kernel matrix in closed form, not through the Cholesky factor.
    fixed = jax.lax.stop_gradient(kernel)
    factor = jnp.linalg.cholesky(fixed)
    inverse = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(len(y)))
    alpha = inverse @ y
    value = 0.5 * y @ alpha + jnp.sum(jnp.log(jnp.diag(factor)))
    slope = 0.5 * jnp.sum((inverse - jnp.outer(alpha, alpha)) * kernel)
    likelihood = value + slope - jax.lax.stop_gradient(slope)
    ratio = (log_signal - log_noise) / jnp.log(MOST_SIGNAL_TO_NOISE)
    walls = ratio**_STEEP + jnp.sum((log_scales / jnp.log(100.0)) ** _STEEP)
    return likelihood + walls + 0.5 * jnp.sum((log_scales / 1.5) ** 2) + 0.5 * log_signal**2 / 1.5**2


def _minimise(objective, start: Array, iterations: int) -> tuple[Array, Array]:
    """L-BFGS with a strong-Wolfe line search, until the gradient is small or `iterations` are over."""
    line_search = optax.scale_by_zoom_linesearch(max_linesearch_steps=15, initial_guess_strategy="one")
    solver = optax.lbfgs(linesearch=line_search)
    value_and_grad = optax.value_and_grad_from_state(objective)

    def body(carry):
        point, state, count, _ = carry
        value, gradient = value_and_grad(point, state=state)
        step, state = solver.update(gradient, state, point, value=value, grad=gradient, value_fn=objective)
        return point + step, state, count + 1, optax.tree.norm(optax.tree.get(state, "grad"))

    going = lambda carry: (carry[2] < iterations) & (carry[3] > 1e-4)
    first = (start, solver.init(start), jnp.zeros((), jnp.int32), jnp.full((), jnp.inf))
    point = jax.lax.while_loop(going, body, first)[0]
    return point, objective(point)


def kernel_matrix(a: Float[Array, "n d"], b: Float[Array, "m d"], h: Hyperparameters) -> Float[Array, "n m"]:
    """Covariances of one output between two sets of inputs; `h` has no axis of outputs."""
    scale = jnp.exp(-h.log_scales)
    a, b = a * scale, b * scale
    distance = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * a @ b.T
    return jnp.exp(2 * h.log_signal - 0.5 * jnp.maximum(distance, 0.0))


def factorise(
    x: Float[Array, "n d"],
    y: Float[Array, "n outputs"],
    mask: Bool[Array, " n"],
    h: Hyperparameters,
    *,
    max_points: int,
) -> tuple[GPFactors, Float[Array, " outputs"]]:
    """What prediction needs, and an estimate of the condition of every output's kernel matrix.

    Exact for up to `max_points` rows. Above it, that many of the rows are inducing points (FITC: Snelson & Ghahramani
    2006), for each output those that the ones before explain least (pivoted Cholesky).
    """
    n = len(x)
    x, y = jnp.where(mask[:, None], x, 0.0), jnp.where(mask[:, None], y, 0.0)
    of_one = _exact if n <= max_points else lambda x, y, mask, h: _induced(x, y, mask, h, max_points)
    points, beta, precision, condition = jax.vmap(of_one, in_axes=(None, 1, None, 0))(x, y, mask, h)
    return GPFactors(points, beta, precision, jnp.exp(h.log_scales), jnp.exp(2 * h.log_signal)), condition


def _exact(x: Array, y: Array, mask: Array, h: Hyperparameters):
    both = mask & mask[:, None]
    noise = jnp.where(mask, jnp.exp(2 * h.log_noise), jnp.exp(2 * h.log_signal))
    factor = jnp.linalg.cholesky(jnp.where(both, kernel_matrix(x, x, h), 0.0) + jnp.diag(noise))
    precision = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(len(y)))
    return x, precision @ y, jnp.where(both, precision, 0.0), _condition(factor)


def _induced(x: Array, y: Array, mask: Array, h: Hyperparameters, count: int):
    noise = jnp.exp(2 * h.log_noise)
    chosen, used = _pivots(x, mask, h, count)
    points = x[chosen]
    both = used & used[:, None]
    own = jnp.where(both, kernel_matrix(points, points, h), 0.0)
    jitter = jnp.where(used, 1e-8 * jnp.exp(2 * h.log_signal), jnp.exp(2 * h.log_signal))
    root = jnp.linalg.cholesky(own + jnp.diag(jitter))
    solve = lambda factor, b, transposed=0: jax.scipy.linalg.solve_triangular(factor, b, lower=True, trans=transposed)
    across = solve(root, jnp.where(used[:, None] & mask, kernel_matrix(points, x, h), 0.0))
    left = jnp.maximum(jnp.exp(2 * h.log_signal) - jnp.sum(across**2, 0), 0.0) + noise
    weighed = jnp.where(mask, across / left, 0.0)
    inner = jnp.linalg.cholesky(jnp.eye(count) + weighed @ across.T)
    back = solve(root, jnp.eye(count))  # root^-1
    narrowed = solve(inner, back)
    beta = narrowed.T @ solve(inner, weighed @ y)
    precision = back.T @ back - narrowed.T @ narrowed
    return points, jnp.where(used, beta, 0.0), jnp.where(both, precision, 0.0), _condition(inner)


def _pivots(x: Array, mask: Array, h: Hyperparameters, count: int) -> tuple[Array, Array]:
    """Rows in order of how little those before explain them, and which of the `count` are of use."""
    signal, noise = jnp.exp(2 * h.log_signal), jnp.exp(2 * h.log_noise)

    def choose(k, carry):
        columns, left, chosen, used = carry
        row = _argmin(-left)
        enough = left[row] > 1e-3 * noise
        column = kernel_matrix(x, x[row][None], h)[:, 0] - columns @ columns[row]
        column = jnp.where(enough, column / jnp.sqrt(jnp.maximum(left[row], 1e-300)), 0.0)
        left = jnp.where(mask, left - column**2, -jnp.inf).at[row].set(-jnp.inf)
        return columns.at[:, k].set(column), left, chosen.at[k].set(row), used.at[k].set(enough)

    first = jnp.where(mask, signal, -jnp.inf)
    empty = jnp.zeros((len(x), count)), first, jnp.zeros(count, jnp.int32), jnp.zeros(count, bool)
    return jax.lax.fori_loop(0, count, choose, empty)[2:]


def _condition(factor: Float[Array, "n n"]) -> Float[Array, ""]:
    """A lower estimate of the condition of `factor factor^T`."""
    diagonal = jnp.diag(factor)
    return (jnp.max(diagonal) / jnp.min(diagonal)) ** 2


def _argmin(x: Float[Array, " n"]) -> Array:
    """As `jnp.argmin`, in types that can be lowered outside of the scope of float64 too."""
    return jax.lax.argmin(x.astype(jnp.float32), 0, jnp.int32)


def _spread(x: Array, mask: Array) -> Array:
    """Standard deviation of every column, 1 for constant ones."""
    n = jnp.maximum(jnp.sum(mask), 1)
    mean = jnp.sum(jnp.where(mask[:, None], x, 0.0), 0) / n
    spread = jnp.sqrt(jnp.sum(jnp.where(mask[:, None], (x - mean) ** 2, 0.0), 0) / n)
    return jnp.where(spread < 1e-6 * (1 + jnp.abs(mean)), 1.0, spread)


def _rms(y: Array, mask: Array) -> Array:
    """Root of the mean square of every column, 1 for columns of zeros."""
    size = jnp.sqrt(jnp.sum(jnp.where(mask[:, None], y**2, 0.0), 0) / jnp.maximum(jnp.sum(mask), 1))
    return jnp.where(size < 1e-12, 1.0, size)
