"""Given reward and termination functions, held against what the environment really did."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..core.programs import over_rows
from ..types import RewardFunction, TerminationFunction, Transition

RELATIVE, ABSOLUTE = 1e-3, 1e-4  # float32 against an environment that may compute in float64


def check_given(
    reward: RewardFunction | None, termination: TerminationFunction | None, transitions: Transition
) -> str | None:
    """The first mismatch of the given functions with real `transitions` `[n, ...]`, in one line; None if none.

    Also says so in one line where a function cannot be traced by JAX, raises, or answers with the wrong shape.
    """
    for kind, function, wanted in (
        ("reward", reward, transitions.reward),
        ("termination", termination, transitions.terminated),
    ):
        if function is not None:
            message = _mismatch(kind, function, transitions, np.asarray(wanted))
            if message is not None:
                return message
    return None


def _mismatch(kind: str, function: Callable[..., Any], t: Transition, wanted: np.ndarray) -> str | None:
    label = f"given {kind} function {getattr(function, '__name__', repr(function))}"
    try:
        got = over_rows(function)(t.obs, t.action, t.next_obs)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        return (
            f"{label} cannot be traced by JAX ({type(error).__name__}): write it with jax.numpy instead of numpy, "
            "and jnp.where instead of if"
        )
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        return f"{label} raised {type(error).__name__}: {first_line}; it is called with (obs, action, next_obs)"
    shape = getattr(got, "shape", None)
    if shape != wanted.shape:
        inner = shape if shape is None else shape[1:]
        return f"{label} answers with shape {inner}, wanted a scalar () for one transition"
    got = np.asarray(got)
    if kind == "termination":
        wrong = got.astype(bool) != wanted
    else:
        wrong = ~np.isclose(got, wanted, rtol=RELATIVE, atol=ABSOLUTE)
    if not wrong.any():
        return None
    i = int(np.argmax(wrong))
    parts = ", ".join(
        f"{n}={_short(v[i])}" for n, v in (("obs", t.obs), ("action", t.action), ("next_obs", t.next_obs))
    )
    return (
        f"{label} differs from the environment in {int(wrong.sum())} of {len(wrong)} transitions; first in number "
        f"{i}: {parts}: got {_short(got[i])}, wanted {_short(wanted[i])}"
    )


def _short(value: Any) -> str:
    """Numbers with five digits, in one line."""
    array = np.asarray(value)
    if array.dtype == bool:
        return str(bool(array))
    return np.array2string(array, precision=5, separator=", ", max_line_width=10_000, threshold=20)
