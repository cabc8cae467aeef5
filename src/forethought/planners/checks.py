"""Checks of what a planner is constructed with. Each raises ValueError with what, got, wanted and remedy."""

import math


def whole_number(name: str, value: int, minimum: int = 1) -> None:
    """Raises ValueError unless `value` is an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {minimum}; use {minimum} or more")


def at_most(name: str, value: int, limit_name: str, limit: int) -> None:
    """Raises ValueError if `value` exceeds `limit`."""
    if value > limit:
        raise ValueError(f"{name}={value} must be at most {limit_name}={limit}; use {limit} or fewer")


def fraction(name: str, value: float, *, one: bool = True) -> None:
    """Raises ValueError unless `value` lies in [0, 1], or in [0, 1) where `one` is False."""
    if not (0 <= value <= 1) or (value == 1 and not one):
        bracket = "]" if one else ")"
        raise ValueError(f"{name}={value!r} must lie in [0, 1{bracket}; use such a fraction")


def positive(name: str, value: float) -> None:
    """Raises ValueError unless `value` is finite and above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r} must be finite and above 0; use a positive number")


def not_negative(name: str, value: float) -> None:
    """Raises ValueError unless `value` is finite and at least zero."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}={value!r} must be finite and at least 0; use 0 or more")
