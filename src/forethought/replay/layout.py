"""What the files of a replay on disk hold: one step as it is stored, and the description in `layout.json`."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..storage.files import check_format, read_own
from ..storage.records import dumps, loads
from ..types import Box, EnvSpec
from .checksums import FIELD

FORMAT = 2  # 1 had no checksums
LAYOUT = "layout.json"


def record(spec: EnvSpec, *, checked: bool = True) -> np.dtype:
    """One step as it is stored: pixels as bytes, all else as the agent sees it, and its checksum if `checked`."""
    return np.dtype(
        [
            ("pixels", "u1", (spec.num_pixels,)),
            ("vector", "<f4", (spec.vector_dim,)),
            ("action", "<f4" if isinstance(spec.action, Box) else "<i4", spec.action.shape),
            ("reward", "<f4"),
            ("first", "?"),
            ("terminated", "?"),
            ("truncated", "?"),
            *([(FIELD, "<u4")] if checked else []),
        ]
    )


def layout(dtype: np.dtype, num_envs: int, chunk_steps: int) -> dict[str, Any]:
    """What `layout.json` says, with a checksum of its own."""
    names = dtype.names or ()
    said = {
        "format": FORMAT if FIELD in names else 1,
        "record": [[name, dtype[name].base.str, list(dtype[name].shape)] for name in names],
        "num_envs": num_envs,
        "chunk_steps": chunk_steps,
    }
    return {**said, FIELD: _sum(said)}


def stored_layout(folder: Path) -> tuple[dict[str, Any] | None, bool]:
    """What `layout.json` says, or None if there is none; and whether it is damaged, which counts as none.

    Nothing is lost with it, as it follows from the settings of the run. Raises UserError if it may not be read or is a
    link, and NewerFormat.
    """
    path = folder / LAYOUT
    if not path.exists():
        return None, False
    try:
        found = loads(read_own(path))
        check_format(path, int(found["format"]), FORMAT)
        whole = found["format"] == 1 or found[FIELD] == _sum({name: found[name] for name in found if name != FIELD})
        whole = whole and all(type(found[name]) is int for name in ("num_envs", "chunk_steps"))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None, True
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return (found, False) if whole else (None, True)


def _sum(said: dict[str, Any]) -> int:
    return zlib.crc32(dumps(said).encode())
