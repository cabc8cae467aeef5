"""Uniform ring buffer held on the device."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ..core import AbstractReplay
from ..types import EnvSpec, Transition


class UniformReplay(AbstractReplay):
    """The last `capacity` transitions. Donate it to the function that adds to it: adding is then in place."""

    data: Transition  # leaves [capacity, ...]; rows at and past `size` are not in use
    head: Int[Array, ""]  # transitions added so far; the next one takes row `head % capacity`
    size: Int[Array, ""]  # rows in use

    @classmethod
    def empty(cls, spec: EnvSpec, capacity: int, extras: Any = None) -> Self:
        """A buffer with no rows in use; `extras` is an example of those of a row. Raises ValueError for a `capacity`
        below 1."""
        if capacity < 1:
            raise ValueError(f"capacity={capacity} must be at least 1")
        example = dataclasses.replace(Transition.example(spec), extras=extras)
        data = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
        return cls(data, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    @property
    def capacity(self) -> int:
        return self.data.reward.shape[0]

    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        n = batch.reward.shape[0]
        if n > self.capacity:
            raise ValueError(f"cannot add {n} rows to a replay with capacity={self.capacity}; add at most that many")
        index = (self.head + jnp.arange(n)) % self.capacity
        if valid is not None:
            index = (self.head + jnp.cumsum(valid) - 1) % self.capacity
            index = jnp.where(valid, index, self.capacity)  # out of range: dropped
            n = jnp.sum(valid, dtype=jnp.int32)
        data = jax.tree.map(lambda store, new: store.at[index].set(new, mode="drop"), self.data, batch)
        return type(self)(data, self.head + n, jnp.minimum(self.size + n, self.capacity))

    def cut(self) -> Self:
        """Marks the newest row as truncated unless it terminated.

        With several environments the rows before it stay unmarked: whatever follows rows from one to the next compares
        their observations.
        """
        newest, data = self.head - 1, self.data
        abandoned = data.truncated[newest] | (~data.terminated[newest] & (self.size > 0))
        data = dataclasses.replace(data, truncated=data.truncated.at[newest].set(abandoned))
        return dataclasses.replace(self, data=data)

    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        index = jr.randint(key, (batch_size,), 0, jnp.maximum(self.size, 1))
        return jax.tree.map(lambda store: store[index], self.data)

    def latest(self, n: int) -> Transition:
        index = (self.head - n + jnp.arange(n)) % self.capacity
        return jax.tree.map(lambda store: store[index], self.data)

    def numbers(self) -> Int[Array, " capacity"]:
        return self.head - 1 - (self.head - 1 - jnp.arange(self.capacity)) % self.capacity

    def rows(self) -> tuple[Transition, Bool[Array, " capacity"]]:
        return self.data, jnp.arange(self.capacity) < self.size
