"""Small JSON records and the folders they are in. Needs nothing but the standard library."""

import json
import os
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import check_format, faults, replacing


def check_outside_runs(path: Path, own: Path | None = None) -> None:
    """Raises UserError if `path` lies in the folder of a run other than `own`."""
    for above in path.absolute().parents:
        if (above / "run.json").is_file() and (own is None or not own.samefile(above)):
            raise UserError(f"{path} lies inside the run {above}; give a folder outside of it")


def make_folder(path: Path) -> None:
    """Make an empty folder. Raises UserError if it is in use, inside a run or not permitted, and StorageFault."""
    check_outside_runs(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        occupied = any(path.iterdir())
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{path} cannot be a run folder: a file is in its place; give another folder") from None
    except PermissionError:
        raise UserError(f"no permission to write {path}; give a folder that you may write to") from None
    except OSError as error:
        with faults(path):
            raise error
    if occupied:
        raise UserError(f"{path} exists and is not empty; resume it, or give a new folder")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write {path}; give a folder that you may write to")


def read_json(path: Path, known: int) -> dict[str, Any]:
    """A JSON object whose `format` is at most `known`. Raises UserError if it is damaged, NewerFormat."""
    try:
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict):
            raise ValueError("it is not an object")
        found = record.get("format")
        if not isinstance(found, int):
            raise ValueError("it has no format number")
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; mend it or start the run again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    check_format(path.parent, found, known)
    return record


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Put `record` in the place of the file at `path`. Raises StorageFault, TypeError if not JSON."""
    text = json.dumps(record, indent=2, default=plain)
    with replacing(path) as file:
        file.write(text.encode() + b"\n")


def plain(value: Any) -> Any:
    """What JSON cannot hold as what it can: arrays and array scalars as lists and numbers, paths as text."""
    if isinstance(value, Path):
        return str(value)
    if callable(getattr(value, "tolist", None)):  # without importing NumPy or JAX to ask for their types
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be written as JSON")


def safe_name(name: str) -> str:
    """`name` as a folder name: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "unnamed"
