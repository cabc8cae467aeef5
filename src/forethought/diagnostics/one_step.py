"""What a model says of single steps that really happened: means, variances, reward and continuation."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractModel
from ..types import EnvSpec
from .logged import Rows

_CHUNK = 512  # rows at once: one compiled program whatever the number of rows


class OneStep(NamedTuple):
    """Predictions for each row, on the host."""

    mean: np.ndarray | None  # [n, obs] over particles; None where the model does not say what would be seen
    variance: np.ndarray | None  # [n, obs] of the mixture over particles
    stated: np.ndarray | None  # [n, obs] mean over particles of the variance that each states itself
    reward: np.ndarray  # [n]
    continuation: np.ndarray  # [n]


def one_step(model: AbstractModel, rows: Rows, spec: EnvSpec, *, key: PRNGKeyArray) -> OneStep:
    """What `model` predicts for every row of `rows` `[n, ...]`, n at least 1, from the real observation and action."""
    n = len(rows.reward)
    parts = []
    for start in range(0, n, _CHUNK):
        index = np.minimum(np.arange(start, start + _CHUNK), n - 1)  # the last chunk is filled up with its last row
        said = _chunk(model, rows.obs[index], rows.action[index], spec, jr.fold_in(key, start))
        parts.append(jax.tree.map(np.asarray, said))
    return OneStep(*jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts))


@eqx.filter_jit
def _chunk(model: AbstractModel, obs: Any, action: Any, spec: EnvSpec, key: PRNGKeyArray) -> Any:
    """The fields of a OneStep, still on the device."""

    def one(obs: Array, action: Array, key: PRNGKeyArray) -> Any:
        init_key, step_key = jr.split(key)
        belief = model.init(obs, key=init_key)
        particles = jax.tree.leaves(belief)[0].shape[0]
        belief, said = model.step(belief, jnp.broadcast_to(action, (particles, *action.shape)), key=step_key)
        reward, continuation = said.reward.mean(0), said.continuation.mean(0)
        seen = model.observation(belief)
        if seen is None:
            return None, None, None, reward, continuation
        mean, variance = seen.mean(), seen.variance()
        offset = spec.difference(mean, mean[:1])  # averages angles across the seam
        centre, stated = mean[0] + offset.mean(0), variance.mean(0)
        return centre, stated + offset.var(0), stated, reward, continuation

    return jax.vmap(one)(obs, action, jr.split(key, obs.shape[0]))
