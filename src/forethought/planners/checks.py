"""Checks of what a planner is constructed with. Each raises ValueError with what, got, wanted and remedy."""

import math
import numbers
from typing import Any

import numpy as np
from jax.core import Tracer


def whole_number(name: str, value: int, minimum: int = 1) -> None:
    """Raises ValueError unless `value` is an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {minimum}; use {minimum} or more")


def at_most(name: str, value: int, limit_name: str, limit: int) -> None:
    """Raises ValueError if `value` exceeds `limit`."""
    if value > limit:
        raise ValueError(f"{name}={value} must be at most {limit_name}={limit}; use {limit} or fewer")


def fraction(name: str, value: Any, *, one: bool = True) -> None:
    """Raises ValueError unless `value` lies in [0, 1], or in [0, 1) where `one` is False. Traced values pass."""
    if _known(name, value) and (not (0 <= value <= 1) or (value == 1 and not one)):
        bracket = "]" if one else ")"
        raise ValueError(f"{name}={value!r} must lie in [0, 1{bracket}; use such a fraction")


def positive(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is finite and above zero. Traced values pass."""
    if _known(name, value) and not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r} must be finite and above 0; use a positive number")


def not_negative(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is finite and at least zero. Traced values pass."""
    if _known(name, value) and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}={value!r} must be finite and at least 0; use 0 or more")


def settings(
    config: Any, *, whole: tuple[str, ...] = (), fractions: tuple[str, ...] = (), positives: tuple[str, ...] = ()
) -> None:
    """Raises ValueError unless these fields of `config` are such numbers; whole ones are at least 1.

    A field may also be a tuple of such numbers, or None.
    """
    for check, names in ((whole_number, whole), (fraction, fractions), (positive, positives)):
        for name in names:
            value = getattr(config, name)
            for each in value if isinstance(value, tuple) else (value,):
                if each is not None:
                    check(name, each)


def limits(low: Any, high: Any) -> None:
    """Raises ValueError unless `low <= high` everywhere and some finite number lies between them.

    Limits that are traced cannot be looked at and pass.
    """
    if isinstance(low, Tracer) or isinstance(high, Tracer):
        return
    low, high = np.asarray(low), np.asarray(high)
    for name, limit in (("low", low), ("high", high)):
        if limit.dtype.kind not in "iuf":
            raise ValueError(
                f"{name}={limit.tolist()!r} must be numbers, one for each control; None where there is none"
            )
    try:
        wrong, empty = ~(low <= high), (low == np.inf) | (high == -np.inf)
    except ValueError:
        raise ValueError(f"limits: low has shape {low.shape}, high {high.shape}; give both one shape") from None
    if wrong.any():
        raise ValueError(f"limits: low={low.tolist()} must be at most high={high.tolist()}, entry by entry")
    if empty.any():
        raise ValueError(
            f"limits: no finite number lies between low={low.tolist()} and high={high.tolist()}; where there is "
            "no limit, low is -inf and high is inf"
        )


def _known(name: str, value: Any) -> bool:
    """Whether `value` can be looked at, which a traced one cannot. Raises ValueError if it is not one number."""
    if isinstance(value, Tracer):
        return False
    if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf":
        raise ValueError(f"{name}={value!r} must be one number")
    return True
