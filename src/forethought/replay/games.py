"""Games in rings on the device: what a search said of every position, and how its game ended."""

import dataclasses
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractReplay
from ..types import EnvSpec, Transition
from .rings import Rings


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

    rings: Rings  # of Transition; all environments have as many rows

    @classmethod
    def empty(cls, spec: EnvSpec, capacity: int, num_envs: int = 1) -> Self:
        """With room for `capacity` steps in all, rounded up to whole ticks of all environments.

        Raises ValueError if `num_envs` or `capacity` is below 1.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        extras = Searched(jnp.zeros(spec.action.feature_dim), jnp.zeros((), jnp.int32))
        example = dataclasses.replace(Transition.example(spec), extras=extras)
        return cls(Rings.empty(example, num_envs, -(-capacity // num_envs)))

    @property
    def num_envs(self) -> int:
        """Games played side by side."""
        return self.rings.num_envs

    @property
    def capacity(self) -> int:
        return self.rings.num_envs * self.rings.time

    @property
    def size(self) -> Int[Array, ""]:
        """Rows in use."""
        return self.rings.size

    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        """A tick: one row of each environment. It counts if all its rows are `valid`.

        Raises ValueError for another number of rows.
        """
        if batch.reward.shape[0] != self.num_envs:
            raise ValueError(f"{batch.reward.shape[0]} rows for games of num_envs={self.num_envs}; add one of each")
        counts = jnp.full((1, self.num_envs), True if valid is None else jnp.all(valid))
        return type(self)(self.rings.write(jax.tree.map(lambda x: x[None], batch), counts))

    def cut(self) -> Self:
        """The same, with the games under way told to be cut off by time."""
        mark = lambda row: dataclasses.replace(row, truncated=(self.rings.used > 0) & ~row.terminated)
        return type(self)(self.rings.with_newest(mark))

    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        return self.rings.at(*self._drawn(batch_size, key))

    def _drawn(self, batch_size: int, key: PRNGKeyArray) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
        """Environment and place of rows drawn uniformly."""
        return self.rings.nth(jr.randint(key, (batch_size,), 0, jnp.maximum(self.size, 1)))

    def latest(self, n: int) -> Transition:
        return self.rings.at(*self.rings.newest(n))

    def numbers(self) -> Int[Array, " capacity"]:
        return (self.rings.counts() * self.num_envs + jnp.arange(self.num_envs)[:, None]).reshape(-1)

    def rows(self) -> tuple[Transition, Bool[Array, " capacity"]]:
        """All rows, game by game, and which of them are in use."""
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), self.rings.data)
        return flat, self.rings.in_use().reshape(-1)

    def outcomes(self, discount: float = 1.0) -> Outcomes:
        """How the games of all rows ended, found from the last row back to the first."""
        rows, time = self.rings.data, self.rings.time
        order = (self.rings.head[0] + jnp.arange(time)) % time  # from the oldest, or from the first that is empty
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
        _, found = jax.lax.scan(before, start, jax.tree.map(lambda x: x.T[order], steps), reverse=True)
        value, known = (jnp.zeros_like(x).at[order].set(x).T for x in found)
        return Outcomes(value.reshape(-1), (known & self.rings.in_use()).reshape(-1))

    def positions(self, outcomes: Outcomes, batch_size: int, *, key: PRNGKeyArray) -> Position:
        """`batch_size` rows drawn uniformly with replacement; `outcomes` are those of this replay."""
        env, place = self._drawn(batch_size, key)
        rows, index = self.rings.at(env, place), env * self.rings.time + place
        return Position(rows.obs, rows.extras.weights, outcomes.value[index], outcomes.known[index])
