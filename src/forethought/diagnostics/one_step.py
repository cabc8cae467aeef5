"""What a model says of single steps that really happened: means, variances, reward and continuation."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractFilter, AbstractModel
from ..types import EnvSpec
from .logged import Logged, Rows

_CHUNK = 512  # rows at once: one compiled program whatever the number of rows
_SAMPLES = 8  # beliefs that a filter is asked for side by side


class OneStep(NamedTuple):
    """Predictions for each row, on the host. Of a filter that sees pictures, reward and continuation alone."""

    mean: np.ndarray | None  # [n, obs] over particles; None where the model does not say what would be seen
    variance: np.ndarray | None  # [n, obs] of the mixture over particles
    stated: np.ndarray | None  # [n, obs] mean over particles of the variance that each states itself; None: filters
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


def following(model: AbstractModel, data: Logged, spec: EnvSpec, *, key: PRNGKeyArray) -> OneStep:
    """As `one_step`, for every row of `data`; a filter predicts from all of the episode up to the row."""
    if not isinstance(model, AbstractFilter):
        return one_step(model, data.rows, spec, key=key)
    rows, n = data.rows, len(data.rows.reward)
    first = np.zeros(n, bool)
    first[data.first] = True
    belief, parts = None, []
    for start in range(0, n, _CHUNK):
        index = np.minimum(np.arange(start, start + _CHUNK), n - 1)
        chunk = (rows.obs[index], rows.action[index], rows.next_obs[index], first[index])
        if belief is None:
            belief = _before(model, rows.obs[0], key=key)
        belief, said = _followed(model, belief, *chunk, spec, key=jr.fold_in(key, start))
        parts.append(jax.tree.map(np.asarray, said))
    return OneStep(*jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts))


@eqx.filter_jit
def _before(model: AbstractModel, obs: Any, *, key: PRNGKeyArray) -> Any:
    return jax.vmap(lambda k: model.init(obs, key=k))(jr.split(key, _SAMPLES))


@eqx.filter_jit
def _followed(
    model: AbstractFilter, belief: Any, obs: Any, action: Any, next_obs: Any, first: Any, spec: EnvSpec, *, key: Any
) -> Any:
    """The belief behind the last row, and the fields of a OneStep, still on the device."""

    def row(belief: Any, x: Any) -> Any:
        obs, action, next_obs, first, key = x
        begin, *keys = (jr.split(k, _SAMPLES) for k in jr.split(key, 3))
        fresh = jax.vmap(lambda k: model.init(obs, key=k))(begin)
        belief = jax.tree.map(lambda new, old: jnp.where(first, new, old), fresh, belief)
        particles = jax.tree.leaves(belief)[0].shape[1]
        spread = jnp.broadcast_to(action, (particles, *action.shape))
        ahead, said = jax.vmap(lambda b, k: model.step(b, spread, key=k))(belief, keys[0])
        mean = variance = None
        seen = jax.vmap(model.observation)(ahead) if spec.image is None else None
        if seen is not None:
            each = seen.mean().reshape(-1, spec.obs_dim)
            offset = spec.difference(each, each[:1])
            mean, variance = each[0] + offset.mean(0), offset.var(0)
        belief = jax.vmap(lambda b, k: model.observe(b, action, next_obs, key=k))(belief, keys[1])
        return belief, (mean, variance, None, said.reward.mean(), said.continuation.mean())

    return jax.lax.scan(row, belief, (obs, action, next_obs, first, jr.split(key, len(obs))))
