"""Consecutive steps in rings on the device, drawn as sequences."""

import dataclasses
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from ..core import AbstractSequenceReplay
from ..types import EnvSpec, Sequence, Transition
from .rings import Rings


class Steps(eqx.Module):
    """Steps as they are stored: a `Sequence` whose pixels are bytes."""

    pixels: UInt8[Array, "*batch pixels"]
    vector: Float[Array, "*batch vector"]
    action: Array
    reward: Float[Array, "*batch"]
    first: Bool[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]

    @classmethod
    def empty(cls, spec: EnvSpec, shape: tuple[int, ...]) -> Self:
        """All zero, with batch axes `shape`."""
        example = Transition.example(spec)
        return cls(
            jnp.zeros((*shape, spec.num_pixels), jnp.uint8),
            jnp.zeros((*shape, spec.vector_dim)),
            jnp.zeros((*shape, *example.action.shape), example.action.dtype),
            jnp.zeros(shape),
            *(jnp.zeros(shape, bool) for _ in range(3)),
        )

    @classmethod
    def pair(cls, batch: Transition, num_pixels: int) -> Self:
        """What transitions `[n]` add, `[2, n]`: the step that opens an episode, and the step that was taken."""
        stack = lambda before, after: jnp.stack([before, after])
        after_zero = lambda x: stack(jnp.zeros_like(x), x)
        obs = stack(batch.obs, batch.next_obs)
        no = jnp.zeros_like(batch.terminated)
        return cls(
            bytes_of(obs[..., :num_pixels]),
            obs[..., num_pixels:],
            after_zero(batch.action),
            after_zero(batch.reward),
            stack(~no, no),
            after_zero(batch.terminated),
            after_zero(batch.truncated),
        )

    @property
    def obs(self) -> Float[Array, "*batch obs"]:
        """The observations."""
        return jnp.concatenate([self.pixels.astype(jnp.float32), self.vector], -1)

    def sequence(self) -> Sequence:
        """Steps `[*batch, time, ...]` as models take them.

        A step is truncated too where its episode was abandoned: the next one opens an episode and this one ended none.
        """
        opens = jnp.concatenate([self.first[..., 1:], jnp.zeros_like(self.first[..., :1])], -1)
        truncated = self.truncated | (opens & ~self.terminated)
        return Sequence(self.obs, self.action, self.reward, self.first, self.terminated, truncated)


def bytes_of(pixels: Float[Array, "*batch"]) -> UInt8[Array, "*batch"]:
    """Pixel values rounded to whole numbers and clipped to 0..255."""
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


