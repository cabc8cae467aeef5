"""Small JSON records and the folders they are in. Needs nothing but the standard library."""

import dataclasses
import functools
import json
import math
import os
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from ..errors import UserError
from .files import check_format, faults, read_own, remove_leftovers, replacing

LEFT_BY_A_START = ("checkpoints", "figures", "videos")  # folders that a run which was killed at once leaves, empty
COUNTED = ("wall_s", "logged", "evaluated_at", "best_return", "given_checked")  # counters that every checkpoint has
MOST_NUMBERS = 10**7  # of an observation, or actions
LARGEST = 2**63  # JSON allows whole numbers of any length; nothing here counts beyond this


class RunRecord(TypedDict):
    """`run.json`; it may hold more, such as the doctor's verdict."""

    format: int
    status: Literal["running", "finished", "interrupted", "failed"]
    agent: str
    env: str
    seed: int
    num_seeds: int
    config: dict[str, Any]
    total_steps: int
    preset: NotRequired[str | None]
    created: NotRequired[str]
    message: NotRequired[str]
    run: NotRequired[dict[str, Any]]
    given: NotRequired[dict[str, str]]
    own: NotRequired[list[str]]
    start_from: NotRequired[str | None]
    driver: NotRequired[str]
    versions: NotRequired[dict[str, str]]
    hardware: NotRequired[dict[str, Any]]
    command: NotRequired[str]
    commit: NotRequired[str | None]
    verdict: NotRequired[str | None]
    findings: NotRequired[list[dict[str, Any]]]


class CheckpointRecord(TypedDict):
    """The meta data of a run's checkpoint."""

    env_steps: int
    metrics_bytes: NotRequired[int | None]
    counters: NotRequired[dict[str, Any]]


class Row(TypedDict):
    """What every row of metrics holds; more is what the agent says."""

    kind: str
    seed: int
    env_steps: int
    wall_s: float


EpisodeRow = TypedDict("EpisodeRow", {"episode": int, "return": float | None, "length": int})  # null: not finite


class EvalRow(TypedDict):
    """An evaluation."""

    mean_return: float | None
    returns: list[float | None]
    lengths: list[int]
    final: bool


class EventRow(TypedDict):
    """Something that the user should know."""

    message: str


class FindingRecord(TypedDict):
    """What the doctor found, as `run.json` holds it."""

    name: str
    severity: Literal["error", "warning", "note"]
    sentence: str
    remedy: str
    numbers: dict[str, float | None]


ROWS = {"episode": EpisodeRow, "eval": EvalRow, "event": EventRow}


class SpecRecord(TypedDict):
    """Spaces, as a saved policy or model describes them."""

    name: str
    obs_dim: int
    action: dict[str, Any]
    angle_dims: list[int]
    max_episode_steps: NotRequired[int | None]
    action_repeat: NotRequired[int]
    image: NotRequired[list[int] | None]
    num_states: NotRequired[int | None]


class BoxRecord(TypedDict):
    """A continuous action space."""

    low: list[float]
    high: list[float]


class DiscreteRecord(TypedDict):
    """A discrete action space."""

    n: int


class PolicyRecord(TypedDict):
    """The manifest of a policy."""

    agent: str
    config: dict[str, Any]
    env: str
    given: dict[str, str]
    spec: dict[str, Any]


class FitRecord(TypedDict):
    """The manifest of a fitted model."""

    spec: dict[str, Any]
    model: dict[str, Any]
    given: dict[str, str]


class SourceRecord(TypedDict):
    """What `fit.json` says of the data."""

    source: str
    config: dict[str, Any]
    transitions: dict[str, int]


class GivenRecord(TypedDict):
    """Where reward and termination come from."""

    reward: str
    termination: str


