"""Checksums of the records of a chunk file, each of a record and of its place."""

import struct
import zlib

import numpy as np

FIELD = "check"  # the last field of a record, four bytes


def sealed(records: np.ndarray, env: int, start: int) -> np.ndarray:
    """A copy of records `start`, `start + 1`, ... of an environment with their checksums, if they have room for any."""
    records = np.array(records)
    if FIELD in (records.dtype.names or ()):
        records[FIELD] = _sums(records, env, start)
    return records


def damaged(records: np.ndarray, env: int, start: int) -> np.ndarray:
    """Which of records `start`, `start + 1`, ... do not have their checksums; those of an old folder have none."""
    if FIELD not in (records.dtype.names or ()):
        return np.zeros(len(records), bool)
    return _sums(records, env, start) != records[FIELD]


def _sums(records: np.ndarray, env: int, start: int) -> np.ndarray:
    size = records.dtype.itemsize
    raw = memoryview(np.ascontiguousarray(records).tobytes())
    # the place is part of it, so that a file which was moved or renamed is told from the one that belongs there
    places = (zlib.crc32(struct.pack("<IQ", env, start + k)) for k in range(len(records)))
    sums = [zlib.crc32(raw[k * size : (k + 1) * size - 4], place) for k, place in enumerate(places)]
    return np.array(sums, np.uint32)
