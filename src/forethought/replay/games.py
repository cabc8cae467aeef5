"""Ring buffer of games: what a search said of every position, and how its game ended."""

import dataclasses
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractReplay
from ..types import EnvSpec, Transition
from .uniform import UniformReplay


class Searched(eqx.Module):
    """What an agent that searches keeps of every step, in `Transition.extras`."""

    weights: Float[Array, "*batch actions"]  # the improved policy
    player: Int[Array, "*batch"]  # who was to move


class Outcomes(eqx.Module):
    """How the games of all rows ended, from the side of whoever moved there."""

    value: Float[Array, " capacity"]  # sum of the discounted rewards from this row on, the opponent's with a minus
    known: Bool[Array, " capacity"]  # False where the game is not over yet, was cut off by time, or the row is empty


class Position(eqx.Module):
    """Rows to learn from."""

    obs: Float[Array, "n obs"]
    weights: Float[Array, "n actions"]
    value: Float[Array, " n"]
    known: Bool[Array, " n"]  # whether `value` means anything


class GameReplay(AbstractReplay):
    """The last `capacity` steps of `num_envs` games played side by side, extras included.

    A game that is not over has no outcome, and neither has one that time cut off: such rows are not draws. Donate the
    replay to the function that adds to it.
    """

    data: UniformReplay  # rows of a tick are neighbours: row k is of environment k % num_envs
    num_envs: int = eqx.field(static=True)

    @classmethod
    def empty(cls, spec: EnvSpec, capacity: int, num_envs: int = 1) -> Self:
        """With room for `capacity` steps in all, rounded up to whole ticks of all environments.

        Raises ValueError if `num_envs` or `capacity` is below 1.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        extras = Searched(jnp.zeros(spec.action.feature_dim), jnp.zeros((), jnp.int32))
        return cls(UniformReplay.empty(spec, -(-capacity // num_envs) * num_envs, extras), num_envs)

    @property
    def capacity(self) -> int:
        return self.data.capacity

    @property
    def size(self) -> Int[Array, ""]:
        """Rows in use."""
        return self.data.size

    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        """A tick: one row of each environment. It counts if all its rows are `valid`.

        Raises ValueError for another number of rows.
        """
        if batch.reward.shape[0] != self.num_envs:
            raise ValueError(f"{batch.reward.shape[0]} rows for games of num_envs={self.num_envs}; add one of each")
        if valid is not None:
            valid = jnp.broadcast_to(jnp.all(valid), valid.shape)
        return dataclasses.replace(self, data=self.data.add(batch, valid))

    def cut(self) -> Self:
        """The same, with the games under way told to be cut off by time."""
        rows, in_use = self.data.rows()
        latest = (self.data.head - 1 - jnp.arange(self.num_envs)) % self.capacity
        truncated = rows.truncated.at[latest].set(in_use[latest] & ~rows.terminated[latest])
        return eqx.tree_at(lambda replay: replay.data.data.truncated, self, truncated)

    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        return self.data.sample(batch_size, key=key)

    def latest(self, n: int) -> Transition:
        return self.data.latest(n)

    def rows(self) -> tuple[Transition, Bool[Array, " capacity"]]:
        return self.data.rows()

    def outcomes(self, discount: float = 1.0) -> Outcomes:
        """How the games of all rows ended, found from the last row back to the first."""
        rows, in_use = self.data.rows()
        by_tick = lambda x: x.reshape(-1, self.num_envs)
        first = self.data.head // self.num_envs  # the oldest tick, or the first that is empty
        order = (first + jnp.arange(self.capacity // self.num_envs)) % (self.capacity // self.num_envs)
        steps = (rows.reward, rows.terminated, rows.truncated, rows.extras.player)

        def before(after: tuple, step: tuple) -> tuple:
            value, known, next_player = after
            reward, terminated, truncated, player = step
            sign = jnp.where(player == next_player, 1.0, -1.0)
            over = terminated | truncated
            value = reward + jnp.where(over, 0.0, discount * sign * value)
            known = terminated | (known & ~truncated)
            return (value, known, player), (value, known)

        nothing = jnp.zeros(self.num_envs)
        start = (nothing, nothing > 0, jnp.zeros(self.num_envs, jnp.int32))
        _, found = jax.lax.scan(before, start, jax.tree.map(lambda x: by_tick(x)[order], steps), reverse=True)
        value, known = (jnp.zeros_like(x).at[order].set(x).reshape(-1) for x in found)
        return Outcomes(value, known & in_use)

    def positions(self, outcomes: Outcomes, batch_size: int, *, key: PRNGKeyArray) -> Position:
        """`batch_size` rows drawn uniformly with replacement; `outcomes` are those of this replay."""
        index = jr.randint(key, (batch_size,), 0, jnp.maximum(self.size, 1))
        rows = self.data.data
        return Position(rows.obs[index], rows.extras.weights[index], outcomes.value[index], outcomes.known[index])