def check(
    values: Any,
    schema: type,
    where: str,
    *,
    required: Sequence[str] = (),
    partial: bool = False,
    closed: bool = False,
    remedy: str = "mend it or take a copy",
) -> dict[str, Any]:
    """`values`, a JSON object with the fields of `schema`, a TypedDict or dataclass.

    All that it requires and those `required` must be there, unless `partial`. Other fields may be, unless `closed`.
    Whole numbers must not be negative. Raises UserError: `where`, the first field at fault, got, wanted, `remedy`.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is damaged: got {told(values)}, wanted an object; {remedy}")
    hints, needed = _fields(schema)
    missing = [] if partial else [name for name in (*needed, *required) if name not in values]
    if missing:
        raise UserError(f"{where} is damaged: it lacks {', '.join(dict.fromkeys(missing))}; {remedy}")
    unknown = sorted(set(values) - set(hints)) if closed else []
    if unknown:
        raise UserError(
            f"{where} is damaged, or of a newer Forethought: {told(unknown[0])} is unknown, wanted {', '.join(hints)}; "
            f"{remedy}"
        )
    for name, hint in hints.items():
        if name in values and not fits(values[name], hint):
            what = f"unknown {name} {told(values[name])}" if typing.get_origin(hint) is Literal else None
            raise UserError(
                f"{where} is damaged: {what or f'{name}={told(values[name])}'}, wanted {_in_words(hint)}; {remedy}"
            )
    return values


def _in_words(hint: Any) -> str:
    """A type as a message names it."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, args))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(map(_in_words, args))
    if typing.get_origin(hint) is list:
        return f"a list, each {_in_words(args[0])}"
    if typing.get_origin(hint) is dict:
        return "an object" if args[1] is Any else f"an object, each field {_in_words(args[1])}"
    words = {int: "a whole number from 0", float: "a finite number", str: "text", bool: "true or false"}
    return words.get(hint, "null")


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type: any of those used in the records above."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in args
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, option) for option in args)
    if origin is list:
        return isinstance(value, list) and all(fits(v, args[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(v, args[1]) for v in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**308
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST
    return isinstance(value, type(None) if hint is None else hint)


@functools.cache
def _fields(schema: type) -> tuple[dict[str, Any], list[str]]:
    """The fields of a TypedDict or dataclass with their types, and those that must be there."""
    hints = typing.get_type_hints(schema)
    if dataclasses.is_dataclass(schema):
        none = dataclasses.MISSING
        return hints, [f.name for f in dataclasses.fields(schema) if f.default is none and f.default_factory is none]
    needed = getattr(schema, "__required_keys__", ())
    return hints, [name for name in hints if name in needed]


def counters_check(kind: type, num_seeds: int) -> Callable[[str, dict[str, Any]], None]:
    """What refuses meta data of a checkpoint whose counters are not whole; `kind` is the dataclass of counters."""

    def check_counters(name: str, meta: dict[str, Any]) -> None:
        name, remedy = f"{name}: counters", "take an older one"
        counters = check(meta.get("counters"), kind, name, required=COUNTED, closed=True, remedy=remedy)
        if len(counters["logged"]) != num_seeds:
            wanted = f"one whole number for each of {num_seeds} seeds"
            raise UserError(f"{name} is damaged: logged={counters['logged']}, wanted {wanted}; {remedy}")

    return check_counters


def check_row(row: dict[str, Any], where: str, whole: bool) -> None:
    """Raises UserError for a row of metrics whose fields are of the wrong type; if `whole`, for one that lacks any."""
    kind = ROWS.get(row["kind"]) if isinstance(row.get("kind"), str) else None
    for schema in (Row, kind):
        if schema is not None:
            check(row, schema, where, partial=not whole, remedy="mend or remove that line")
    for name, value in row.items():
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise UserError(f"{where} is damaged: {name}={told(value)} is beyond 2^63; mend or remove that line")


def check_spec(values: Any, where: str, remedy: str) -> dict[str, Any]:
    """Spaces as `SpecRecord` has them. Raises UserError as `check` does, and for sizes that no task has."""
    spec = check(values, SpecRecord, where, remedy=remedy)
    action = check(
        spec["action"], DiscreteRecord if "n" in spec["action"] else BoxRecord, f"{where}.action", remedy=remedy
    )
    for name, size in (("obs_dim", spec["obs_dim"]), ("action.n", action.get("n", 1))):
        if not 1 <= size <= MOST_NUMBERS:
            raise UserError(f"{where} is damaged: {name}={size}, wanted 1 to {MOST_NUMBERS}; {remedy}")
    return spec


def numbered(row: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics with the numbers that it holds as null, because they are not finite, as NaN."""
    nan = lambda value: math.nan if value is None else value
    told = {name: nan(row[name]) for name in ("return", "mean_return") if name in row}
    return row | told | ({"returns": [nan(each) for each in row["returns"]]} if "returns" in row else {})


def told(value: Any) -> str:
    """A value in a message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_outside_runs(path: Path, own: Path | None = None) -> None:
    """Raises UserError if `path` lies in the folder of a run other than `own`."""
    for above in path.absolute().parents:
        if (above / "run.json").is_file() and (own is None or not own.samefile(above)):
            raise UserError(f"{path} lies inside the run {above}; give a folder outside of it")


def make_folder(path: Path) -> None:
    """Make an empty folder; what a process left that was killed before its first record is cleared away.

    Raises UserError if the folder is in use, inside a run or not permitted, and StorageFault.
    """
    check_outside_runs(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        occupied = not all(_is_left_over(inside) for inside in path.iterdir())
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
    with faults(path):
        remove_leftovers(path)


def _is_left_over(path: Path) -> bool:
    """Whether it is of a process that was killed, or met a full disk, before it wrote what the folder is."""
    if path.is_symlink():
        return False
    if path.is_dir():
        return path.name in LEFT_BY_A_START and not any(path.iterdir())
    return path.name.startswith(".") and path.name.endswith(".tmp")


def read_json(path: Path, known: int) -> dict[str, Any]:
    """A JSON object whose `format` is at most `known`. Raises UserError if it is damaged or a link, NewerFormat."""
    try:
        record = loads(read_own(path))
        if not isinstance(record, dict):
            raise ValueError("it is not an object")
        found = record.get("format")
        if type(found) is not int or found < 1:
            raise ValueError("it has no format number")
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; mend it or start the run again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    check_format(path.parent, found, known)
    return record


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Put `record` in the place of the file at `path`. Raises StorageFault, TypeError if not JSON."""
    text = dumps(record, indent=2)
    with replacing(path) as file:
        file.write(text.encode() + b"\n")


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON; numbers that are not finite become null, for which JSON has no other word. TypeError if it is not JSON."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def loads(text: bytes | str) -> Any:
    """What JSON holds; numbers that are not finite, which older files spell `NaN` or `Infinity`, are None.

    Raises ValueError.
    """
    try:
        return json.loads(text, parse_constant=lambda name: None, parse_float=_finite_or_none)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite_or_none(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _finite(value: Any) -> Any:
    """`value` of plain objects, lists, text and finite numbers alone."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return _finite(plain(value))


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
