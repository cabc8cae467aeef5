"""How far observations scatter about what a latent model expects: measured, where the model's own width means nothing.

A latent world model reconstructs observations under a squared error. That is a Gaussian of fixed width, a weight among
losses and not a claim about errors. What such a model is unsure of, its samples of the latent say; what they leave is
measured here from one-step errors, as one width for each number of the observation.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractDistribution, AbstractFilter, AbstractModel
from ..types import EnvSpec, Prediction

LEAST_GREY = 0.5  # of a pixel's width, in grey levels: pictures are whole numbers
LEAST = 1e-3  # of another number's width, in its standard deviation
CHUNK = 32


class Normal(AbstractDistribution):
    """Independent Gaussians."""

    loc: Float[Array, "*batch obs"]
    deviation: Float[Array, " obs"]

    def mean(self) -> Float[Array, "*batch obs"]:
        return self.loc

    def variance(self) -> Float[Array, "*batch obs"]:
        return jnp.broadcast_to(self.deviation**2, self.loc.shape)

    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return jnp.sum(self.log_density(obs), -1)


class Widened(AbstractFilter):
    """A filter that expects to see what it always did, with another width about it."""

    model: AbstractFilter
    width: Float[Any, " obs"]  # standard deviation about the mean that each sample of the latent leads to

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> Any:
        return self.model.init(obs, key=key)

    def observe(self, belief: Any, action: Array, obs: Array, *, key: PRNGKeyArray) -> Any:
        return self.model.observe(belief, action, obs, key=key)

    def step(self, belief: Any, action: Array, *, key: PRNGKeyArray) -> tuple[Any, Prediction]:
        return self.model.step(belief, action, key=key)

    def observation(self, belief: Any) -> Normal | None:
        seen = self.model.observation(belief)
        return None if seen is None else Normal(seen.mean(), jnp.asarray(self.width))

    def drawn(self, belief: Any) -> Float[Array, "particles *batch obs"] | None:
        return self.model.drawn(belief)


def measured_width(
    model: AbstractModel,
    beliefs: Any,
    action: np.ndarray,
    next_obs: np.ndarray,
    deviation: np.ndarray,
    spec: EnvSpec,
    *,
    key: PRNGKeyArray,
) -> np.ndarray:
    """What one-step errors leave when the spread of the samples is taken off, as standard deviations `[obs]`.

    `beliefs` have leaves `[n, repeats, particles, ...]`; `action` and `next_obs` `[n, ...]` are what then happened.
    `deviation` `[obs]` is that of the observations.
    """
    n = len(next_obs)
    total = np.zeros(spec.obs_dim)
    for first in range(0, n, CHUNK):
        rows = np.minimum(np.arange(first, first + CHUNK), n - 1)
        belief, acted, seen = jax.tree.map(lambda x, rows=rows: x[rows], (beliefs, action, next_obs))
        left = _left(model, belief, acted, seen, spec, jr.split(jr.fold_in(key, first), CHUNK))
        total += np.asarray(left, np.float64)[: min(CHUNK, n - first)].sum(0)
    least = LEAST * deviation
    least[: spec.num_pixels] = LEAST_GREY
    return np.sqrt(np.maximum(total / n, least**2))


@eqx.filter_jit
def _left(model: AbstractModel, belief: Any, action: Any, next_obs: Any, spec: EnvSpec, keys: PRNGKeyArray) -> Array:
    """Squared error of the mean over samples, less their spread, `[n, obs]`."""

    def one(belief: Any, action: Array, target: Array, key: PRNGKeyArray) -> Array:
        repeats, particles = jax.tree.leaves(belief)[0].shape[:2]
        spread = jnp.broadcast_to(action, (particles, *jnp.shape(action)))
        move = jax.vmap(lambda b, k: model.step(b, spread, key=k)[0])
        seen: Any = jax.vmap(model.observation)(move(belief, jr.split(key, repeats)))
        mean = seen.mean()
        mean = mean.reshape(-1, mean.shape[-1])
        offset = spec.difference(mean, mean[:1])
        error = spec.difference(target, mean[0] + offset.mean(0))
        # Unbiased: of n samples, the mean itself is off by a part of their spread.
        return error**2 - offset.var(0) * (1 + 2 / max(len(mean) - 1, 1))

    return jax.vmap(one)(belief, action, next_obs, keys)
