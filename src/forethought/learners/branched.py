"""Branched rollouts: short ones in a model, from states that were met (Janner et al. 2019), to learn from."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractModel
from ..core.imagine import branches, imagine
from ..models.drawn_ends import DrawnEnds
from ..types import Metrics, Transition


def branched(
    model: AbstractModel,
    starts: Float[Array, "rollouts obs"],
    act: Callable[[Array, PRNGKeyArray], Array],
    *,
    length: Int[Array, ""],
    longest: int,
    key: PRNGKeyArray,
) -> tuple[Transition, Bool[Array, " rows"], Metrics]:
    """What `act(obs, key)` meets in `length` (at most `longest`) steps from each start: rows, which of them count, and
    metrics.

    Ends are drawn; nothing after an end counts. Raises ValueError for a model that draws no observations.
    """
    start_key, key = jr.split(key)
    drawing = DrawnEnds(model)
    policy = lambda belief, key: act(_observed(drawing, drawing.drawn(belief)), key)
    seen = imagine(drawing, branches(drawing, starts, key=start_key), policy, longest, limit=length, key=key)
    obs, no = _observed(drawing, seen.obs), jnp.zeros(seen.rewards.shape, bool)
    rows = Transition(obs[:-1], seen.actions, seen.rewards, obs[1:], seen.continuation < 0.5, no)
    flat = lambda x: x.reshape(-1, *x.shape[seen.rewards.ndim :])
    rows, alive = jax.tree.map(flat, rows), flat(seen.alive) > 0
    count = jnp.sum(alive)
    metrics = {
        "imagined/steps": count.astype(jnp.float32),
        "imagined/reward": jnp.sum(jnp.where(alive, rows.reward, 0.0)) / count,
        "imagined/change": jnp.sum(jnp.where(alive[:, None], jnp.abs(rows.next_obs - rows.obs), 0.0)) / count,
        "imagined/ends": jnp.sum(alive & rows.terminated) / count,
    }
    return rows, alive, metrics


def _observed(model: DrawnEnds, obs: Array | None) -> Array:
    """`obs`. Raises ValueError where a user's model has no observations to draw."""
    if obs is None:
        raise ValueError(
            f"{type(model.model).__name__} has no `drawn` observations for a policy to act on; add that method"
        )
    return obs
