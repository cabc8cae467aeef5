"""Which numbers an option or argument takes, declared as its type; the only place where numbers are checked.

A plain `int` is a whole number of at least 1, a plain `float` finite and at least 0; `Annotated` types below say
otherwise. No number may wrap or overflow in the 32 bits that it is computed with. Nothing here imports JAX.
"""

import dataclasses
import math
import numbers
import types
import typing
from typing import Annotated, Any

from ..errors import UserError

INT32 = 2**31 - 1
FLOAT32 = 3.4e38


@dataclasses.dataclass(frozen=True)
class Within:
    """The numbers from `least` to `most`; the ends themselves are left out where `above` or `below` says so."""

    least: float
    most: float
    above: bool = False
    below: bool = False

    def complaint(self, value: float) -> str | None:
        """What is wrong with `value`; None if nothing is."""
        if value < self.least or (value == self.least and self.above):
            return f"must be above {self.least:g}" if self.above else f"must be at least {self.least:g}"
        if value > self.most or (value == self.most and self.below):
            return f"must be below {self.most:g}" if self.below else f"must be at most {_plainly(self.most)}"
        return None


COUNT, NOT_NEGATIVE = Within(1, INT32), Within(0, FLOAT32)
Natural = Annotated[int, Within(0, INT32)]
Seed = Annotated[int, Within(0, 2**32 - 1)]
Pair = Annotated[int, Within(2, INT32)]
Few = Annotated[int, Within(1, 1000)]
"""Of what is unrolled, such as layers and members: more would take hours to build."""
FewOrNone = Annotated[int, Within(0, 1000)]
Threads = Annotated[int, Within(1, 1024)]
Ahead = Annotated[int, Within(1, 10_000)]
"""Steps ahead that a model is judged at."""
Repeat = Annotated[int, Within(1, 10_000)]
"""Simulator steps of one action."""
Gigabytes = Annotated[float, Within(0, 1e6, above=True)]
Positive = Annotated[float, Within(0, FLOAT32, above=True)]
Fraction = Annotated[float, Within(0, 1)]
Part = Annotated[float, Within(0, 1, below=True)]
Real = Annotated[float, Within(-FLOAT32, FLOAT32)]


def checked_number(kind: Any, value: Any, name: str) -> Any:
    """`value` as the int or float (or None) that `kind` declares; integral floats and NumPy's numbers are converted.

    Raises UserError, naming the argument, for another type, for what is not finite, and for what is out of bounds.
    """
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        if value is None and type(None) in typing.get_args(kind):
            return None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    plain, within = declared(kind)
    if isinstance(value, int) and not isinstance(value, bool):
        number: Any = value
    else:
        number = None if isinstance(value, bool) else _number(value)
    wanted = "a whole number" if plain is int else "a number"
    if number is None:
        raise UserError(f"{name}={_short(value)} must be {wanted}")
    if isinstance(number, float) and not math.isfinite(number):
        raise UserError(f"{name}={number} must be a finite number")
    if plain is int and number != int(number):
        raise UserError(f"{name}={number!r} must be {wanted}")
    if complaint := within.complaint(number):
        raise UserError(f"{name}={number} {complaint}")
    return plain(number)


MOST_SEEDS = 10**6  # of one run


def check_seeds(seed: int, count: int) -> None:
    """Raises UserError for more seeds than a run can have, or if the last one would be the first one again."""
    if count > MOST_SEEDS:
        raise UserError(f"num_seeds={count} must be at most {MOST_SEEDS}")
    last = seed + count - 1
    if last >= 2**32:
        raise UserError(f"seed={seed}, num_seeds={count}: the last seed, {last}, must be at most {2**32 - 1}")


def declared(kind: Any) -> tuple[type, Within]:
    """int or float, and its bounds, of a plain or annotated type."""
    if typing.get_origin(kind) is Annotated:
        plain, *notes = typing.get_args(kind)
        within = next((note for note in notes if isinstance(note, Within)), None)
        return plain, within or declared(plain)[1]
    return kind, COUNT if kind is int else NOT_NEGATIVE


def _number(value: Any) -> int | float | None:
    """What a number of another library is in Python, a scalar array too; None for what is no number."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        found = value.item()
        return found if isinstance(found, int | float) and not isinstance(found, bool) else None
    return None


def _plainly(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
