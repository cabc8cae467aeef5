"""State that two environments share without a simulator between them: an array, a table or a plain object of their
class or module that changes when one of them steps."""

import itertools
import random
import sys
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from types import FunctionType, MethodType, ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from ..core import AbstractEnv
from .attributes import held, package_of

FEW = 100  # entries of a container that are looked at
MOST = 5_000  # objects that are looked at
STEPS = 3  # of an episode that is tried out
FOREIGN = ("gymnasium", "numpy", "jax", "jaxlib", "equinox")
FIXED = (str, bytes, int, float, complex, bool, type, ModuleType, np.generic, np.dtype, type(None), AbstractEnv)
LUCK = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)  # no part of a state


def touched(one: Any, other: Any) -> Any:
    """Something that both environments hold and that episodes of `other` change; None where there is nothing.

    Only where they hold anything mutable in common, `other` is reset twice and steps a little: what then changes from
    one episode to the next is state, while tables of constants stay as they are and caches only grow.
    """
    known = _mutable(one)
    common = [value for place, value in _mutable(other).items() if place in known]
    if not common:
        return None
    try:
        for _ in _episode(other):  # what is filled once is filled now
            pass
        before = [(value, _contents(value)) for value in common]
        for _ in _episode(other):
            for value, was in before:
                now = _contents(value)
                if any(name not in now or not _same(kept, now[name]) for name, kept in was.items()):
                    return value
    except Exception:  # told with step and action when it is trained in
        return None
    return None


def _episode(env: Any) -> Iterator[None]:
    """Yields after a reset and after each of a few steps."""
    env.reset(seed=0)
    yield
    for _ in range(STEPS):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        yield
        if np.any(terminated) or np.any(truncated):
            return


def _mutable(env: Any) -> dict[int, Any]:
    """What `env` can reach and change, by identity."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    left: deque[Any] = deque([env])
    kept_alive = []  # an identity is one only as long as its object lives
    while left and len(seen) < MOST:
        value = left.popleft()
        if id(value) in seen or isinstance(value, (*FIXED, *LUCK)):
            continue
        seen.add(id(value))
        kept_alive.append(value)
        if isinstance(value, np.ndarray):
            found[id(value)] = value
        elif isinstance(value, MutableMapping | MutableSequence | MutableSet):
            found[id(value)] = value
            left += itertools.islice(value.values() if isinstance(value, Mapping) else value, FEW)
        elif isinstance(value, tuple | frozenset):
            left += itertools.islice(value, FEW)
        elif isinstance(value, MethodType):
            left.append(value.__self__)
        elif isinstance(value, gymnasium.Env | VectorEnv):
            left += [kept for name, kept in held(value).items() if name != "metadata"]
            left += _around(type(value))
        elif not _foreign(type(value)) and not callable(value):
            found[id(value)] = value
            left += held(value).values()
    return found


def _around(kind: type) -> Iterator[Any]:
    """What is kept in a class that is not Gymnasium's, and what its functions use from outside."""
    for each in kind.__mro__:
        if _foreign(each):
            continue
        for name, value in vars(each).items():
            if name.startswith("__") or name in ("metadata", "spec"):
                continue
            if not isinstance(value, FunctionType):
                yield value
                continue
            yield from (value.__globals__.get(used) for used in value.__code__.co_names)
            for cell in value.__closure__ or ():
                try:
                    yield cell.cell_contents
                except ValueError:  # not filled yet
                    continue


def _contents(value: Any) -> dict[Any, Any]:
    """What `value` holds, by name or position."""
    if isinstance(value, np.ndarray):
        return {None: value.copy()}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, MutableSequence):
        return dict(enumerate(value))
    return dict.fromkeys(value) if isinstance(value, MutableSet) else held(value)


def _same(old: Any, new: Any) -> bool:
    """Whether an entry is what it was: the same object, or an equal number, text or array."""
    if old is new:
        return True
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        return old.shape == new.shape and old.tobytes() == new.tobytes()
    return isinstance(old, FIXED) and type(old) is type(new) and repr(old) == repr(new)


def _foreign(kind: type) -> bool:
    package = package_of(kind)
    return package in FOREIGN or package in sys.stdlib_module_names
