"""One file of named arrays and a manifest: a plain .npz that NumPy alone can read, every array hashed.

Knows nothing of JAX: `checkpoint` turns PyTrees into what is stored here.
"""

import hashlib
import io
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from ..errors import UserError
from .files import check_format, replacing
from .records import dumps, fits, loads

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 64 * 2**20
MOST_HEADER = 2**16  # bytes before the data of an array

# what zipfile and numpy raise on bytes that are not what they should be
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    AttributeError,
    KeyError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RuntimeError,  # includes the NotImplementedError of an unknown compression method
)


class DamagedCheckpoint(UserError):
    """A checkpoint file that is not what was written: truncated, altered, or not a checkpoint at all."""


class Stored(NamedTuple):
    """An array as it is stored."""

    data: np.ndarray  # of a dtype that the .npy format knows
    dtype: str  # the true dtype, where `data` is only a view: bfloat16, key<fry>
    impl: str | None = None  # the implementation, if it is a PRNG key


class Entry(NamedTuple):
    """What the manifest says about one array."""

    dtype: str
    stored: str  # dtype of the stored bytes, as .npy spells it
    shape: tuple[int, ...]  # of the stored bytes: a PRNG key has an axis of words at the end
    impl: str | None
    sha256: str


def write(path: Path, arrays: dict[str, Stored], meta: dict[str, Any]) -> None:
    """Write the archive under a temporary name, sync it and move it to `path`.

    The same content gives the same bytes; numbers in `meta` that are not finite become null. Raises StorageFault if the
    disk is full, read-only or gone, and TypeError if `meta` is not JSON.
    """
    entries = {}
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, (data, dtype, impl) in arrays.items():
            data = np.asarray(data, order="C")
            raw = data.reshape(-1).view(np.uint8).data
            entry = Entry(dtype, data.dtype.str, data.shape, impl, hashlib.sha256(raw).hexdigest())
            entries[name] = entry._asdict()
            # by hand rather than np.save, which copies through small chunks when it is given a zip member
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=len(raw) > 1 << 30) as member:
                header = {"descr": data.dtype.str, "fortran_order": False, "shape": data.shape}
                np.lib.format.write_array_header_1_0(member, header)
                member.write(raw)
        manifest = {"format": FORMAT, "meta": meta, "arrays": entries}
        archive.writestr(zipfile.ZipInfo(MANIFEST), dumps(manifest))


class Archive:
    """An archive open for reading; a context manager.

    Raises UserError if there is no such file or it may not be read, NewerFormat, and DamagedCheckpoint where
    the bytes are not those that were written.
    """

    meta: dict[str, Any]
    entries: dict[str, Entry]

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UserError(f"there is no checkpoint at {path}") from None
        except PermissionError:
            raise UserError(f"no permission to read {path}") from None
        except UNREADABLE as error:
            raise self._damage("it is truncated or not a checkpoint") from error
        try:
            manifest = loads(self._read(MANIFEST, LARGEST_MANIFEST))
            check_format(path, int(manifest["format"]), FORMAT)
            self.meta = dict(manifest["meta"])
            self.entries = {name: _entry(**entry) for name, entry in manifest["arrays"].items()}
        except UserError:
            self._zip.close()
            raise
        except UNREADABLE as error:
            self._zip.close()
            raise self._damage(f"its manifest cannot be read ({_told(error)})") from error
        members = self._zip.namelist()
        if sorted(members) != sorted([MANIFEST, *(f"{name}.npy" for name in self.entries)]):
            self._zip.close()
            raise self._damage("its members are not those that the manifest lists")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def array(self, name: str) -> np.ndarray:
        """The stored bytes of one array, verified; read-only. KeyError if the manifest does not list it."""
        entry = self.entries[name]
        try:
            size = math.prod(entry.shape) * np.dtype(entry.stored).itemsize
            raw = self._read(f"{name}.npy", size + MOST_HEADER)
            stream = io.BytesIO(raw)
            np.lib.format.read_magic(stream)
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
            data = memoryview(raw)[stream.tell() :]
            whole = (
                hashlib.sha256(data).hexdigest() == entry.sha256
                and (shape, fortran_order, dtype.str) == (entry.shape, False, entry.stored)
                and not dtype.hasobject
            )
            array = np.frombuffer(data, dtype).reshape(shape) if whole else None
        except UNREADABLE as error:
            raise self._damage(f"{name} cannot be read ({_told(error)})") from error
        if array is None:
            raise self._damage(f"{name} does not have the checksum that was recorded")
        return array

    def _read(self, name: str, most: int) -> bytes:
        """A member of at most so many bytes. ValueError for a larger or compressed one, before it takes any memory."""
        info = self._zip.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("it is compressed, which a checkpoint never is")
        if info.file_size > most:
            raise ValueError(f"it has {info.file_size:,} bytes, wanted at most {most:,}")
        return self._zip.read(info)

    def _damage(self, what: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(f"checkpoint {self.path} is damaged: {what}")


def _entry(dtype: str, stored: str, shape: list[int], impl: str | None, sha256: str) -> Entry:
    """Raises ValueError for fields of the wrong type."""
    if not (fits([dtype, stored, sha256], list[str]) and fits(shape, list[int]) and fits(impl, str | None)):
        raise ValueError("an array is described by the wrong types")
    return Entry(dtype, stored, tuple(shape), impl, sha256)


def _told(error: Exception) -> str:
    return str(error).partition("\n")[0][:100] or type(error).__name__
