"""Writing that survives a crash and a full disk. Needs nothing but the standard library."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageFault, UserError

_REMEDY = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "make the file system writable",
    errno.EACCES: "grant write permission",
    errno.EPERM: "grant write permission",
}


class NewerFormat(UserError):
    """A file of a format that this version does not know yet."""


def check_format(path: Path, found: int, known: int) -> None:
    """Raises NewerFormat if the file at `path` is of a later format than `known`."""
    if found > known:
        raise NewerFormat(
            f"{path} was written by a newer Forethought (format {found}, this one reads up to {known}); "
            "upgrade with pip install -U forethought"
        )


def own(root: Path, *names: str) -> Path:
    """`root / names`, for what belongs to a folder alone. Raises UserError where a name below `root` is a link.

    Folders are passed on: a link in one would have files outside of it read into a report, or overwritten.
    """
    path = root
    for name in names:
        path = path / name
        if path.is_symlink():
            raise _link(path)
    return path


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a regular file that is no link. Raises UserError for any other kind, and OSError.

    To write, the file must have no second name either (a hard link); of a file that is only read, that does not show
    where it belongs.
    """
    # without O_NONBLOCK, opening a pipe would wait for its other end
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise _link(path) from None
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise UserError(f"{path} is no regular file; remove it") from None
        raise
    found = os.fstat(descriptor)
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    if not stat.S_ISREG(found.st_mode) or (writes and found.st_nlink > 1):
        os.close(descriptor)
        if stat.S_ISREG(found.st_mode):
            raise UserError(f"{path} is also another file (a hard link), which would change; put a copy in its place")
        raise UserError(f"{path} is no regular file; remove it")
    return descriptor


def read_own(path: Path) -> bytes:
    """The bytes of a regular file that is no link. Raises as `open_own` does."""
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        return file.read()


def _link(path: Path) -> UserError:
    return UserError(
        f"{path} is a link, and links are not followed out of the folder they are in; put what it leads to in its "
        "place, or remove it"
    )


@contextlib.contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turns an operating-system error while writing `path` into a StorageFault of one line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = _REMEDY.get(error.errno or 0, "check the disk")
        raise StorageFault(
            f"cannot write {path}: {reason}; {remedy} and resume, what was saved before is whole"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends, whole or not at all.

    Until then it has a hidden name in the same folder, `.NAME.PID.tmp`; if the block raises it is removed.
    Raises StorageFault if the disk is full, read-only or gone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with faults(path):
        try:
            temporary.unlink(missing_ok=True)  # of another process with this one's id; O_EXCL follows no link
            with os.fdopen(open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            # a second failure here (the folder is gone) must not hide the first one
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, on file systems that can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder`."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def append(path: Path, text: bytes) -> None:
    """Append whole lines in one write.

    A last line without its newline (a killed writer's) is cut off first, and a write that fails is undone,
    so the file holds whole lines only. Raises StorageFault, and UserError if the file is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    with faults(path), os.fdopen(open_own(path, flags), "a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            size = _end_of_last_line(file, size)
            file.truncate(size)
        try:
            if file.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            file.truncate(size)
            raise


def _end_of_last_line(file: BinaryIO, size: int) -> int:
    """The largest offset up to `size` that is the start or follows a newline."""
    while size:
        start = max(0, size - 4096)
        file.seek(start)
        newline = file.read(size - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        size = start
    return 0
