"""Steps of several environments in files of a folder: appended as they come, the newest also held in memory.

A chunk file holds so many records, one after another and nothing else, each with its checksum (`checksums`); what a
record is stands in `layout.json` (`layout`). Every step is on disk before `append` returns; those that memory has no
room for are mapped from there when they are read. A write is one call, so a process that is killed leaves whole
records; a part of one (the disk was full) is cut off. Nothing is ever pickled.
"""

import errno
import math
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StorageFault, UserError
from ..storage.files import faults, open_own, replacing, sync_folder
from ..storage.records import dumps
from ..text import gigabytes
from ..types import EnvSpec
from .checksums import damaged, sealed
from .layout import LAYOUT, layout, record, stored_layout

CHUNK_BYTES = 8 * 2**20
GIGABYTE = 10**9
MOST_MAPPED = 4096  # the kernel allows a process some 65,000
FEWEST = 32  # steps of each environment that there must be room for


class ChunkStore:
    """The last steps of each of `num_envs` environments, numbered from 0 on, in at most `limit` bytes.

    Steps `begin[i]` to `end[i] - 1` of environment i are there. Where an environment has used its part of the limit,
    its oldest chunk is removed. Opening and reading change nothing on disk, so a run that is being trained can be
    looked at; one process at a time may append.
    """

    def __init__(self, folder: Path, spec: EnvSpec, num_envs: int, limit: int, memory: int = 0) -> None:
        """The steps in `folder`, which need not exist yet; the newest are held in `memory` bytes, one chunk of each
        environment at least. Raises UserError if it holds other steps, or the limit is too small."""
        self.folder, self.num_envs, self.limit = folder, num_envs, limit
        found, self.repairs = stored_layout(folder)
        self.dtype = record(spec, checked=found is None or found["format"] > 1)
        size = self.dtype.itemsize
        self.room = limit // num_envs // size  # steps of each environment on disk
        if self.room < FEWEST:
            raise UserError(
                f"a replay of {limit / GIGABYTE:g} GB has room for {self.room} steps of each of {num_envs} "
                f"environments, {size:,} bytes a step; give it at least {_rounded_up(FEWEST * num_envs * size)} GB"
            )
        self.chunk_steps = max(1, min(CHUNK_BYTES // size, self.room // 16))
        if found is not None:
            self._fit_layout(found, spec)
        self._lock = threading.RLock()
        self._appending = False
        self._files: list[Any] = [None] * num_envs  # open for appending: of the newest chunk
        self._open: list[Path | None] = [None] * num_envs  # their paths
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
                    now = sealed(left[: self.chunk_steps - inside], env, int(self.end[env]))
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
                held = self._held.get((env, chunk))
                parts.append(self._checked(env, at, count) if held is None else held[inside : inside + count])
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

    def leave_out_damaged(self) -> list[str]:
        """Forgets damaged steps and the older ones of their environments; the names of the files they were in.

        A file goes as a whole unless it is the newest. Raises UserError if nothing is left.
        """
        names = []
        with self._lock:
            for env in range(self.num_envs):
                found = self._newest_damage(env)
                if found is None:
                    continue
                chunk, newest = found // self.chunk_steps, (int(self.end[env]) - 1) // self.chunk_steps
                names.append(self._path(env, chunk).name)
                for old in range(int(self.begin[env]) // self.chunk_steps, chunk + (chunk < newest)):
                    self._forget(env, old)
                self.begin[env] = found + 1 if chunk == newest else (chunk + 1) * self.chunk_steps
        if names and np.all(self.begin == self.end):
            raise UserError(
                f"{self.folder} is damaged: {', '.join(names)} do not have the checksums that they were written with, "
                "and no other step is there; put a copy of the folder back, or start the run again"
            )
        return names

    def _newest_damage(self, env: int) -> int | None:
        """The last step of an environment that does not have its checksum."""
        last = int(self.end[env])
        while last > self.begin[env]:
            chunk = (last - 1) // self.chunk_steps
            start = max(chunk * self.chunk_steps, int(self.begin[env]))
            steps = self._map(env, chunk, 1)[start % self.chunk_steps :][: last - start]
            wrong = np.flatnonzero(damaged(steps, env, start))
            if len(wrong):
                return start + int(wrong[-1])
            last = start
        return None

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

    @property
    def _layout(self) -> dict[str, Any]:
        return layout(self.dtype, self.num_envs, self.chunk_steps)

    def _fit_layout(self, found: dict[str, Any], spec: EnvSpec) -> None:
        """Takes the length of chunks from what is there. Raises UserError if that is another task's."""
        wanted, chunk_steps = self._layout, found["chunk_steps"]
        for name in ("record", "num_envs"):
            if found.get(name) != wanted[name]:
                raise UserError(
                    f"{self.folder} holds a replay with {name} {found.get(name)}, {spec.name} needs {wanted[name]}; "
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
            if self.repairs or not (self.folder / LAYOUT).exists():
                with replacing(self.folder / LAYOUT) as file:
                    file.write(dumps(self._layout, indent=1).encode())
            for env in range(self.num_envs):
                _, end, loose = self._found(env)
                for chunk in loose:
                    self._path(env, chunk).unlink(missing_ok=True)
                chunk, inside = divmod(end, self.chunk_steps)
                if self._path(env, chunk).exists():
                    self._cut_file(env, chunk, inside)
        self._appending = True

    def _chunks(self, env: int) -> list[int]:
        names = (re.fullmatch(rf"env{env:04d}-(\d{{8,}})\.steps", path.name) for path in self.folder.glob("*.steps"))
        return sorted(int(name[1]) for name in names if name and not (self.folder / name[0]).is_symlink())

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
            if self._files[env] is None or self._open[env] != path:
                self._shut(env)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._files[env], self._open[env] = os.fdopen(open_own(path, flags), "ab", buffering=0), path
            self._unsynced.add(path)
            raw = np.ascontiguousarray(steps).tobytes()
            if self._files[env].write(raw) != len(raw):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _hold(self, env: int, chunk: int, inside: int, steps: np.ndarray) -> None:
        """Keeps records that have just been written in memory too; the oldest there give way."""
        if (env, chunk) not in self._held:
            held = np.empty(self.chunk_steps, self.dtype)
            at = chunk * self.chunk_steps
            first = max(at, int(self.begin[env]))  # what was left out before it is damaged
            if first < at + inside:
                held[first - at : inside] = self._checked(env, first, at + inside - first)
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
        with faults(path), os.fdopen(open_own(path, os.O_RDWR), "r+b") as file:
            if os.fstat(file.fileno()).st_size != size:
                file.truncate(size)

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

    def _checked(self, env: int, start: int, count: int) -> np.ndarray:
        """Records of one chunk from disk. Raises StorageFault if one does not have its checksum."""
        chunk, inside = divmod(start, self.chunk_steps)
        found = self._map(env, chunk, inside + count)[inside : inside + count]
        wrong = np.flatnonzero(damaged(found, env, start))
        if len(wrong):
            raise StorageFault(
                f"{self._path(env, chunk)} is damaged: step {start + int(wrong[0])} does not have the checksum it was "
                "written with; put a copy of the file back, or resume the run, which goes on without the damaged steps"
            )
        return found

    def _map(self, env: int, chunk: int, count: int) -> np.ndarray:
        """The records of a chunk, `count` at least, mapped from its file."""
        found = self._mapped.get((env, chunk))
        if found is None or len(found) < count:
            there = max(count, min(self.chunk_steps, int(self.end[env]) - chunk * self.chunk_steps))
            path = self._path(env, chunk)
            try:
                with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
                    found = np.memmap(file, self.dtype, "r", shape=(there,))
            except (OSError, ValueError, UserError) as error:
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
    size = count / GIGABYTE
    unit = 10.0 ** (math.floor(math.log10(size)) - 2)
    return f"{math.ceil(size / unit) * unit:.3g}"
