"""Replay of consecutive steps on disk, for more than fits in memory."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.experimental import io_callback
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ..core import AbstractHostReplay
from ..errors import StorageFault, UserError
from ..types import EnvSpec, Sequence, Transition
from .checksums import FIELD
from .chunks import GIGABYTE, LAYOUT, ChunkStore, projection
from .machine import SHARE, host_bytes
from .sequence import Steps
from .staging import Asked, Staging, Wanted, Window


class DiskReplay(AbstractHostReplay):
    """The last steps of each of `num_envs` environments, in chunk files (`chunks.ChunkStore`) of so many gigabytes.

    Every step is written before `add` returns; the newest are held in memory too. `sequences` may be traced; it then
    calls back to the host. A value as other replays are, small enough for any checkpoint: `end` says how far the steps
    go that belong to it, and what the folder holds beyond (the run was killed after its last checkpoint) is forgotten
    at the next `add`.

    Batches are those of a `SequenceReplay` in distribution, but for the first of a round where the driver calls
    `stage`: it is read while the steps since the round before are taken, so it cannot contain them.
    """

    end: Int[Array, " num_envs"]
    before: Int[Array, " num_envs"]  # where the steps ended when the last round of learning was over
    open: Bool[Array, " num_envs"]  # the newest step is in mid-episode: what is added next follows it
    spec: EnvSpec
    store: ChunkStore = eqx.field(static=True)
    staging: Staging = eqx.field(static=True)
    noting: bool = eqx.field(static=True, default=False)  # answer with zeros, and note what was asked for
    ready: Steps | None = None  # the one batch of the round of learning that is under way

    @classmethod
    def at(
        cls,
        folder: Path | str,
        spec: EnvSpec,
        *,
        num_envs: int = 1,
        gigabytes: float = 2.0,
        memory_gigabytes: float | None = None,
    ) -> Self:
        """The replay in `folder`, with what is there already; what is added opens new episodes.

        Nothing is written before the first `add`. Memory is used up to `memory_gigabytes` (default: a quarter of the
        machine's). Raises UserError if the folder holds another task's steps, or the limit has no room for a few.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        memory = SHARE * host_bytes() if memory_gigabytes is None else memory_gigabytes * GIGABYTE
        store = ChunkStore(Path(folder), spec, num_envs, int(gigabytes * GIGABYTE), int(memory))
        end = jnp.asarray(store.end, jnp.int32)
        staging = Staging(lambda asked, window: _drawn(store, spec, asked, window))
        return cls(end, end, jnp.zeros(num_envs, bool), spec, store, staging)

    def emptied(self) -> Self:
        """The same with no steps; those in the folder are forgotten at the next `add`."""
        return dataclasses.replace(self, end=jnp.zeros_like(self.end), before=jnp.zeros_like(self.end))

    @property
    def capacity(self) -> int:
        """Steps that are drawn from at most; there are fewer transitions, by one for each episode."""
        return self.store.kept * self.store.num_envs

    @property
    def size(self) -> int:
        """Transitions stored. Reads all of them."""
        return sum(int(np.sum(~steps["first"][1:])) for steps in self._all())

    def projection(self, steps: int) -> list[str]:
        return projection(self.store, steps)

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
        if not np.array_equal(self.store.end, np.asarray(self.end)):
            self.store.rewind(np.asarray(self.end))
        end, now_open = np.array(self.end), np.array(self.open)
        over = rows.terminated | rows.truncated
        try:
            for env in range(num_envs) if valid is None else np.flatnonzero(np.asarray(valid)):
                steps = self._records(jax.tree.map(lambda x, env=env: x[env], rows))
                if self.store.removes(int(env), 2):
                    self.staging.wait()  # what was promised a place in a batch is still there
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

        Resets may lie inside. What is drawn depends on the key and on what is stored, and, in a round that was staged,
        on what was stored before. Where nothing that long is stored yet, the rewards are NaN, so that no update can go
        unnoticed. Raises ValueError if it can never be.
        """
        if not 1 <= length <= self.store.kept:
            raise ValueError(
                f"length={length} must lie in 1..{self.store.kept}, the steps kept of each environment; take a shorter "
                "length or a larger limit"
            )
        if self.ready is not None and self.ready.reward.shape == (batch_size, length):
            return self.ready.sequence()
        words = jr.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        asked = lambda words: Asked(batch_size, length, tuple(np.asarray(words).tolist()))
        if self.noting:
            io_callback(lambda words: self.staging.noted.append(asked(words)), None, words, ordered=True)
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), _like(self.spec, batch_size, length)).sequence()
        if not any(isinstance(x, Tracer) for x in (words, self.end)):
            return jax.device_put(self._answer(asked(words), np.asarray(self.end))).sequence()

        def called_back(words: Array, end: Array) -> Steps:
            try:
                return self._answer(asked(words), np.asarray(end))
            except StorageFault as error:  # an exception would reach the driver as one of XLA's
                self.staging.fault = error
                return _nothing(self.spec, asked(words))

        like = _like(self.spec, batch_size, length)
        return io_callback(called_back, like, words, self.end, ordered=True).sequence()

    def stage(self, play: Callable[[Self, int], Any]) -> Self:
        now, before = (Window.of(self.store.window(np.asarray(end))) for end in (self.end, self.before))
        this, following = (self._noted(play, rounds) for rounds in (0, 1))
        windows = [now] * len(this)
        if this and any(_starts(before, this[0].length)):
            windows[0] = before
        wanted = [Wanted(asked, window, len(this) == 1) for asked, window in zip(this, windows)]
        wanted += [Wanted(asked, now, len(following) == 1) for asked in following[:1]]
        self.staging.plan(wanted, now.end)
        if len(this) != 1:
            return self
        return dataclasses.replace(self, ready=jax.device_put(self.staging.take(this[0], now.end, now)))

    def _noted(self, play: Callable[[Self, int], Any], rounds: int) -> list[Asked]:
        """What a round of learning will ask for."""
        self.staging.noted = []
        play(dataclasses.replace(self, noting=True), rounds)
        jax.effects_barrier()
        return self.staging.noted

    def learned(self) -> Self:
        fault, self.staging.fault = self.staging.fault, None
        if fault is not None:
            raise fault
        return dataclasses.replace(self, before=self.end)

    def flush(self) -> None:
        self.store.flush()

    def resumed(self) -> tuple[Self, str | None]:
        end, store = np.asarray(self.end), self.store
        notes, replay = [], self
        dropped = "dropped for its limit since the checkpoint"
        gone_by = (
            dropped
            if self._limit_explains_begin()
            else f"lost, because files are missing or cut short in {store.folder}"
        )
        if np.all(end >= store.begin):
            store.rewind(end)
            gone = np.maximum(store.begin - np.maximum(end - store.kept, 0), 0).sum()
            notes += [f"{gone} steps of the replay have been {gone_by}"] if gone else []
        else:
            if np.any(end > store.end):
                store.check_holds(end)
            here = jnp.asarray(store.end, jnp.int32)
            replay = dataclasses.replace(self, end=here, before=here, open=jnp.zeros_like(self.open))
            notes.append(
                f"all steps of the checkpoint's replay have been {gone_by}; the run goes on with the "
                f"{int((store.end - store.begin).sum())} newer ones that are there"
            )
        begin = store.begin.copy()
        names = store.leave_out_damaged()
        if names:
            lost = int((store.begin - begin).sum())
            notes.append(f"damaged in the replay: {', '.join(names)}; {lost} steps up to the damage are left out")
            replay = dataclasses.replace(replay, open=replay.open & jnp.asarray(store.begin < store.end))
        if notes:
            notes.append("the run can differ from one that was not stopped")
        if store.repairs:
            notes.insert(0, f"{store.folder / LAYOUT} was damaged and is written again from the run's settings")
        return replay, "; ".join(notes) or None

    def _limit_explains_begin(self) -> bool:
        """Whether the limit explains where the steps begin: a chunk goes when the next pair of steps has no room."""
        store = self.store
        latest = store.end + 2 - store.room + store.chunk_steps
        return bool(np.all((store.begin == 0) | (store.begin <= latest)))

    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        rng, found = np.random.default_rng(np.asarray(jr.key_data(key)).tolist()), []
        window = self._window()
        starts = _starts(window, 2)
        if not starts.any():
            raise UserError(f"{self.store.folder} holds no transition to sample; add some first")
        while len(found) < batch_size:  # a pair of steps that is two episodes' is drawn again
            pair = self._steps(*_place(int(rng.integers(starts.sum())), starts, window), 2)
            if not pair["first"][1]:
                found.append(pair)
        return self._transitions(np.stack([p[0] for p in found]), np.stack([p[1] for p in found]))

    def latest(self, n: int) -> Transition:
        """The last `n` transitions, or all if there are fewer, oldest first: environments in turn, as if each had had
        a row in every batch."""
        bounds = zip(*self._window())
        found = [self._newest(env, *bound, -(-n // self.store.num_envs)) for env, bound in enumerate(bounds)]
        aged = [(-age, env, *pair) for env, pairs in enumerate(found) for age, pair in enumerate(pairs)]
        aged = sorted(aged, key=lambda row: row[:2])[-n:]
        stack = lambda rows: np.stack(rows) if rows else np.empty(0, self.store.dtype)
        return self._transitions(stack([row[2] for row in aged]), stack([row[3] for row in aged]))

    def rows(self) -> tuple[Transition, Bool[Array, " size"]]:
        """All transitions, environment by environment, and which are in use: all. All at once in memory."""
        kept = [(steps[:-1][~steps["first"][1:]], steps[1:][~steps["first"][1:]]) for steps in self._all()]
        before, after = (np.concatenate(part) for part in zip(*kept))
        used: Any = np.ones(len(after), bool)
        return self._transitions(before, after), used

    def _window(self) -> Window:
        return Window.of(self.store.window(np.asarray(self.end)))

    def _all(self) -> list[np.ndarray]:
        bounds = zip(*self._window())
        return [self._steps(env, begin, end - begin) for env, (begin, end) in enumerate(bounds)]

    def _steps(self, env: int, start: int, length: int) -> np.ndarray:
        return _marked(self.store, env, start, length, int(self.end[env]))

    def _newest(self, env: int, begin: int, end: int, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Up to `n` pairs of consecutive steps of one environment, newest first."""
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        while end - begin >= 2 and len(pairs) < n:
            start = max(begin, end - n - 1)
            steps = self._steps(env, start, end - start)
            pairs += [(steps[k - 1], steps[k]) for k in range(len(steps) - 1, 0, -1) if not steps["first"][k]]
            end = start + 1
        return pairs[:n]

    def _answer(self, asked: Asked, end: np.ndarray) -> Steps:
        return self.staging.take(asked, tuple(end.tolist()), Window.of(self.store.window(end)))

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
        parts: Any = (obs, np.ascontiguousarray(after["action"]), after["reward"].copy(), next_obs, *rest)
        return Transition(*parts)


def _drawn(store: ChunkStore, spec: EnvSpec, asked: Asked, window: Window) -> Steps:
    """The steps `[batch_size, length, ...]` of a batch, as NumPy arrays."""
    starts = _starts(window, asked.length)
    if not starts.any():
        return _nothing(spec, asked)
    drawn = np.random.default_rng(list(asked.key)).integers(starts.sum(), size=asked.batch_size)
    places = [_place(int(k), starts, window) for k in drawn]
    steps = np.stack([_marked(store, env, start, asked.length, window.end[env]) for env, start in places])
    parts: Any = (np.ascontiguousarray(steps[name]) for name in store.dtype.names or () if name != FIELD)
    return Steps(*parts)


def _marked(store: ChunkStore, env: int, start: int, length: int, end: int) -> np.ndarray:
    """Records as `ChunkStore.read`, truncated where the next one before `end` opens an episode though this ended none.

    Nothing is rewritten on disk when episodes are abandoned, because a run that resumes from an earlier checkpoint may
    play them on.
    """
    steps = store.read(env, start, min(length + 1, end - start))
    steps["truncated"][:-1] |= steps["first"][1:] & ~steps["terminated"][:-1]
    return steps[:length]


def _nothing(spec: EnvSpec, asked: Asked) -> Steps:
    """A batch of zeros, the rewards NaN."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), _like(spec, asked.batch_size, asked.length))
    return dataclasses.replace(zeros, reward=np.full_like(zeros.reward, np.nan))


def _like(spec: EnvSpec, batch_size: int, length: int) -> Steps:
    """Shapes and types of a batch."""
    return jax.eval_shape(lambda: Steps.empty(spec, (batch_size, length)))


def _starts(window: Window, length: int) -> np.ndarray:
    """How many stretches of `length` steps each environment has."""
    return np.maximum(np.array(window.end) - np.array(window.begin) - length + 1, 0)


def _place(number: int, starts: np.ndarray, window: Window) -> tuple[int, int]:
    """Environment and step of start `number`, counted through all environments."""
    ends = np.cumsum(starts)
    env = int(np.searchsorted(ends, number, side="right"))
    return env, int(window.begin[env] + number - (ends[env] - starts[env]))
