"""Ways for a disk to fail, and for a process to die while it writes."""

import contextlib
import os
import resource
import subprocess
import sys

import pytest

from forethought.storage import files


@contextlib.contextmanager
def file_size_limit(size: int):
    """Writes past `size` bytes of any file fail, as the operating system would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def failing_sync(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Every fsync answers with the error `number`; where full disks and quotas are often first reported."""

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)


def start(program: str, *arguments: str) -> subprocess.Popen:
    """A Python process that runs `program`."""
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)


def leftovers(folder) -> list[str]:
    """Temporary files in `folder`."""
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]
