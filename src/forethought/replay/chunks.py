"""Steps of several environments in files of a folder: appended as they come, mapped into memory to be read.

A chunk file holds so many records, one after another and nothing else; what a record is stands in `layout.json`. The
operating system keeps what was used lately in memory and the rest on disk. A write is one call, so a process that is
killed leaves whole records; a part of one (the disk was full) is cut off. Nothing is ever pickled.
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
from ..storage.files import check_format, faults, replacing
from ..types import Box, EnvSpec

FORMAT = 1
LAYOUT = "layout.json"
CHUNK_BYTES = 8 * 2**20
GIGABYTE = 10**9
MOST_MAPPED = 4096  # the kernel allows a process some 65,000


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

    Steps `begin[i]` to `end[i] - 1` of environment i are there. Where the limit is passed, the oldest chunk of the
    environment with the most steps is removed. One process at a time may append.
    """

    def __init__(self, folder: Path, spec: EnvSpec, num_envs: int, limit: int) -> None:
        """Opens the folder, or makes it. Raises UserError if it holds other steps, or the limit is too small."""
        self.folder, self.dtype, self.num_envs, self.limit = folder, record(spec), num_envs, limit
        size = self.dtype.itemsize
        room = limit // num_envs // size  # steps of each environment
        if room < 32:
            raise UserError(
                f"a replay of {limit / GIGABYTE:g} GB has room for {room} steps of each of {num_envs} environments, "
                f"{size:,} bytes a step; give it at least {math.ceil(32 * num_envs * size / 10**6) / 1000:g} GB"
            )
        self.chunk_steps = min(max(CHUNK_BYTES // size, 16), room // 4)
        self._lock = threading.RLock()
        self._files: list[Any] = [None] * num_envs  # open for appending: of the newest chunk
        self._mapped: dict[tuple[int, int], np.ndarray] = {}
        self._open_folder(spec)
        self.begin, self.end = self._found()

    @property
    def kept(self) -> int:
        """Steps of one environment that are there for certain once as many were added."""
        return (self.limit // self.num_envs // self.dtype.itemsize // self.chunk_steps - 1) * self.chunk_steps

    @property
    def bytes(self) -> int:
        """Bytes of all steps that are there."""
        return int((self.end - self.begin).sum()) * self.dtype.itemsize

    def append(self, env: int, steps: np.ndarray) -> None:
        """Adds records at the end of environment `env`. Raises StorageFault; the records are then not there."""
        with self._lock:
            before, left = int(self.end[env]), steps
            try:
                while len(left):
                    chunk, inside = divmod(int(self.end[env]), self.chunk_steps)
                    now = left[: self.chunk_steps - inside]
                    self._write(env, chunk, inside, now)
                    self.end[env] += len(now)
                    left = left[len(now) :]
            except BaseException:
                self._truncate(env, before)
                raise
            while self.bytes > self.limit:
                self._remove_oldest(int(np.argmax(self.end - self.begin)))

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
                parts.append(self._map(env, chunk, inside + count)[inside : inside + count])
                at += count
            return np.concatenate(parts)

    def rewind(self, end: np.ndarray) -> None:
        """Forgets what was added after the store ended at `end [num_envs]`.

        Raises UserError if that is beyond what is there.
        """
        with self._lock:
            if np.any(end > self.end) or np.any(end < self.begin):
                raise UserError(
                    f"{self.folder} holds steps {self.begin.tolist()} to {self.end.tolist()} of its environments, but "
                    f"the checkpoint was saved when they ended at {np.asarray(end).tolist()}; take a later checkpoint"
                )
            for env in np.flatnonzero(self.end > end):
                self._truncate(int(env), int(end[env]))

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            for env in range(self.num_envs):
                self._shut(env)
            self._mapped.clear()

    def _path(self, env: int, chunk: int) -> Path:
        return self.folder / f"env{env:04d}-{chunk:08d}.steps"

    def _open_folder(self, spec: EnvSpec) -> None:
        layout = {
            "format": FORMAT,
            "record": [[name, self.dtype[name].base.str, list(self.dtype[name].shape)] for name in self.dtype.names],
            "num_envs": self.num_envs,
            "chunk_steps": self.chunk_steps,
        }
        with faults(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LAYOUT
        if not path.exists():
            with replacing(path) as file:
                file.write(json.dumps(layout, indent=1).encode())
            return
        try:
            found = json.loads(path.read_text())
            check_format(path, int(found["format"]), FORMAT)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}); remove {self.folder} to start anew") from error
        for name in ("record", "num_envs"):
            if found.get(name) != layout[name]:
                raise UserError(
                    f"{self.folder} holds a replay with {name} {found.get(name)}, {spec.name} needs {layout[name]}; "
                    "give another folder"
                )
        self.chunk_steps = int(found["chunk_steps"])

    def _found(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the steps of each environment begin and end on disk; what does not join on to the newest is removed."""
        ends = np.zeros((2, self.num_envs), np.int64)
        for env in range(self.num_envs):
            chunks = self._chunks(env)
            if not chunks:
                continue
            newest = oldest = chunks.pop()
            while chunks and chunks[-1] == oldest - 1 and self._steps_in(env, chunks[-1]) == self.chunk_steps:
                oldest = chunks.pop()
            for chunk in chunks:
                self._path(env, chunk).unlink(missing_ok=True)
            steps = self._steps_in(env, newest)
            self._cut_file(env, newest, steps)
            ends[:, env] = oldest * self.chunk_steps, newest * self.chunk_steps + steps
        return ends[0], ends[1]

    def _chunks(self, env: int) -> list[int]:
        return sorted(int(path.stem.split("-")[1]) for path in self.folder.glob(f"env{env:04d}-*.steps"))

    def _steps_in(self, env: int, chunk: int) -> int:
        """Whole records in a chunk."""
        return min(self._path(env, chunk).stat().st_size // self.dtype.itemsize, self.chunk_steps)

    def _write(self, env: int, chunk: int, inside: int, steps: np.ndarray) -> None:
        path = self._path(env, chunk)
        with faults(path):
            if self._files[env] is None or self._files[env].name != str(path):
                self._shut(env)
                self._files[env] = open(str(path), "ab", buffering=0)  # noqa: SIM115
            raw = np.ascontiguousarray(steps).tobytes()
            if self._files[env].write(raw) != len(raw):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _truncate(self, env: int, end: int) -> None:
        """Back to `end` steps of environment `env`."""
        self._shut(env)
        keep, inside = divmod(end, self.chunk_steps)
        for chunk in self._chunks(env):
            if chunk >= keep:
                self._mapped.pop((env, chunk), None)
            if chunk > keep or (chunk == keep and inside == 0):
                self._path(env, chunk).unlink()
        if inside:
            self._cut_file(env, keep, inside)
        self.end[env] = end

    def _cut_file(self, env: int, chunk: int, steps: int) -> None:
        path, size = self._path(env, chunk), steps * self.dtype.itemsize
        with faults(path):
            if path.stat().st_size != size:
                os.truncate(path, size)

    def _remove_oldest(self, env: int) -> None:
        chunk = int(self.begin[env]) // self.chunk_steps
        self._mapped.pop((env, chunk), None)
        with faults(self._path(env, chunk)):
            self._path(env, chunk).unlink(missing_ok=True)
        self.begin[env] = (chunk + 1) * self.chunk_steps

    def _map(self, env: int, chunk: int, count: int) -> np.ndarray:
        """The records of a chunk, `count` at least."""
        found = self._mapped.get((env, chunk))
        if found is None or len(found) < count:
            there = min(self.chunk_steps, int(self.end[env]) - chunk * self.chunk_steps)
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


def projection(spec: EnvSpec, steps: int, limit: int, folder: Path) -> str:
    """What `steps` of a task will take on disk, in a sentence."""
    size = record(spec).itemsize
    wanted, there = steps * size, folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    gigabytes = lambda count: f"{count / GIGABYTE:.3g} GB"
    said = f"replay on disk: {steps:,} steps of {size:,} bytes are {gigabytes(wanted)}"
    if wanted > limit:
        said += f"; the limit of {gigabytes(limit)} keeps the last {limit // size:,}"
    if min(wanted, limit) > free:
        said += f"; only {gigabytes(free)} are free in {there}, so it will fill the disk"
    return said
