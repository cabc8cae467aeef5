"""Errors that a user can mend. The command line prints them as one line and exits with their code."""

import os
from pathlib import Path
from typing import Any

MOST_NAMES = 40  # that a message lists
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on Linux and macOS alike or less


class UserError(Exception):
    """A mistake in what was asked for: what, got, wanted, remedy, in one line. Exit code 2."""

    exit_code = 2


class EnvironmentFault(UserError):
    """The environment broke in the middle of a run; what was learned until then is saved. Exit code 3."""

    exit_code = 3


class StorageFault(UserError):
    """The disk is full, read-only or gone; the last checkpoint is whole. Exit code 4."""

    exit_code = 4


class TrainingFault(UserError):
    """A loss, action or parameter became non-finite; the last finite checkpoint is kept. Exit code 5."""

    exit_code = 5


def checked_path(path: Any, what: str = "path") -> Path:
    """`path` as a Path. Raises UserError, naming the argument, for one that no file system takes."""
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        raise UserError(f"{what}={path!r} must be a path, given as text or pathlib.Path")
    if not text.strip():
        raise UserError(f"{what}={text!r} is empty; give a path")
    if "\0" in text:
        raise UserError(f"{what}={text!r} holds a null byte, which no path may; remove it")
    longest = max(Path(text).parts, key=_bytes, default="")
    if _bytes(longest) > LONGEST_NAME or _bytes(text) > LONGEST_PATH:
        raise UserError(
            f"{what}={text[:40]}... is longer than a path may be ({_bytes(longest)} bytes in one name, at most "
            f"{LONGEST_NAME}; {_bytes(text)} in all, at most {LONGEST_PATH}); give a shorter one"
        )
    return Path(text)


def _bytes(name: str) -> int:
    return len(os.fsencode(name))


SHORT = {"lr": "learning_rate", "gamma": "discount", "bs": "batch_size", "horizon_length": "horizon"}


def near_names(name: str, known: list[str]) -> list[str]:
    """At most three known names that may be meant: equal but for their part or for a usual abbreviation, or close."""
    import difflib

    plain = name.replace("-", "_")
    meant = {plain, SHORT.get(plain, plain)}
    leaf = lambda other: other.replace("-", "_").rpartition(".")[2]
    same = [other for other in known if leaf(other) in meant]
    if plain in SHORT and not same:
        same = [other for other in known if leaf(other).endswith(SHORT[plain].rpartition("_")[2])]
    return same[:3] or difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def internal(error: BaseException) -> str:
    """One line for an error that is not the user's."""
    return f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:500]}"


def nearest(name: object, known: list[str]) -> str:
    """A remedy for an unknown `name`: the nearest known ones, or all of them."""
    close = near_names(str(name), known)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return "known: " + ", ".join(known[:MOST_NAMES]) + more


class clear_errors:
    """Turns the ValueError of a part's constructor into a UserError that names the agent."""

    def __init__(self, what: str):
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise UserError(f"{self.what}: {error}") from error


class calling:
    """Turns any error of an object of the user's, while it is called, into a UserError that names it."""

    def __init__(self, name: object, wanted: str):
        self.name, self.wanted = name, wanted

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserError):
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{self.name} failed when it was called ({said[:300]}); wanted {self.wanted}") from error
