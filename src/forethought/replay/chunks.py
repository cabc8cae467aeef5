"""Steps of several environments in files of a folder: appended as they come, the newest also held in memory.

A chunk file holds so many records, one after another and nothing else; what a record is stands in `layout.json`. Every
step is on disk before `append` returns; those that memory has no room for are mapped from there when they are read. A
write is one call, so a process that is killed leaves whole records; a part of one (the disk was full) is cut off.
Nothing is ever pickled.
"""

import errno
import json
import math
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StorageFault, UserError
from ..storage.files import check_format, faults, replacing, sync_folder
from ..types import Box, EnvSpec

FORMAT = 1
LAYOUT = "layout.json"
CHUNK_BYTES = 8 * 2**20
GIGABYTE = 10**9
MOST_MAPPED = 4096  # the kernel allows a process some 65,000
FEWEST = 32  # steps of each environment that there must be room for


def record(spec: EnvSpec) -> np.dtype:
    """One step as it is stored: pixels as bytes, all else as the agent sees it."""
    return np.dtype(
        [
            ("pixels", "u1", (spec.num_pixels,)),
            ("vector", "<f4", (spec.vector_dim,)),
            ("action", "<f4" if isinstance(spec.action, Box) else "<i4", spec.action.shape),
            ("reward", "<f4"),
            ("first", "?"),
            ("terminated", "?"),
            ("truncated", "?"),
        ]
    )


