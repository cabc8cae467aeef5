"""Transitions in rings on the device, drawn uniformly."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ..core import AbstractReplay
from ..types import EnvSpec, Transition
from .rings import Rings


class UniformReplay(AbstractReplay):
    """The last transitions of each of `num_envs` environments. Donate it to the function that adds to it: adding is
    then in place."""

    rings: Rings  # of Transition

    @classmethod
    def empty(cls, spec: EnvSpec, capacity: int, num_envs: int = 1, *, extras: Any = None) -> Self:
        """No rows, with room for `capacity` of them in all, shared out evenly (rounded up); `extras` is an example of
        those of a row. Raises ValueError for sizes below 1."""
        if capacity < 1:
            raise ValueError(f"capacity={capacity} must be at least 1")
        example = dataclasses.replace(Transition.example(spec), extras=extras)
        return cls(Rings.empty(example, num_envs, -(-capacity // max(num_envs, 1))))

    @classmethod
    def of(cls, rows: Transition) -> Self:
        """A replay that is full with these rows `[n, ...]`, those of one environment."""
        count = jnp.array([rows.reward.shape[0]], jnp.int32)
        return cls(Rings(jax.tree.map(lambda x: jnp.asarray(x)[None], rows), count, jnp.copy(count)))

    @property
    def num_envs(self) -> int:
        """Environments whose transitions it takes."""
        return self.rings.num_envs

    @property
    def capacity(self) -> int:
        return self.rings.num_envs * self.rings.time

    @property
    def size(self) -> Int[Array, ""]:
        """Rows in use."""
        return self.rings.size

    @property
    def head(self) -> Int[Array, " num_envs"]:
        """Rows of each environment that were added so far."""
        return self.rings.head

    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        """Append one row of each environment, leaves `[num_envs, ...]`; with one environment, any number of rows.

        Raises ValueError for more rows than fit, and for another number of environments.
        """
        n = batch.reward.shape[0]
        valid = jnp.ones(n, bool) if valid is None else valid
        axis = 1 if self.num_envs == 1 else 0
        rows = jax.tree.map(lambda x: jnp.expand_dims(x, axis), batch)
        return type(self)(self.rings.write(rows, jnp.expand_dims(valid, axis)))

    def kept(self, rows: Int[Array, ""] | int) -> Self:
        return type(self)(self.rings.kept(rows))

    def cut(self) -> Self:
        """Marks the newest row of each environment as truncated unless it terminated."""
        open_ = self.rings.used > 0
        mark = lambda row: dataclasses.replace(row, truncated=row.truncated | (open_ & ~row.terminated))
        return type(self)(self.rings.with_newest(mark))

    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        number = jr.randint(key, (batch_size,), 0, jnp.maximum(self.size, 1))
        return self.rings.at(*self.rings.nth(number))

    def latest(self, n: int) -> Transition:
        return self.rings.at(*self.rings.newest(n))

    def on_policy(self, length: int) -> tuple[Transition, Bool[Array, "num_envs length"]]:
        """The newest `length` rows of each environment `[num_envs, length, ...]`, oldest first, and which are in use.

        Raises ValueError if so many never fit.
        """
        if length > self.rings.time:
            raise ValueError(f"length={length} is more than the {self.rings.time} rows kept of each environment")
        rows, count = self.rings.stretch(length)
        return rows, count >= (self.rings.head - self.rings.used)[:, None]

    def numbers(self) -> Int[Array, " capacity"]:
        counts = self.rings.counts()
        return (counts * self.num_envs + jnp.arange(self.num_envs)[:, None]).reshape(-1)

    def rows(self) -> tuple[Transition, Bool[Array, " capacity"]]:
        """All rows, environment by environment, and which of them are in use."""
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), self.rings.data)
        return flat, self.rings.in_use().reshape(-1)
