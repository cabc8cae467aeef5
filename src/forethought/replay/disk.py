"""Replay of consecutive steps on disk, for more than fits on the device."""

import concurrent.futures
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ..core import AbstractSequenceReplay
from ..types import EnvSpec, Sequence, Transition
from .chunks import GIGABYTE, ChunkStore, projection
from .sequence import Steps


class DiskReplay(AbstractSequenceReplay):
    """The last steps of each of `num_envs` environments, in chunk files (`chunks.ChunkStore`) of so many gigabytes.

    For the step driver: `add` does its work on the host. `sequences` may be traced; it then calls back to the host.
    A value as other replays are: `end` says how far the steps go that belong to it, and what the folder holds beyond
    (the run was killed after its last checkpoint) is forgotten at the next `add`. Steps that were removed for the limit
    after that checkpoint stay gone, so only then a resumed run differs from one that was not interrupted.
    """

    end: Int[Array, " num_envs"]
    open: Bool[Array, " num_envs"]  # the newest step is in mid-episode: what is added next follows it
    spec: EnvSpec
    store: ChunkStore = eqx.field(static=True)
    staged: "Staged" = eqx.field(static=True)

    @classmethod
    def at(cls, folder: Path | str, spec: EnvSpec, *, num_envs: int = 1, gigabytes: float = 2.0) -> Self:
        """The replay in `folder`, with what is there already; what is added opens new episodes.

        Raises UserError if the folder holds another task's steps, or the limit has no room for a few episodes.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        store = ChunkStore(Path(folder), spec, num_envs, int(gigabytes * GIGABYTE))
        return cls(jnp.asarray(store.end, jnp.int32), jnp.zeros(num_envs, bool), spec, store, Staged())

    @property
    def traceable(self) -> bool:
        return False

    @property
    def capacity(self) -> int:
        """Steps that fit; there are fewer transitions, by one for each episode."""
        return self.store.limit // self.store.dtype.itemsize

    @property
    def size(self) -> int:
        """Transitions stored. Reads all of them."""
        self._settle()
        return sum(int(np.sum(~steps["first"][1:])) for steps in self._all())

    def projection(self, steps: int) -> str:
        """What `steps` will take on disk, in a sentence, to be shown when a run starts."""
        return projection(self.spec, steps, self.store.limit, self.store.folder)

    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        """The `valid` rows of `[num_envs, ...]`, as `SequenceReplay.add`. Writes to disk before it returns.

        Raises StorageFault where the disk is full or gone; the replay is then as it was.
        """
        num_envs = self.store.num_envs
        rows = jax.tree.map(np.asarray, batch)
        if len(rows.reward) != num_envs:
            raise ValueError(
                f"{len(rows.reward)} rows for a replay of num_envs={num_envs}; add one for each environment and "
                "say in `valid` which count"
            )
        if batch.extras is not None:
            raise ValueError("this replay has no place for extras; add transitions with extras=None")
        self._settle()
        end, now_open = np.array(self.end), np.array(self.open)
        over = rows.terminated | rows.truncated
        try:
            for env in range(num_envs) if valid is None else np.flatnonzero(np.asarray(valid)):
                steps = self._records(jax.tree.map(lambda x, env=env: x[env], rows))
                self.store.append(int(env), steps[1:] if now_open[env] else steps)
                end[env], now_open[env] = self.store.end[env], not over[env]
        except BaseException:
            self.store.rewind(np.asarray(self.end))
            raise
        return dataclasses.replace(self, end=jnp.asarray(end), open=jnp.asarray(now_open))

    def cut(self) -> Self:
        return dataclasses.replace(self, open=jnp.zeros(self.store.num_envs, bool))

    def sequences(self, batch_size: int, length: int, *, key: PRNGKeyArray) -> Sequence:
        """`batch_size` stretches of `length` steps, drawn uniformly with replacement from all that are stored.

        What is drawn depends on the key and on what is stored, and on nothing else. Where nothing that long is stored
        yet, the rewards are NaN, so that no update can go unnoticed. Raises ValueError if it can never be.
        """
        if not 1 <= length <= self.store.kept:
            raise ValueError(
                f"length={length} must lie in 1..{self.store.kept}, the steps kept of each environment; take a shorter "
                "length or a larger limit"
            )
        words = jr.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        if not any(isinstance(x, jax.core.Tracer) for x in (words, self.end)):
            return self.staged.take(_asked(batch_size, length, words, self.end), self._draw).sequence()
        draw = lambda words, end: self._draw(_asked(batch_size, length, words, end))
        return io_callback(draw, self._like(batch_size, length), words, self.end, ordered=True).sequence()

    def stage(self, batch_size: int, length: int, *, key: PRNGKeyArray) -> None:
        """Starts to read in the background what `sequences` with the same arguments will return.

        It is put on the device too. For calls that are not traced; if steps are added in between, it is drawn anew.
        """
        self.staged.start(_asked(batch_size, length, jr.key_data(key), self.end), self._draw)

    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        self._settle()
        rng, found = np.random.default_rng(np.asarray(jr.key_data(key)).tolist()), []
        starts = np.maximum(self.store.end - self.store.begin - 1, 0)
        if not starts.any():
            raise ValueError(f"{self.store.folder} holds no transition to sample yet; add some first")
        while len(found) < batch_size:  # a pair of steps that is two episodes' is drawn again
            env, at = self._place(int(rng.integers(starts.sum())), starts)
            pair = self.store.read(env, at, 2)
            if not pair["first"][1]:
                found.append(pair)
        return self._transitions(np.stack([p[0] for p in found]), np.stack([p[1] for p in found]))

    def latest(self, n: int) -> Transition:
        """The last `n` transitions, oldest first: environments in turn, as if each had had a row in every batch."""
        self._settle()
        found = [self._newest(env, -(-n // self.store.num_envs)) for env in range(self.store.num_envs)]
        aged = [(-age, env, *pair) for env, pairs in enumerate(found) for age, pair in enumerate(pairs)]
        aged = sorted(aged, key=lambda row: row[:2])[-n:]
        return self._transitions(np.stack([row[2] for row in aged]), np.stack([row[3] for row in aged]))

    def rows(self) -> tuple[Transition, Bool[Array, " size"]]:
        """All transitions, environment by environment, and which are in use: all. All at once in memory."""
        self._settle()
        kept = [(steps[:-1][~steps["first"][1:]], steps[1:][~steps["first"][1:]]) for steps in self._all()]
        before, after = (np.concatenate(part) for part in zip(*kept))
        return self._transitions(before, after), np.ones(len(after), bool)

    def _settle(self) -> None:
        """Forgets what the folder holds beyond this replay."""
        if not np.array_equal(self.store.end, np.asarray(self.end)):
            self.store.rewind(np.asarray(self.end))

    def _all(self) -> list[np.ndarray]:
        return [
            self.store.read(env, int(begin), int(end - begin))
            for env, (begin, end) in enumerate(zip(self.store.begin, self.store.end))
        ]

    def _newest(self, env: int, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Up to `n` pairs of consecutive steps of one environment, newest first."""
        end, begin, pairs = int(self.store.end[env]), int(self.store.begin[env]), []
        while end - begin >= 2 and len(pairs) < n:
            start = max(begin, end - n - 1)
            steps = self.store.read(env, start, end - start)
            pairs += [(steps[k - 1], steps[k]) for k in range(len(steps) - 1, 0, -1) if not steps["first"][k]]
            end = start + 1
        return pairs[:n]

    def _draw(self, asked: "_Asked") -> Steps:
        """The steps `[batch_size, length, ...]` as NumPy arrays. Changes nothing: it also runs beside `add`."""
        starts = np.maximum(np.array(asked.end) - self.store.begin - asked.length + 1, 0)
        if not starts.sum():
            zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self._like(asked.batch_size, asked.length))
            return dataclasses.replace(zeros, reward=np.full_like(zeros.reward, np.nan))
        drawn = np.random.default_rng(list(asked.key)).integers(starts.sum(), size=asked.batch_size)
        places = [self._place(int(k), starts) for k in drawn]
        steps = np.stack([self.store.read(env, at, asked.length) for env, at in places])
        return Steps(*(np.ascontiguousarray(steps[name]) for name in self.store.dtype.names))

    def _like(self, batch_size: int, length: int) -> Steps:
        """Shapes and types of a batch."""
        return jax.eval_shape(lambda: Steps.empty(self.spec, (batch_size, length)))

    def _place(self, number: int, starts: np.ndarray) -> tuple[int, int]:
        """Environment and step of start `number`, counted through all environments."""
        ends = np.cumsum(starts)
        env = int(np.searchsorted(ends, number, side="right"))
        return env, int(self.store.begin[env] + number - (ends[env] - starts[env]))

    def _records(self, row: Transition) -> np.ndarray:
        """The step that opens an episode and the step that was taken, for one transition."""
        steps = np.zeros(2, self.store.dtype)
        for step, obs in zip(steps, (row.obs, row.next_obs)):
            step["pixels"] = np.clip(np.rint(obs[: self.spec.num_pixels]), 0, 255)
            step["vector"] = obs[self.spec.num_pixels :]
        steps["first"] = True, False
        for name in ("action", "reward", "terminated", "truncated"):
            steps[name][1] = getattr(row, name)
        return steps

    def _transitions(self, before: np.ndarray, after: np.ndarray) -> Transition:
        obs, next_obs = (np.concatenate([x["pixels"], x["vector"]], -1, dtype=np.float32) for x in (before, after))
        rest = (np.ascontiguousarray(after[name]) for name in ("terminated", "truncated"))
        return Transition(obs, np.ascontiguousarray(after["action"]), after["reward"].copy(), next_obs, *rest)


class _Asked(NamedTuple):
    """What decides a batch."""

    batch_size: int
    length: int
    key: tuple[int, ...]
    end: tuple[int, ...]


def _asked(batch_size: int, length: int, words: Array, end: Array) -> _Asked:
    return _Asked(batch_size, length, tuple(np.asarray(words).tolist()), tuple(np.asarray(end).tolist()))


class Staged:
    """One batch that is read while something else is done."""

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="replay")
        self._asked: _Asked | None = None
        self._batch: concurrent.futures.Future | None = None

    def start(self, asked: _Asked, draw: Callable[[_Asked], Steps]) -> None:
        """Begins to read."""
        self._asked, self._batch = asked, self._pool.submit(lambda: jax.device_put(draw(asked)))

    def take(self, asked: _Asked, draw: Callable[[_Asked], Steps]) -> Steps:
        """What was begun if it is what is asked for, else drawn now; on the device."""
        batch, self._batch = self._batch, None
        if batch is not None and asked == self._asked:
            return batch.result()
        return jax.device_put(draw(asked))
