"""Compiled functions: shared by runs of equal agents and environments, and freed after."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .identity import Incomparable, key_of

MOST_KEPT = 24  # sets of programs, the most recently used; a run has four to seven of them

Made = TypeVar("Made")

_kept: collections.OrderedDict[Any, Any] = collections.OrderedDict()
_lock = threading.Lock()


def shared(make: Callable[..., Made], *parts: Any) -> Made:
    """`make(*parts)`, or what `make` returned for equal parts before: compiled functions, which are then compiled once.

    `make` must be a function of a module, and what it returns may depend on nothing but `parts`. Parts are compared by
    value (`key_of`); where they cannot be compared, nothing is shared. The least recently used are dropped.
    """
    try:
        key = make, key_of(parts)
    except (Incomparable, RecursionError):
        return make(*parts)
    with _lock:
        if key not in _kept:
            _kept[key] = make(*parts)
        _kept.move_to_end(key)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
        return _kept[key]


def over_rows(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of one transition, for rows of many; compiled once for equal functions."""
    return shared(_vmapped, function)


def _vmapped(function: Callable[..., Any]) -> Callable[..., Any]:
    return compiled(jax.vmap(function))


def forget() -> None:
    """Drops all shared programs; drivers that are in use keep theirs."""
    _kept.clear()


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Without JAX's warning of donated buffers that it cannot use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
        yield


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Fixed:
    """What an answer holds besides arrays: its other leaves and its structure."""

    constants: tuple
    structure: Any


def compiled(function: Callable[..., Any], *, donate: bool = False) -> Callable[..., Any]:
    """`function`, compiled for its positional arguments: arrays are traced, everything else is a constant.

    As `eqx.filter_jit`, but its programs are freed with it: there, a process-wide cache keeps every function that was
    ever compiled. With `donate`, the buffers of all arguments but the first are used again in place.
    """

    def traced(first: tuple, rest: tuple, fixed: tuple) -> tuple[jax.Array, Any, _Fixed]:
        constants, structures = fixed
        given = (jax.tree.unflatten(s, _filled(x, c)) for s, x, c in zip(structures, (first, rest), constants))
        arrays, others, structure = _split(function(*itertools.chain(*given)))
        return jnp.zeros((), bool), arrays, _Fixed(others, structure)

    traced.__name__ = traced.__qualname__ = getattr(function, "__name__", "compiled")
    jitted = jax.jit(traced, static_argnums=2, donate_argnums=(1,) if donate else ())

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        first, first_constants, first_structure = _split(args[:1])
        rest, constants, structure = _split(args[1:])
        others = (first_constants, constants), (first_structure, structure)
        try:
            with _without_remarks() if donate else contextlib.nullcontext():
                ended, answer, fixed = jitted(first, rest, others)
            if not isinstance(ended, Tracer):
                ended.block_until_ready()  # what goes wrong in there is raised here
        except jax.errors.JaxRuntimeError as error:
            _, found, said = str(error).partition("_EquinoxRuntimeError: ")
            if found:
                raise eqx.EquinoxRuntimeError(said.splitlines()[0]) from None
            raise
        return jax.tree.unflatten(fixed.structure, _filled(answer, fixed.constants))

    return call


def _split(tree: Any) -> tuple[tuple, tuple, Any]:
    """The leaves that are arrays, with None for the others; the others, with None for arrays; and the structure."""
    leaves, structure = jax.tree.flatten(tree)
    is_array = [isinstance(x, (jax.Array, np.ndarray)) for x in leaves]
    arrays = tuple(x if found else None for x, found in zip(leaves, is_array))
    return arrays, tuple(None if found else x for x, found in zip(leaves, is_array)), structure


def _filled(arrays: tuple, constants: tuple) -> list:
    """The leaves that `_split` took apart."""
    return [c if x is None else x for x, c in zip(arrays, constants)]
