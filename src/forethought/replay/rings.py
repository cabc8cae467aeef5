"""Rings of rows, one for each environment: what all experience on the device is stored in."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Rings(eqx.Module):
    """The last `time` rows of each of `num_envs` environments; rows are a PyTree.

    Donate it to the function that writes to it: writing is then in place.
    """

    data: Any  # leaves [num_envs, time, ...]
    head: Int[Array, " num_envs"]  # rows written so far; the next one takes place `head % time`
    used: Int[Array, " num_envs"]  # how many of the newest rows are in use

    @classmethod
    def empty(cls, example: Any, num_envs: int, time: int) -> Self:
        """Without rows; `example` is one. Raises ValueError for sizes below 1."""
        for name, size in {"num_envs": num_envs, "capacity": time}.items():
            if size < 1:
                raise ValueError(f"{name}={size} must be at least 1")
        data = jax.tree.map(lambda x: jnp.zeros((num_envs, time, *x.shape), x.dtype), example)
        return cls(data, jnp.zeros(num_envs, jnp.int32), jnp.zeros(num_envs, jnp.int32))

    @property
    def num_envs(self) -> int:
        """How many rings there are."""
        return jax.tree.leaves(self.data)[0].shape[0]

    @property
    def time(self) -> int:
        """Rows that fit into each ring."""
        return jax.tree.leaves(self.data)[0].shape[1]

    @property
    def size(self) -> Int[Array, ""]:
        """Rows in use, of all environments."""
        return jnp.sum(self.used, dtype=jnp.int32)

    def write(self, rows: Any, valid: Bool[Array, "k num_envs"]) -> Self:
        """With k more rows of each environment, leaves `[k, num_envs, ...]`; those that are not `valid` are left out.

        Raises ValueError for more rows than fit, and for another number of environments.
        """
        k, num_envs = valid.shape
        if num_envs != self.num_envs or k > self.time:
            raise ValueError(
                f"{k} rows of each of {num_envs} environments for a replay of num_envs={self.num_envs} with room for "
                f"{self.time} of each; add one for each environment, or fewer at once"
            )
        after = jnp.cumsum(valid, axis=0, dtype=jnp.int32)
        place = jnp.where(valid, (self.head + after - 1) % self.time, self.time)  # out of range: dropped
        env = jnp.broadcast_to(jnp.arange(num_envs), place.shape)
        data = jax.tree.map(lambda store, new: store.at[env, place].set(new, mode="drop"), self.data, rows)
        return type(self)(data, self.head + after[-1], jnp.minimum(self.used + after[-1], self.time))

    def kept(self, rows: Int[Array, ""] | int) -> Self:
        """With no more than the newest `rows` in use, shared out evenly (rounded up)."""
        return type(self)(self.data, self.head, jnp.minimum(self.used, -(-rows // self.num_envs)))

    def at(self, env: Int[Array, "*shape"], place: Int[Array, "*shape"]) -> Any:
        """Rows, leaves `[*shape, ...]`; places go round."""
        return jax.tree.map(lambda store: store[env, place % self.time], self.data)

    def with_newest(self, change: Any) -> Self:
        """With `change(newest rows, leaves [num_envs, ...])` in place of the newest row of each environment."""
        env, place = jnp.arange(self.num_envs), (self.head - 1) % self.time
        new = change(self.at(env, place))
        data = jax.tree.map(lambda store, row: store.at[env, place].set(row), self.data, new)
        return type(self)(data, self.head, self.used)

    def nth(self, number: Int[Array, " n"]) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
        """Environment and place of row `number` of those in use, 0 to `size` - 1, environments in turn."""
        if self.num_envs == 1:
            env, age = jnp.zeros_like(number), number
        else:
            common = jnp.min(self.used)
            more, rest = self.used - common, number - common * self.num_envs
            ends = jnp.cumsum(more)
            other = jnp.minimum(jnp.searchsorted(ends, rest, side="right"), self.num_envs - 1)
            env = jnp.where(rest < 0, number % self.num_envs, other)
            age = jnp.where(rest < 0, number // self.num_envs, common + rest - (ends - more)[other])
        oldest = jnp.where(self.used < self.time, self.head - self.used, 0)[env]  # of a full ring any place does
        return env, (oldest + age) % self.time

    def newest(self, n: int) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
        """Environment and place of the newest n rows, oldest first, environments in turn."""
        if self.num_envs == 1:
            return jnp.zeros(n, jnp.int32), (self.head[0] - n + jnp.arange(n)) % self.time
        behind = jnp.arange(min(n, self.time))  # rows of the same environment that are newer
        env = jnp.arange(self.num_envs)[:, None]
        rank = jnp.where(behind < self.used[:, None], behind * self.num_envs - env, jnp.iinfo(jnp.int32).max)
        order = jnp.argsort(rank.ravel())[:n][::-1]
        order = jnp.concatenate([jnp.zeros(n - len(order), order.dtype), order])
        return order // len(behind), (self.head[order // len(behind)] - 1 - order % len(behind)) % self.time

    def stretch(self, length: int) -> tuple[Any, Int[Array, "num_envs length"]]:
        """The newest `length` rows of each environment, oldest first, leaves `[num_envs, length, ...]`, and how many
        rows had been written before each; below `head - used` they are not in use."""
        count = self.head[:, None] - length + jnp.arange(length)
        return self.at(jnp.arange(self.num_envs)[:, None], count), count

    def counts(self) -> Int[Array, "num_envs time"]:
        """How many rows of its environment had been written before each."""
        last = self.head[:, None] - 1
        return last - (last - jnp.arange(self.time)) % self.time

    def in_use(self) -> Bool[Array, "num_envs time"]:
        """Which places hold a row in use."""
        return self.counts() >= (self.head - self.used)[:, None]
