"""How often agents that learn from replayed sequences take gradient steps."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from ..types import Metrics


class Schedule(eqx.Module):
    """`updates` gradient steps after every `update_every` environment steps."""

    update_every: int = eqx.field(static=True)
    updates: int = eqx.field(static=True)

    @classmethod
    def of(cls, train_ratio: float, batch_size: int, batch_length: int, action_repeat: int) -> "Schedule":
        """The closest one to replaying `train_ratio` steps per action taken, whatever the action repeat.

        Raises ValueError for a ratio that is not positive and for batches that are empty or too short to learn from.
        """
        if train_ratio <= 0:
            raise ValueError(f"train_ratio={train_ratio} must be above 0")
        if batch_size < 1 or batch_length < 2:
            raise ValueError(f"batch_size={batch_size} must be at least 1 and batch_length={batch_length} at least 2")
        actions = max(1, round(batch_size * batch_length / train_ratio))
        updates = max(1, round(train_ratio * actions / (batch_size * batch_length)))
        return cls(actions * action_repeat, updates)

    def repeat(
        self, step: Callable[[Any, PRNGKeyArray], tuple[Any, Metrics]], state: Any, *, key: PRNGKeyArray
    ) -> tuple[Any, Metrics]:
        """`step(state, key) -> (state, metrics)` as often as asked for; metrics are the means."""
        if self.updates == 1:
            return step(state, key)
        dynamic, static = eqx.partition(state, eqx.is_array)

        def one(dynamic: Any, key: PRNGKeyArray) -> tuple[Any, Metrics]:
            state, metrics = step(eqx.combine(dynamic, static), key)
            return eqx.filter(state, eqx.is_array), metrics

        dynamic, metrics = jax.lax.scan(one, dynamic, jr.split(key, self.updates))
        return eqx.combine(dynamic, static), jax.tree.map(lambda m: jnp.mean(m, 0), metrics)
