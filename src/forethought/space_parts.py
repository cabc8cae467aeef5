"""The parts of a Gymnasium space as numbers, and spaces as JSON: what environments, logs and saved policies share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Int

MOST_ONE_HOT = 4096  # values of a Discrete beyond which one-hot vectors are too long to learn from
Leaf = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary


@dataclass(frozen=True)
class Part:
    """A Box, Discrete, MultiDiscrete or MultiBinary, and the keys and positions that lead to it in the whole space."""

    path: tuple[str | int, ...]
    space: Leaf

    @property
    def label(self) -> str:
        """Its name in messages: keys and positions joined by dots, empty for a space without parts."""
        return ".".join(map(str, self.path))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value."""
        return tuple(self.space.shape or ())

    @property
    def counts(self) -> tuple[int, ...]:
        """How many values each entry may take; empty for a Box."""
        if isinstance(self.space, spaces.Box):
            return ()
        if isinstance(self.space, spaces.Discrete):
            return (int(self.space.n),)
        if isinstance(self.space, spaces.MultiDiscrete):
            return tuple(self.space.nvec.reshape(-1).tolist())
        return (2,) * math.prod(self.shape)

    @property
    def width(self) -> int:
        """Length of its vector: MultiBinary as it is, Discrete and each entry of a MultiDiscrete one-hot."""
        if isinstance(self.space, spaces.Box | spaces.MultiBinary):
            return math.prod(self.shape)
        return sum(self.counts)

    def numbers(self, values: Any) -> Int[np.ndarray, "n entries"]:
        """`values [n, *shape]`, not of a Box, each entry counted from 0. Raises ValueError outside the space."""
        array = np.asarray(values)
        flat = array.reshape(len(array), -1)
        sound = np.isfinite(flat) if flat.dtype.kind == "f" else np.full(flat.shape, flat.dtype.kind in "biu")
        whole = np.where(sound, flat, 0).astype(np.int64)
        start = getattr(self.space, "start", 0)
        index = whole - np.asarray(start).reshape(-1)
        wrong = ~sound | (whole != flat) | (index < 0) | (index >= np.array(self.counts))
        if wrong.any():
            raise ValueError(f"{array[wrong.any(1)][0].tolist()!r} outside {self.space}")
        return index

    def encode(self, values: Any) -> Float[np.ndarray, "n width"]:
        """`values [n, *shape]` as vectors. Raises ValueError for numbers outside of anything but a Box."""
        if isinstance(self.space, spaces.Box):
            return np.asarray(values, np.float32).reshape(len(values), -1)
        index = self.numbers(values)
        if isinstance(self.space, spaces.MultiBinary):
            return index.astype(np.float32)
        columns = [np.eye(n, dtype=np.float32)[index[:, i]] for i, n in enumerate(self.counts)]
        return np.concatenate(columns, 1)


def parts_of(
    space: spaces.Space, path: tuple[str | int, ...] = ()
) -> tuple[list[Part], list[tuple[str, spaces.Space]]]:
    """The parts of `space` in its own order (a Dict of Gymnasium sorts its keys), and what has no numbers, by name."""
    if isinstance(space, Leaf):
        return [Part(path, space)], []
    if isinstance(space, spaces.Dict):
        inside = list(space.spaces.items())
    elif isinstance(space, spaces.Tuple):
        inside = list(enumerate(space.spaces))
    else:
        return [], [(".".join(map(str, path)), space)]
    found = [parts_of(part, (*path, key)) for key, part in inside]
    return [part for parts, _ in found for part in parts], [other for _, others in found for other in others]


def value_at(obs: Any, path: tuple[str | int, ...]) -> Any:
    """The part of `obs` that `path` leads to. Raises ValueError where there is none."""
    for key in path:
        if isinstance(key, str):
            if not isinstance(obs, Mapping) or key not in obs:
                got = sorted(map(str, obs)) if isinstance(obs, Mapping) else type(obs).__name__
                raise ValueError(f"{got}, expected a dict with {key!r}")
        elif not isinstance(obs, tuple | list) or key >= len(obs):
            got = f"{type(obs).__name__} of {len(obs)}" if isinstance(obs, tuple | list) else type(obs).__name__
            raise ValueError(f"{got}, expected a tuple of at least {key + 1}")
        obs = cast(Any, obs)[key]
    return obs


def row_of(space: spaces.Space, batch: Any, i: int) -> Any:
    """Observation `i` of a `batch` as Gymnasium's vector environments and Minari stack them: part by part."""
    if isinstance(space, spaces.Dict):
        return {key: row_of(part, batch[key], i) for key, part in space.spaces.items() if key in batch}
    if isinstance(space, spaces.Tuple):
        return tuple(row_of(part, rows, i) for part, rows in zip(space.spaces, batch))
    return batch[i]


def describe_space(space: spaces.Space) -> dict[str, Any]:
    """A space as JSON can hold it; a space without numbers keeps only its kind."""
    kind = type(space).__name__
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "parts": [[key, describe_space(part)] for key, part in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return {"kind": "Tuple", "parts": [describe_space(part) for part in space.spaces]}
    shape, dtype = list(space.shape or ()), str(space.dtype)
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound(space.low), "high": _bound(space.high)}
        return {"kind": "Box", "shape": shape, "dtype": dtype, **bounds}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": dtype}
    if isinstance(space, spaces.MultiDiscrete):
        more = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
        return {"kind": "MultiDiscrete", "dtype": dtype, **more}
    return {"kind": "MultiBinary", "shape": shape} if isinstance(space, spaces.MultiBinary) else {"kind": kind}


def _bound(bound: np.ndarray) -> Any:
    """One number where all are equal, else a list; infinite ones as text."""
    flat = [value if math.isfinite(value) else str(value) for value in bound.reshape(-1).tolist()]
    return flat[0] if flat and all(value == flat[0] for value in flat) else flat


def space_from(values: Any) -> spaces.Space:
    """The space that `describe_space` described. Raises ValueError for anything else."""
    try:
        kind = values["kind"]
        if kind == "Dict":
            # Gymnasium sorts the keys of a plain dict; pairs keep the order that the vector was made in.
            return spaces.Dict([(str(key), space_from(part)) for key, part in values["parts"]])
        if kind == "Tuple":
            return spaces.Tuple([space_from(part) for part in values["parts"]])
        if kind == "Box":
            shape, dtype = tuple(values["shape"]), np.dtype(values["dtype"])
            exact = np.float64 if dtype.kind == "f" else dtype  # infinite bounds are text, which float64 reads
            with np.errstate(over="ignore"):
                low, high = (np.array(values[name], exact).astype(dtype) for name in ("low", "high"))
            low, high = (np.broadcast_to(b, shape) if b.ndim == 0 else b.reshape(shape) for b in (low, high))
            return spaces.Box(low, high, shape, dtype.type)
        if kind == "Discrete":
            return spaces.Discrete(values["n"], start=values["start"], dtype=np.dtype(values["dtype"]).type)
        if kind == "MultiDiscrete":
            more: dict[str, Any] = {"start": values["start"], "dtype": np.dtype(values["dtype"]).type}
            return spaces.MultiDiscrete(values["nvec"], **more)
        if kind == "MultiBinary":
            return spaces.MultiBinary(values["shape"])
        return spaces.Text(1)  # any space without numbers: it is left out
    except (KeyError, TypeError, ValueError, AssertionError, OverflowError, MemoryError) as error:
        raise ValueError(f"no description of a space: {str(values)[:200]} ({type(error).__name__}: {error})") from error
