"""Compiled functions: shared by runs of equal agents and environments, and freed after."""

import collections
import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
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


class _Fixed(eqx.Module):
    """The part of an answer that is no array."""

    value: Any = eqx.field(static=True)


def compiled(function: Callable[..., Any], *, donate: bool = False) -> Callable[..., Any]:
    """`function`, compiled for its positional arguments: arrays are traced, everything else is a constant.

    As `eqx.filter_jit`, but its programs are freed with it: there, a process-wide cache keeps every function that was
    ever compiled. With `donate`, the buffers of all arguments but the first are used again in place.
    """

    def traced(first: tuple, rest: tuple, fixed: tuple) -> tuple[jax.Array, Any, _Fixed]:
        constants, structure = fixed
        leaves = [c if x is None else x for x, c in zip((*first, *rest), constants)]
        arrays, others = eqx.partition(function(*jax.tree.unflatten(structure, leaves)), eqx.is_array)
        return jnp.zeros((), bool), arrays, _Fixed(others)

    traced.__name__ = traced.__qualname__ = getattr(function, "__name__", "compiled")
    jitted = jax.jit(traced, static_argnums=2, donate_argnums=(1,) if donate else ())

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        arrays = tuple(x if eqx.is_array(x) else None for x in leaves)
        constants = tuple(None if eqx.is_array(x) else x for x in leaves)
        split = len(jax.tree.leaves(args[:1]))
        try:
            with _without_remarks() if donate else contextlib.nullcontext():
                ended, answer, others = jitted(arrays[:split], arrays[split:], (constants, structure))
            if not isinstance(ended, Tracer):
                ended.block_until_ready()  # what goes wrong in there is raised here
        except jax.errors.JaxRuntimeError as error:
            _, found, said = str(error).partition("_EquinoxRuntimeError: ")
            if found:
                raise eqx.EquinoxRuntimeError(said.splitlines()[0]) from None
            raise
        return eqx.combine(answer, others.value)

    return call