class SequenceReplay(AbstractSequenceReplay):
    """The last steps of each of `num_envs` environments, an episode of T transitions being T + 1 steps.

    Pixels are stored as bytes. Donate it to the function that adds to it: adding is then in place.
    """

    rings: Rings  # of Steps
    open: Bool[Array, " num_envs"]  # the newest step is in mid-episode: what is added next follows it

    @classmethod
    def empty(cls, spec: EnvSpec, capacity: int, num_envs: int = 1) -> Self:
        """A buffer with no steps, for `capacity` of them in all, shared out evenly (rounded up).

        Raises ValueError if `num_envs` is below 1, or if there is not room for 2 steps of each environment.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        if capacity < 2 * num_envs:
            raise ValueError(
                f"capacity={capacity} must be at least {2 * num_envs}: one transition of each of "
                f"num_envs={num_envs} environments takes 2 steps"
            )
        rings = Rings.empty(Steps.empty(spec, ()), num_envs, -(-capacity // num_envs))
        return cls(rings, jnp.zeros(num_envs, bool))

    @property
    def capacity(self) -> int:
        """Steps that fit; there are fewer transitions, by one for each episode."""
        return self.rings.num_envs * self.rings.time

    @property
    def size(self) -> Int[Array, ""]:
        """Transitions stored."""
        return jnp.sum(self._transitions()[1], dtype=jnp.int32)

    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        """The `valid` rows of `[num_envs, ...]`, row i being the next transition of environment i; the oldest give way.

        A row after one that ended, or after `cut`, opens an episode. In between, the row's `obs` is taken to be the
        `next_obs` of the row before and is not stored. Raises ValueError for another number of rows, or for extras.
        """
        num_envs = self.rings.num_envs
        if batch.reward.shape[0] != num_envs:
            raise ValueError(
                f"{batch.reward.shape[0]} rows for a replay of num_envs={num_envs}; add one for each environment and "
                "say in `valid` which count"
            )
        if batch.extras is not None:
            raise ValueError("this replay has no place for extras; add transitions with extras=None")
        valid = jnp.ones(num_envs, bool) if valid is None else valid
        pair = Steps.pair(batch, self.rings.data.pixels.shape[-1])
        rings = self.rings.write(pair, jnp.stack([valid & ~self.open, valid]))
        return type(self)(rings, jnp.where(valid, ~(batch.terminated | batch.truncated), self.open))

    def cut(self) -> Self:
        mark = lambda step: dataclasses.replace(step, truncated=step.truncated | self.open)
        return type(self)(self.rings.with_newest(mark), jnp.zeros_like(self.open))

    def num_sequences(self, length: int) -> Int[Array, ""]:
        """How many stretches of `length` steps there are to draw from."""
        return jnp.sum(jnp.maximum(self.rings.used - length + 1, 0), dtype=jnp.int32)

    def sequences(self, batch_size: int, length: int, *, key: PRNGKeyArray) -> Sequence:
        """`batch_size` stretches of `length` steps, drawn uniformly with replacement from all that are stored.

        None has a step older than its newest behind it. Where nothing that long is stored yet, the rewards are NaN,
        so that no update can go unnoticed. Raises ValueError if nothing that long can ever be stored.
        """
        steps, used = self.rings.time, self.rings.used
        if not 1 <= length <= steps:
            raise ValueError(
                f"length={length} must lie in 1..{steps}, the steps kept of each environment; take a shorter length or "
                "a larger capacity"
            )
        starts = jnp.maximum(used - length + 1, 0)
        ends = jnp.cumsum(starts)
        drawn = jr.randint(key, (batch_size,), 0, jnp.maximum(ends[-1], 1))
        env = jnp.minimum(jnp.searchsorted(ends, drawn, side="right"), len(starts) - 1)
        age = (drawn - (ends - starts)[env])[:, None] + jnp.arange(length)  # in steps after the oldest
        found = self.rings.at(env[:, None], (self.rings.head - used)[env][:, None] + age).sequence()
        return dataclasses.replace(found, reward=jnp.where(ends[-1] > 0, found.reward, jnp.nan))

    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        place, real = self._transitions()
        ends = jnp.cumsum(real.ravel())
        rank = jr.randint(key, (batch_size,), 0, jnp.maximum(ends[-1], 1))
        chosen = jnp.minimum(jnp.searchsorted(ends, rank, side="right"), real.size - 1)
        return self._at(chosen // real.shape[1], place.ravel()[chosen])

    def latest(self, n: int) -> Transition:
        """The last `n` transitions, oldest first: environments in turn, as if each had had a row in every batch."""
        env, place, count = self._by_age()
        index = jnp.maximum(count - n + jnp.arange(n), 0)
        return self._at(env[index], place[index])

    def rows(self) -> tuple[Transition, Bool[Array, " capacity"]]:
        """All transitions in the order of `latest`, and which rows are in use: the first `size`.

        Pixels come as float32, twice: eight times the memory of the replay.
        """
        env, place, count = self._by_age()
        return self._at(env, place), jnp.arange(self.capacity) < count

    def _transitions(self) -> tuple[Int[Array, "num_envs steps"], Bool[Array, "num_envs steps"]]:
        """Places, oldest first, and which of them hold a step that a stored one led to."""
        rings, age = self.rings, jnp.arange(self.rings.time)
        place = ((rings.head - rings.used)[:, None] + age) % rings.time
        first = rings.data.first[jnp.arange(rings.num_envs)[:, None], place]
        return place, (age >= 1) & (age < rings.used[:, None]) & ~first

    def _by_age(self) -> tuple[Int[Array, " capacity"], Int[Array, " capacity"], Int[Array, ""]]:
        """Environment and place of every transition, oldest first; how many there are (what follows is no data)."""
        place, real = self._transitions()
        num_envs = place.shape[0]
        env = jnp.broadcast_to(jnp.arange(num_envs)[:, None], place.shape)
        newer = real.sum(1, keepdims=True) - jnp.cumsum(real, 1)  # transitions of this environment after this one
        last = jnp.iinfo(jnp.int32).max
        order = jnp.argsort(jnp.where(real, env - newer * num_envs, last).ravel())
        return env.ravel()[order], place.ravel()[order], jnp.sum(real, dtype=jnp.int32)

    def _at(self, env: Int[Array, " n"], place: Int[Array, " n"]) -> Transition:
        """The transitions that led to these steps."""
        before, after = self.rings.at(env, place - 1), self.rings.at(env, place)
        return Transition(before.obs, after.action, after.reward, after.obs, after.terminated, after.truncated)
