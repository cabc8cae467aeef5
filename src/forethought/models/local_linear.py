"""Local dynamics from few rollouts: a linear-Gaussian model of every time step, by regression or with a prior.

For every time step t the joint Gaussian of `z = [x; u; x']` over the rollouts is found, plainly or as the mode under a
normal-inverse-Wishart prior, and conditioned on `[x; u]` (Levine & Abbeel 2014, sec. 4.1 and 5.3, and the authors'
code). The prior is a mixture of Gaussians over the z of all time steps and of earlier rounds, or any learned model,
linearised. Pure functions of arrays; meant for float64.

Deviations: only the `[x; u]` block is regularised, by `ridge`, never the noise; the mixture is that of `gmm.py`.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractModel
from .gmm import Mixture

RIDGE = 1e-6


class LocalFit(eqx.Module):
    """`x' ~ N(F[t] [x; u] + f[t], cov[t])`."""

    F: Float[Array, "time x x+u"]
    f: Float[Array, "time x"]
    cov: Float[Array, "time x x"]


class Prior(eqx.Module):
    """Normal-inverse-Wishart: `mean` as if seen in `mean_count` rows, `scatter` (a sum of squares) in `cov_count`."""

    mean: Float[Array, "time z"]
    scatter: Float[Array, "time z z"]
    mean_count: Float[Array, ""]
    cov_count: Float[Array, ""]


def fit_local(
    xu: Float[Array, "rollouts time x+u"],
    next_x: Float[Array, "rollouts time x"],
    prior: Prior | None = None,
    *,
    ridge: float = RIDGE,
) -> LocalFit:
    """The dynamics of each time step. `ridge` is added to the variances of `[x; u]`, in its own units.

    Without a prior and with fewer rollouts than numbers in `[x; u]`, the rollouts are fitted without error.
    """
    z = jnp.concatenate([xu, next_x], -1)
    count = z.shape[0]
    mean = jnp.mean(z, 0)
    away = z - mean
    scatter = jnp.einsum("nti,ntj->tij", away, away)
    cov = scatter / count
    if prior is not None:
        gap = mean - prior.mean
        pull = count * prior.mean_count / (count + prior.mean_count)
        scatter = scatter + prior.scatter + pull * gap[:, :, None] * gap[:, None, :]
        cov = scatter / (count + prior.cov_count)
        mean = (count * mean + prior.mean_count * prior.mean) / (count + prior.mean_count)
    return jax.vmap(lambda m, c: _conditioned(m, c, xu.shape[-1], ridge))(mean, cov)


def _conditioned(mean: Float[Array, " z"], cov: Float[Array, "z z"], given: int, ridge: float) -> LocalFit:
    """Of x' on [x; u], the first `given` numbers of z."""
    cov = (cov + cov.T) / 2
    inner = cov[:given, :given] + ridge * jnp.eye(given, dtype=cov.dtype)
    F = jax.scipy.linalg.solve(inner, cov[:given, given:], assume_a="pos").T
    noise = cov[given:, given:] - F @ inner @ F.T
    return LocalFit(F, mean[given:] - F @ mean[:given], _psd((noise + noise.T) / 2))


def _psd(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The nearest matrix without negative eigenvalues, which rounding may have left."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, 0.0)) @ vectors.T


def mixture_prior(mixture: Mixture, z: Float[Array, "rollouts time z"], *, strength: float = 1.0) -> Prior:
    """Of each time step: the moments of the clusters that its rollouts fall into, as if seen `strength` times."""
    mean, cov = jax.vmap(mixture.moments, in_axes=1)(z)
    count = jnp.asarray(strength, z.dtype)
    return Prior(mean, cov * count, count, count)


def linearised_prior(
    model: AbstractModel,
    xu: Float[Array, "rollouts time x+u"],
    obs_dim: int,
    *,
    strength: float = 1.0,
    key: PRNGKeyArray,
) -> Prior:
    """What `model` says around the mean of each time step: its slope there, and its own noise.

    Any model with one particle that says what it expects to see (a network that follows its mean, a Gaussian process).
    The spread of `[x; u]` is that of the rollouts.
    """
    mean, predict = jnp.mean(xu, 0), one_step(model, obs_dim, key=key)
    away = xu - mean
    spread = jnp.einsum("nti,ntj->tij", away, away) / xu.shape[0]
    # In a direction that the rollouts did not take the slope would count for nothing beside the ridge.
    floor = jnp.maximum(1e-2 * jnp.trace(spread, axis1=1, axis2=2) / spread.shape[-1], 100 * RIDGE)
    spread = spread + floor[:, None, None] * jnp.eye(spread.shape[-1], dtype=spread.dtype)
    (next_mean, noise), slope = jax.vmap(lambda p: (predict(p), jax.jacfwd(lambda q: predict(q)[0])(p)))(mean)
    cross = slope @ spread
    own = cross @ jnp.swapaxes(slope, 1, 2) + noise[:, :, None] * jnp.eye(noise.shape[-1], dtype=noise.dtype)
    cov = jnp.concatenate(
        [jnp.concatenate([spread, jnp.swapaxes(cross, 1, 2)], 2), jnp.concatenate([cross, own], 2)], 1
    )
    count = jnp.asarray(strength, xu.dtype)
    return Prior(jnp.concatenate([mean, next_mean], 1), cov * count, count, count)


def one_step(model: AbstractModel, obs_dim: int, *, key: PRNGKeyArray) -> Callable[[Array], tuple[Array, Array]]:
    """`[x; u] -> (mean, variance)` of the next observation; raises ValueError if the model cannot say."""

    def predict(xu: Array) -> tuple[Array, Array]:
        belief, _ = model.step(model.init(xu[:obs_dim], key=key), xu[None, obs_dim:], key=key)
        seen = model.observation(belief)
        if seen is None:
            raise ValueError(f"{type(model).__name__} does not say what it expects to see, so it can be no prior")
        return seen.mean()[0], seen.variance()[0]

    return predict
