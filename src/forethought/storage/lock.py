"""One process at a time trains into a run."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import faults, open_own

try:
    import fcntl
except ImportError:  # not a POSIX system: the process id alone has to do
    fcntl = None

Identity = dict[str, Any]  # pid, start, host


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` for the length of the block.

    Raises UserError, naming the holder, if another living process (or another block in this one) holds it, UserError
    if the file is a link, and StorageFault. The operating system frees the lock when its holder dies, by `kill -9` too.
    """
    with faults(path):
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        # a look by `is_held` holds the lock for an instant, so one refusal is not an answer
        if not any(_take(descriptor) or time.sleep(0.02) for _ in range(5)):
            raise UserError(f"{path.parent} is in use by {_describe(_read(descriptor))}; wait for it, or stop it first")
        with faults(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_identity(os.getpid())).encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """True if a living process holds the lock file at `path`."""
    try:
        descriptor = open_own(path, os.O_RDONLY)
    except (OSError, UserError):  # never locked
        return False
    try:
        return not _take(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:  # network file systems without flock
            pass
    holder = _read(descriptor)
    if holder is None or holder.get("start") is None:
        return True
    return holder != _identity(int(holder.get("pid", -1)))


def _identity(pid: int) -> Identity:
    """A process, told from a later one with the same id by when it started (None if it is not alive)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        start = int(stat.rpartition(")")[2].split()[19])  # clock ticks since boot, field 22 of proc(5)
    except (OSError, ValueError, IndexError):
        start = None
    return {"pid": pid, "start": start, "host": socket.gethostname()}


def _read(descriptor: int) -> Identity | None:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return holder if isinstance(holder, dict) else None
    except ValueError:
        return None


def _describe(holder: Identity | None) -> str:
    return "another process" if holder is None else f"process {holder.get('pid')} on {holder.get('host')}"
