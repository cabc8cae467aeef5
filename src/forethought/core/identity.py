"""Keys for values: two values with equal keys are traced to the same program."""

import dataclasses
import enum
import functools
import hashlib
import sys
import types
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer

MOST_PARTS = 20_000  # in one value, beyond which comparing costs more than compiling


class Incomparable(Exception):
    """The value holds something that may change unnoticed, or that is too large to compare."""


class _Same:
    """Compares by identity, and keeps its object alive so that no other can take its place in memory."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def key_of(*values: Any) -> Hashable:
    """A key that is equal for values that hold equal numbers, arrays, functions and classes.

    Functions are equal if their code, their closures and their defaults are; of functions and classes outside of
    installed packages, the globals that they name count too, since a user may change these between two runs. Raises
    Incomparable.
    """
    return _Reader().read(values)


class _Reader:
    def __init__(self) -> None:
        self.count = 0
        self.open: dict[int, int] = {}  # what is being read, for values that refer to themselves

    def read(self, x: Any) -> Hashable:
        """The key of one value."""
        self.count += 1
        if self.count > MOST_PARTS:
            raise Incomparable(f"more than {MOST_PARTS} parts")
        if x is None or isinstance(x, bool | int | str | bytes | range | enum.Enum | np.dtype):
            return type(x), x
        if isinstance(x, float | complex):
            return type(x), repr(x)  # tells -0.0 from 0.0, and NaN equals itself
        if isinstance(x, np.ndarray | np.generic | jax.Array):
            return _array(x)
        if id(x) in self.open:
            return "seen", self.open[id(x)]
        self.open[id(x)] = len(self.open)
        try:
            return self._compound(x)
        finally:
            del self.open[id(x)]

    def _compound(self, x: Any) -> Hashable:
        if isinstance(x, tuple | list):
            return type(x), tuple(map(self.read, x))
        if isinstance(x, dict | types.MappingProxyType):
            return type(x), tuple((self.read(k), self.read(v)) for k, v in x.items())
        if isinstance(x, set | frozenset):
            return type(x), frozenset(map(self.read, x))
        if isinstance(x, functools.partial):
            return type(x), self.read((x.func, x.args, x.keywords))
        if isinstance(x, types.MethodType):
            return type(x), self.read((x.__func__, x.__self__))
        if isinstance(x, types.FunctionType):
            return self._function(x)
        if isinstance(x, type):
            return self._class(x)
        if isinstance(x, types.ModuleType | types.BuiltinFunctionType | np.ufunc):
            return _Same(x)
        if dataclasses.is_dataclass(x):
            return self.read(type(x)), self.read({f.name: getattr(x, f.name, None) for f in dataclasses.fields(x)})
        if _installed(_module(type(x))) and (wrapped := getattr(x, "__wrapped__", None)) is not None:
            return _Same(x), self.read(wrapped)  # of jax.jit, jax.custom_jvp and the like
        if type(x).__dictoffset__:
            return self.read(type(x)), self.read(vars(x))
        raise Incomparable(type(x).__qualname__)

    def _function(self, x: types.FunctionType) -> Hashable:
        # Equal code in one module: a function that is defined anew at each call is the same function.
        try:
            cells = tuple(cell.cell_contents for cell in x.__closure__ or ())
        except ValueError as error:  # a variable that has no value yet
            raise Incomparable(x.__qualname__) from error
        key = (x.__code__, _Same(x.__globals__), self.read((cells, x.__defaults__, x.__kwdefaults__)))
        return key if _installed(_module(x)) else (*key, self._globals(x, cells))

    def _globals(self, x: types.FunctionType, cells: tuple) -> Hashable:
        """What a function of the user's reads by name: its globals, and the names it looks up in modules."""
        names = _names(x.__code__)
        found = {name: x.__globals__[name] for name in names if name in x.__globals__}
        modules = [v for v in (*found.values(), *cells) if isinstance(v, types.ModuleType)]
        for module in [m for m in modules if not _installed(m.__name__)]:
            inside = vars(module)
            found |= {f"{module.__name__}.{name}": inside[name] for name in names if name in inside}
        return tuple((name, self.read(value)) for name, value in sorted(found.items()))

    def _class(self, x: type) -> Hashable:
        """The class itself; of a user's, also what its methods read and its plain attributes."""
        own = [c for c in x.__mro__ if not _installed(_module(c))]
        parts = [(n, _inner(v)) for c in own for n, v in vars(c).items() if not n.startswith("__") or n == "__call__"]
        plain = bool | int | float | str | tuple | list | dict | set | np.ndarray | jax.Array | types.FunctionType
        read = lambda v: isinstance(v, plain) or dataclasses.is_dataclass(v)
        return _Same(x), tuple((name, self.read(v)) for name, v in parts if read(v))


def _array(x: Any) -> Hashable:
    if isinstance(x, Tracer):
        raise Incomparable("an array that is being traced")
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return "key", str(x.dtype), _array(jr.key_data(x))
    if x.dtype.hasobject:
        raise Incomparable("an array of objects")
    digest = hashlib.sha256(np.ascontiguousarray(x).tobytes()).digest()
    return isinstance(x, jax.Array), x.shape, str(x.dtype), getattr(x, "weak_type", False), digest


def _names(code: types.CodeType) -> set[str]:
    """The globals and attributes that code names, functions inside it included."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*inner)


def _inner(value: Any) -> Any:
    """The function in a method, property or class method."""
    if isinstance(value, property):
        return value.fget
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    return getattr(value, "method", value)  # Equinox wraps the methods of modules


def _module(x: Any) -> str | None:
    """The module of a class or function; None for one that says none, as some of extension modules do."""
    return getattr(x, "__module__", None)


@functools.cache
def _installed(module: str | None) -> bool:
    """Whether a module belongs to the standard library, to an installed package or to this one."""
    root = (module or "").partition(".")[0]
    if root in sys.stdlib_module_names or root == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(root), "__file__", None)
    return file is not None and not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
