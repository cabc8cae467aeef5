"""Gradient steps: how often agents that learn from replayed sequences take them, and one of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..types import Metrics

Learnable = TypeVar("Learnable")


class GradientSteps(eqx.Module):
    """`updates` gradient steps after every `update_every` environment steps."""

    update_every: int = eqx.field(static=True)
    updates: int = eqx.field(static=True)

    @classmethod
    def of(cls, train_ratio: float, batch_size: int, batch_length: int, action_repeat: int) -> "GradientSteps":
        """The closest one to replaying `train_ratio` steps per action taken, whatever the action repeat.

        Raises ValueError for a ratio that is not positive and for batches that are empty or too short to learn from.
        """
        if not 0 < train_ratio < float("inf"):
            raise ValueError(f"train_ratio={train_ratio} must be above 0")
        _check(batch_size, batch_length)
        actions = max(1, round(batch_size * batch_length / train_ratio))
        updates = max(1, round(train_ratio * actions / (batch_size * batch_length)))
        return cls(actions * action_repeat, updates)

    @classmethod
    def rounds(cls, update_every: int, updates: int, batch_size: int, batch_length: int) -> "GradientSteps":
        """As given. Raises ValueError for rounds and batches that are empty or too short to learn from."""
        if update_every < 1 or updates < 1:
            raise ValueError(f"update_every={update_every} and updates={updates} must be at least 1")
        _check(batch_size, batch_length)
        return cls(update_every, updates)

    def repeat(
        self, step: Callable[[Any, PRNGKeyArray], tuple[Any, Metrics]], state: Any, *, key: PRNGKeyArray
    ) -> tuple[Any, Metrics]:
        """`step(state, key) -> (state, metrics)` as often as asked for; metrics are the means."""
        return step(state, key) if self.updates == 1 else repeated(step, state, jr.split(key, self.updates))


def remaining(env_steps: Int[Array, ""], decay_steps: int | None) -> Float[Array, ""] | float:
    """The factor of a step size that falls linearly to 0 over `decay_steps` environment steps; 1 for None."""
    return 1.0 if decay_steps is None else jnp.maximum(1.0 - env_steps / decay_steps, 0.0)


def _check(batch_size: int, batch_length: int) -> None:
    if batch_size < 1 or batch_length < 2:
        raise ValueError(f"batch_size={batch_size} must be at least 1 and batch_length={batch_length} at least 2")


def repeated(step: Callable[[Any, Any], tuple[Any, Metrics]], state: Any, xs: Any) -> tuple[Any, Metrics]:
    """A scan of `step(state, x) -> (state, metrics)` over the leading axis of `xs`; metrics are the means.

    `state` may hold leaves that are not arrays.
    """
    dynamic, static = eqx.partition(state, eqx.is_array)

    def one(dynamic: Any, x: Any) -> tuple[Any, Metrics]:
        state, metrics = step(eqx.combine(dynamic, static), x)
        return eqx.filter(state, eqx.is_array), metrics

    dynamic, metrics = jax.lax.scan(one, dynamic, xs)
    return eqx.combine(dynamic, static), jax.tree.map(lambda m: jnp.mean(m, 0), metrics)


def descended(
    loss: Callable[[Learnable], tuple[Float[Array, ""], Any]],
    optimiser: optax.GradientTransformation,
    learned: Learnable,
    opt_state: optax.OptState,
) -> tuple[Learnable, optax.OptState, Any]:
    """`learned` and the optimiser's state after one gradient step on `loss(learned) -> (loss, rest)`; and the rest."""
    (_, rest), grads = eqx.filter_value_and_grad(loss, has_aux=True)(learned)
    updates, opt_state = optimiser.update(grads, opt_state, eqx.filter(learned, eqx.is_inexact_array))
    return eqx.apply_updates(learned, updates), opt_state, rest


def blended(slow, fast, rate: float | Float[Array, ""]):
    """`slow` moved by `rate` towards `fast`, weight by weight."""
    mix = lambda s, f: s + rate * (f - s) if eqx.is_inexact_array(s) else s
    return jax.tree.map(mix, slow, fast)
