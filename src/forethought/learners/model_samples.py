"""Learning action values from samples of a model: Q-learning, Sarsa and Monte-Carlo control.

Many imagined episodes go on side by side. Each begins with a pair drawn uniformly from those that the model knows
(exploring starts), and goes on epsilon-greedily until the model says that it ends, or it is cut. Epsilon falls to 0
over the samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..models.tabular import AbstractTable
from . import tabular


class Sampling(NamedTuple):
    """How imagined episodes are played and learned from."""

    samples: int  # steps of the model, all walkers together
    walkers: int
    horizon: int
    step_size: float
    epsilon: float  # at the beginning
    discount: float


class _Walk(NamedTuple):
    state: Int[Array, " walkers"]
    action: Int[Array, " walkers"]
    age: Int[Array, " walkers"]


def temporal_difference(
    q: tabular.ActionValues, model: AbstractTable, how: Sampling, *, sarsa: bool, key: PRNGKeyArray
) -> tabular.ActionValues:
    """The values after Q-learning, or Sarsa, on `how.samples` steps of the model."""
    start = _starts(model)

    def tick(carry: tuple, drawn: tuple) -> tuple[tuple, None]:
        (q, updates, walk), (epsilon, key) = carry, drawn
        draw_key, act_key, start_key = jr.split(key, 3)
        outcome, reward = jax.vmap(model.draw)(walk.state, walk.action, jr.uniform(draw_key, (how.walkers,)))
        state = jnp.minimum(outcome, len(q) - 1)
        action = _acts(q, state, epsilon, act_key)
        after = jnp.where(outcome == len(q), 0.0, q[state, action]) if sarsa else tabular.best_after(q, outcome)
        error = reward + how.discount * after - q[walk.state, walk.action]
        q, updates = _averaged(q, updates, walk.state, walk.action, error, how.step_size)
        over = (outcome == len(q)) | (walk.age + 1 >= how.horizon)
        fresh = start(how.walkers, start_key)
        choose = lambda new, old: jnp.where(over, new, old)
        walk = _Walk(choose(fresh.state, state), choose(fresh.action, action), choose(0, walk.age + 1))
        return (q, updates, walk), None

    start_key, key = jr.split(key)
    carry = (q, jnp.zeros(q.shape), start(how.walkers, start_key))
    return jax.lax.scan(tick, carry, _rounds(how, how.walkers, key))[0][0]


def monte_carlo(
    q: tabular.ActionValues, model: AbstractTable, how: Sampling, *, key: PRNGKeyArray
) -> tabular.ActionValues:
    """The values after every-visit Monte-Carlo control on `how.samples` steps of the model.

    Values change between batches of episodes, one of each walker. What lies behind the cut of an episode counts 0.
    """
    start = _starts(model)

    def batch(carry: tuple, drawn: tuple) -> tuple[tuple, None]:
        (q, updates), (epsilon, key) = carry, drawn
        start_key, key = jr.split(key)
        first = start(how.walkers, start_key)

        def tick(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, tuple]:
            walk, alive = carry
            draw_key, act_key = jr.split(key)
            outcome, reward = jax.vmap(model.draw)(walk.state, walk.action, jr.uniform(draw_key, (how.walkers,)))
            state = jnp.minimum(outcome, len(q) - 1)
            row = (walk.state, walk.action, jnp.where(alive, reward, 0.0), alive)
            walk = _Walk(state, _acts(q, state, epsilon, act_key), walk.age + 1)
            return (walk, alive & (outcome < len(q))), row

        _, (state, action, reward, alive) = jax.lax.scan(
            tick, (first, jnp.ones(how.walkers, bool)), jr.split(key, how.horizon)
        )
        return from_episodes(q, updates, state, action, reward, alive, how), None

    rounds = _rounds(how, how.walkers * how.horizon, key)
    return jax.lax.scan(batch, (q, jnp.zeros(q.shape)), rounds)[0][0]


def from_episodes(
    q: tabular.ActionValues,
    updates: Float[Array, "states actions"],
    state: Int[Array, "time episodes"],
    action: Int[Array, "time episodes"],
    reward: Float[Array, "time episodes"],
    alive: Bool[Array, "time episodes"],
    how: Sampling,
) -> tuple[tabular.ActionValues, Float[Array, "states actions"]]:
    """Values and counts of updates after every-visit Monte-Carlo on episodes; rows that are not `alive` lie behind an
    episode's end, and have reward 0."""
    back = lambda total, reward: (reward + how.discount * total,) * 2
    _, total = jax.lax.scan(back, jnp.zeros(reward.shape[1]), reward, reverse=True)
    return _averaged(q, updates, state, action, total - q[state, action], how.step_size, weight=alive)


def _rounds(how: Sampling, samples_each: int, key: PRNGKeyArray) -> tuple[Array, PRNGKeyArray]:
    """Epsilon and key of each round of so many samples."""
    count = max(how.samples // samples_each, 1)
    return how.epsilon * jnp.linspace(1.0, 0.0, count), jr.split(key, count)


def _starts(model: AbstractTable):
    """A function `(count, key)` that draws walks at pairs that the model knows."""
    known = model.known()
    pairs = jnp.nonzero(known.reshape(-1), size=known.size, fill_value=0)[0]

    def draw(count: int, key: PRNGKeyArray) -> _Walk:
        place = jnp.floor(jr.uniform(key, (count,)) * known.sum()).astype(jnp.int32)
        state, action = jnp.divmod(pairs[place], known.shape[1])
        return _Walk(state, action, jnp.zeros(count, jnp.int32))

    return draw


def _acts(q: tabular.ActionValues, state: Array, epsilon: Array, key: PRNGKeyArray) -> Int[Array, " walkers"]:
    act = lambda values, key: tabular.epsilon_greedy(values, epsilon, key=key)
    return jax.vmap(act)(q[state], jr.split(key, len(state)))


def _averaged(
    q: tabular.ActionValues,
    updates: Float[Array, "states actions"],
    state: Array,
    action: Array,
    error: Array,
    step_size: float,
    weight: Array | None = None,
) -> tuple[tabular.ActionValues, Float[Array, "states actions"]]:
    """Values and counts of updates after one of every pair that is met, by the mean of its errors."""
    weight = jnp.ones(error.shape) if weight is None else weight.astype(jnp.float32)
    met = jnp.zeros(q.shape).at[state, action].add(weight)
    total = jnp.zeros(q.shape).at[state, action].add(weight * error)
    updates = updates + (met > 0)
    rate = jnp.maximum(1.0 / jnp.maximum(updates, 1.0), step_size)
    return q + rate * total / jnp.maximum(met, 1.0), updates
