"""What a model believes at some moments of real episodes: filtered from their beginning, where it is a filter."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ..core import AbstractFilter, AbstractModel


def beliefs_at(
    model: AbstractModel,
    obs: np.ndarray,
    action: np.ndarray,
    episode: np.ndarray,
    time: np.ndarray,
    repeats: int,
    *,
    key: PRNGKeyArray,
) -> Any:
    """Beliefs once `obs[episode, time]` was seen, leaves `[n, repeats, particles, ...]`, drawn `repeats` times over.

    `obs` `[episodes, time, obs]` and `action` are recorded, `episode` and `time` `[n]` say where. A filter has seen
    everything from the episode's first record on, any other model that one observation.
    """
    if not isinstance(model, AbstractFilter):
        return _from_one(model, jnp.asarray(obs[episode, time]), repeats, jr.split(key, len(episode)))
    found, order = [], []
    most = int(np.bincount(episode).max())
    for number in np.unique(episode):
        here = np.flatnonzero(episode == number)
        slot = np.full(obs.shape[1], most)
        places, inverse = np.unique(time[here], return_inverse=True)
        slot[places] = np.arange(len(places))
        kept = _followed(model, obs[number], action[number], slot, most, repeats, key=jr.fold_in(key, int(number)))
        found.append(jax.tree.map(lambda x, inverse=inverse: np.asarray(x)[inverse], kept))
        order.append(here)
    back = np.argsort(np.concatenate(order))
    return jax.tree.map(lambda *x: np.concatenate(x)[back], *found)


@eqx.filter_jit
def _from_one(model: AbstractModel, obs: Array, repeats: int, keys: PRNGKeyArray) -> Any:
    repeated = lambda obs, key: jax.vmap(lambda k: model.init(obs, key=k))(jr.split(key, repeats))
    return jax.vmap(repeated)(obs, keys)


@eqx.filter_jit
def _followed(
    model: AbstractFilter, obs: Any, action: Any, slot: Int[Any, " time"], most: int, repeats: int, *, key: PRNGKeyArray
) -> Any:
    """Beliefs along one episode, those with a `slot` below `most` kept there: leaves `[most, repeats, ...]`."""
    keys = jr.split(key, len(slot))
    belief = jax.vmap(lambda k: model.init(obs[0], key=k))(jr.split(keys[0], repeats))

    def put(kept: Any, belief: Any, place: Array) -> Any:
        return jax.tree.map(lambda k, b: k.at[place].set(b), kept, belief)

    def step(carry: Any, x: Any) -> Any:
        belief, kept = carry
        done, seen, place, key = x
        observe = jax.vmap(lambda b, k: model.observe(b, done, seen, key=k))
        belief = observe(belief, jr.split(key, repeats))
        return (belief, put(kept, belief, place)), None

    room = jax.tree.map(lambda x: jnp.zeros((most + 1, *x.shape), x.dtype), belief)  # the last takes what is not kept
    along = (action[:-1], obs[1:], slot[1:], keys[1:])
    (_, kept), _ = jax.lax.scan(step, (belief, put(room, belief, slot[0])), along)
    return jax.tree.map(lambda x: x[:-1], kept)