class ChunkStore:
    """The last steps of each of `num_envs` environments, numbered from 0 on, in at most `limit` bytes.

    Steps `begin[i]` to `end[i] - 1` of environment i are there. Where an environment has used its part of the limit,
    its oldest chunk is removed. Opening and reading change nothing on disk, so a run that is being trained can be
    looked at; one process at a time may append.
    """

    def __init__(self, folder: Path, spec: EnvSpec, num_envs: int, limit: int, memory: int = 0) -> None:
        """The steps in `folder`, which need not exist yet; the newest are held in `memory` bytes, one chunk of each
        environment at least. Raises UserError if it holds other steps, or the limit is too small."""
        self.folder, self.dtype, self.num_envs, self.limit = folder, record(spec), num_envs, limit
        size = self.dtype.itemsize
        self.room = limit // num_envs // size  # steps of each environment on disk
        if self.room < FEWEST:
            raise UserError(
                f"a replay of {limit / GIGABYTE:g} GB has room for {self.room} steps of each of {num_envs} "
                f"environments, {size:,} bytes a step; give it at least {_rounded_up(FEWEST * num_envs * size)} GB"
            )
        self.chunk_steps = max(1, min(CHUNK_BYTES // size, self.room // 16))
        self._read_layout(spec)
        self._lock = threading.RLock()
        self._appending = False
        self._files: list[Any] = [None] * num_envs  # open for appending: of the newest chunk
        self._unsynced: set[Path] = set()
        self._mapped: dict[tuple[int, int], np.ndarray] = {}
        self._held: dict[tuple[int, int], np.ndarray] = {}  # newest chunks, in the order of their first step
        self._most_held = max(memory // (self.chunk_steps * size), num_envs)
        self.begin, self.end = np.zeros((2, num_envs), np.int64)
        for env in range(num_envs):
            self.begin[env], self.end[env], _ = self._found(env)

    @property
    def kept(self) -> int:
        """Steps of each environment that are drawn from: the last so many.

        Fewer than there is room for, so that a run that goes on from a checkpoint still finds what it had then.
        """
        return self.room - self.room // 8 - self.chunk_steps

    @property
    def bytes(self) -> int:
        """Bytes of all steps that are there."""
        return int((self.end - self.begin).sum()) * self.dtype.itemsize

    def window(self, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From where to where the steps go that are drawn from once the environments have had `end [num_envs]`."""
        end = np.minimum(end, self.end)
        return np.minimum(np.maximum(self.begin, end - self.kept), end), end

    def removes(self, env: int, count: int) -> bool:
        """Whether `count` more steps of environment `env` take the place of its oldest chunk."""
        return self.end[env] + count - self.begin[env] > self.room

    def append(self, env: int, steps: np.ndarray) -> None:
        """Adds records at the end of environment `env`. Raises StorageFault; the records are then not there."""
        with self._lock:
            self._begin_to_append()
            before, left = int(self.end[env]), steps
            try:
                while len(left):
                    chunk, inside = divmod(int(self.end[env]), self.chunk_steps)
                    now = left[: self.chunk_steps - inside]
                    while self.removes(env, len(now)):
                        self._remove_oldest(env)
                    self._write(env, chunk, now)
                    self._hold(env, chunk, inside, now)
                    self.end[env] += len(now)
                    left = left[len(now) :]
            except BaseException:
                self._truncate(env, before)
                raise

    def read(self, env: int, start: int, length: int) -> np.ndarray:
        """Records `start` to `start + length - 1` of environment `env`, copied."""
        with self._lock:
            if not self.begin[env] <= start <= start + length <= self.end[env]:
                raise ValueError(
                    f"steps {start}..{start + length - 1} of environment {env} are not stored; "
                    f"those from {self.begin[env]} to {self.end[env] - 1} are"
                )
            parts, at, last = [], start, start + length
            while at < last:
                chunk, inside = divmod(at, self.chunk_steps)
                count = min(self.chunk_steps - inside, last - at)
                parts.append(self._chunk(env, chunk, inside + count)[inside : inside + count])
                at += count
            return np.concatenate(parts) if parts else np.empty(0, self.dtype)

    def rewind(self, end: np.ndarray) -> None:
        """Forgets what was added after the store ended at `end [num_envs]`.

        Raises UserError if that is beyond what is there.
        """
        with self._lock:
            self.check_holds(end)
            self._begin_to_append()
            for env in np.flatnonzero(self.end > end):
                self._truncate(int(env), int(end[env]))

    def check_holds(self, end: np.ndarray) -> None:
        """Raises UserError if the steps just before `end [num_envs]` are not there."""
        if np.any(end > self.end) or np.any((end < self.begin) & (end > 0)):
            raise UserError(
                f"{self.folder} holds steps {self.begin.tolist()} to {self.end.tolist()} of its environments, but "
                f"the checkpoint was saved when they ended at {np.asarray(end).tolist()}; put the folder back as the "
                "run left it, or start the run again"
            )

    def flush(self) -> None:
        """Returns once all steps would survive a power cut. Raises StorageFault."""
        with self._lock:
            for path in sorted(self._unsynced):
                with faults(path):
                    descriptor = os.open(path, os.O_RDONLY)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
                self._unsynced.discard(path)
            if self._appending:
                with faults(self.folder):
                    sync_folder(self.folder)

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            for env in range(self.num_envs):
                self._shut(env)
            self._mapped.clear()

    def _path(self, env: int, chunk: int) -> Path:
        return self.folder / f"env{env:04d}-{chunk:08d}.steps"

    def _layout(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "record": [
                [name, self.dtype[name].base.str, list(self.dtype[name].shape)] for name in self.dtype.names or ()
            ],
            "num_envs": self.num_envs,
            "chunk_steps": self.chunk_steps,
        }

    def _read_layout(self, spec: EnvSpec) -> None:
        """Takes the length of chunks from what is there. Raises UserError if that is another task's."""
        path, layout = self.folder / LAYOUT, self._layout()
        if not path.exists():
            return
        try:
            found = json.loads(path.read_text())
            check_format(path, int(found["format"]), FORMAT)
            chunk_steps = int(found["chunk_steps"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}); remove {self.folder} to start anew") from error
        for name in ("record", "num_envs"):
            if found.get(name) != layout[name]:
                raise UserError(
                    f"{self.folder} holds a replay with {name} {found.get(name)}, {spec.name} needs {layout[name]}; "
                    "give another folder"
                )
        if not 1 <= chunk_steps <= self.room // 4:
            least = _rounded_up(4 * max(chunk_steps, 1) * self.num_envs * self.dtype.itemsize)
            raise UserError(
                f"{self.folder} holds chunks of {chunk_steps} steps, too long for {self.limit / GIGABYTE:g} GB; give "
                f"it at least {least} GB"
            )
        self.chunk_steps = chunk_steps

    def _found(self, env: int) -> tuple[int, int, list[int]]:
        """Where an environment's steps begin and end on disk, and the chunks that do not join on to the newest."""
        chunks = self._chunks(env)
        if not chunks:
            return 0, 0, []
        newest = oldest = chunks.pop()
        while chunks and chunks[-1] == oldest - 1 and self._steps_in(env, chunks[-1]) == self.chunk_steps:
            oldest = chunks.pop()
        return oldest * self.chunk_steps, newest * self.chunk_steps + self._steps_in(env, newest), chunks

    def _begin_to_append(self) -> None:
        """Makes the folder; removes what a killed process left that is no whole record."""
        if self._appending:
            return
        with faults(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / LAYOUT).exists():
                with replacing(self.folder / LAYOUT) as file:
                    file.write(json.dumps(self._layout(), indent=1).encode())
            for env in range(self.num_envs):
                _, end, loose = self._found(env)
                for chunk in loose:
                    self._path(env, chunk).unlink(missing_ok=True)
                chunk, inside = divmod(end, self.chunk_steps)
                if self._path(env, chunk).exists():
                    self._cut_file(env, chunk, inside)
        self._appending = True

    def _chunks(self, env: int) -> list[int]:
        return sorted(int(path.stem.split("-")[1]) for path in self.folder.glob(f"env{env:04d}-*.steps"))

    def _steps_in(self, env: int, chunk: int) -> int:
        """Whole records in a chunk."""
        try:
            size = self._path(env, chunk).stat().st_size
        except FileNotFoundError:  # another process has just removed it
            return 0
        return min(size // self.dtype.itemsize, self.chunk_steps)

    def _write(self, env: int, chunk: int, steps: np.ndarray) -> None:
        path = self._path(env, chunk)
        with faults(path):
            if self._files[env] is None or self._files[env].name != str(path):
                self._shut(env)
                self._files[env] = open(str(path), "ab", buffering=0)  # noqa: SIM115
            self._unsynced.add(path)
            raw = np.ascontiguousarray(steps).tobytes()
            if self._files[env].write(raw) != len(raw):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _hold(self, env: int, chunk: int, inside: int, steps: np.ndarray) -> None:
        """Keeps records that have just been written in memory too; the oldest there give way."""
        if (env, chunk) not in self._held:
            held = np.empty(self.chunk_steps, self.dtype)
            if inside:
                held[:inside] = self._map(env, chunk, inside)[:inside]
            self._held[env, chunk] = held
            while len(self._held) > self._most_held:
                self._held.pop(next(iter(self._held)))
        self._held[env, chunk][inside : inside + len(steps)] = steps

    def _truncate(self, env: int, end: int) -> None:
        """Back to `end` steps of environment `env`."""
        self._shut(env)
        keep, inside = divmod(end, self.chunk_steps)
        for chunk in self._chunks(env):
            if chunk >= keep:
                self._mapped.pop((env, chunk), None)
            if chunk > keep or (chunk == keep and inside == 0):
                self._forget(env, chunk)
        if inside:
            self._cut_file(env, keep, inside)
        self.end[env] = end
        self.begin[env] = min(self.begin[env], end)

    def _cut_file(self, env: int, chunk: int, steps: int) -> None:
        path, size = self._path(env, chunk), steps * self.dtype.itemsize
        with faults(path):
            if path.stat().st_size != size:
                os.truncate(path, size)

    def _remove_oldest(self, env: int) -> None:
        chunk = int(self.begin[env]) // self.chunk_steps
        self._forget(env, chunk)
        self.begin[env] = (chunk + 1) * self.chunk_steps

    def _forget(self, env: int, chunk: int) -> None:
        path = self._path(env, chunk)
        self._mapped.pop((env, chunk), None)
        self._held.pop((env, chunk), None)
        self._unsynced.discard(path)
        with faults(path):
            path.unlink(missing_ok=True)

    def _chunk(self, env: int, chunk: int, count: int) -> np.ndarray:
        """The records of a chunk, `count` at least, from memory or disk."""
        held = self._held.get((env, chunk))
        return self._map(env, chunk, count) if held is None else held

    def _map(self, env: int, chunk: int, count: int) -> np.ndarray:
        """The records of a chunk, `count` at least, mapped from its file."""
        found = self._mapped.get((env, chunk))
        if found is None or len(found) < count:
            there = max(count, min(self.chunk_steps, int(self.end[env]) - chunk * self.chunk_steps))
            path = self._path(env, chunk)
            try:
                found = np.memmap(path, self.dtype, "r", shape=(there,))
            except (OSError, ValueError) as error:
                raise StorageFault(f"cannot read {path}: {error}; the run needs it") from error
            if len(self._mapped) >= MOST_MAPPED:
                self._mapped.clear()
            self._mapped[env, chunk] = found
        return found

    def _shut(self, env: int) -> None:
        if self._files[env] is not None:
            self._files[env].close()
            self._files[env] = None


def projection(store: ChunkStore, steps: int) -> list[str]:
    """What `steps` of all environments will take on disk, in a sentence, and warnings, where there is cause."""
    size, there = store.dtype.itemsize, store.folder
    while not there.exists():
        there = there.parent
    free, wanted, kept = shutil.disk_usage(there).free + store.bytes, steps * size, store.kept * store.num_envs
    gigabytes = lambda count: f"{count / GIGABYTE:.3g} GB"
    said = [
        f"replay on disk: about {steps:,} steps of {size:,} bytes are {gigabytes(wanted)}, the limit is "
        f"{gigabytes(store.limit)}"
    ]
    if steps > kept:
        enough = _rounded_up(size * math.ceil(1.25 * steps + 40 * store.num_envs))
        said.append(
            f"warning: the replay will drop its oldest steps, it keeps the last {kept:,}; to keep all, give it "
            f"{enough} GB"
        )
    if min(wanted, store.limit) > free:
        said.append(f"warning: only {gigabytes(free)} are free in {there}; the replay will fill the disk")
    return said


def _rounded_up(count: float) -> str:
    """Gigabytes, rounded up to three figures."""
    gigabytes = count / GIGABYTE
    unit = 10.0 ** (math.floor(math.log10(gigabytes)) - 2)
    return f"{math.ceil(gigabytes / unit) * unit:.3g}"
