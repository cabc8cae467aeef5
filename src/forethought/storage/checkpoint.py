"""PyTrees to one file and back, bit for bit. Arrays and JSON only: loading a stranger's file runs no code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from ..errors import UserError
from .archive import Archive, DamagedCheckpoint, Entry, Stored, write
from .files import NewerFormat

__all__ = ["DamagedCheckpoint", "NewerFormat", "load", "read_meta", "save"]

Tree = TypeVar("Tree")


def save(path: Path | str, tree: Any, meta: dict[str, Any]) -> None:
    """Write every array leaf of `tree` and `meta` (JSON) to `path`, replacing an older file at the very end.

    Leaves that are not arrays are not written. Raises StorageFault if the disk is full, read-only or gone,
    and ValueError for arrays of Python objects.
    """
    arrays = {}
    for steps, leaf in tree_flatten_with_path(tree)[0]:
        if eqx.is_array(leaf):
            arrays[_name(steps)] = _store(_name(steps), leaf)
    write(Path(path), arrays, meta)


def load(
    path: Path | str, like: Tree, *, check: Callable[[dict[str, Any]], None] | None = None
) -> tuple[Tree, dict[str, Any]]:
    """The tree and the meta data that `save` was given; `check` may refuse these before any array is read.

    `like` has the tree's structure; its array leaves may be `jax.ShapeDtypeStruct`, and its other leaves and
    static fields are kept as they are. Raises DamagedCheckpoint if anything in the file is not what was
    written, NewerFormat, and UserError naming the first leaf in which it does not fit `like`.
    """
    leaves, structure = tree_flatten_with_path(like)
    loaded = []
    with Archive(Path(path)) as archive:
        if check is not None:
            check(archive.meta)
        _check_fit(archive, {_name(steps): leaf for steps, leaf in leaves if _is_array_like(leaf)})
        for steps, leaf in leaves:
            name = _name(steps)
            if not _is_array_like(leaf):
                loaded.append(leaf)
                continue
            try:
                loaded.append(_restore(archive.array(name), archive.entries[name], leaf))
            except (ValueError, TypeError) as error:  # a manifest that contradicts itself
                raise DamagedCheckpoint(f"checkpoint {path} is damaged: {name}: {error}") from error
        return tree_unflatten(structure, loaded), archive.meta


def read_meta(path: Path | str) -> dict[str, Any]:
    """The meta data alone, without reading any array. Raises as `load` does."""
    with Archive(Path(path)) as archive:
        return archive.meta


def _name(steps: tuple[Any, ...]) -> str:
    return keystr(steps) or "."


def _is_array_like(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _store(name: str, leaf: Any) -> Stored:
    dtype = str(leaf.dtype)
    if _is_key(leaf):
        return Stored(np.asarray(jax.random.key_data(leaf)), dtype, str(jax.random.key_impl(leaf)))
    data = np.asarray(leaf)
    if data.dtype.hasobject:
        raise ValueError(f"{name} is an array of Python objects; a checkpoint holds numbers only")
    if data.dtype.kind == "V" and data.dtype.isbuiltin == 2:  # bfloat16 and its kin: .npy does not know them
        data = data.view(f"u{data.dtype.itemsize}")
    return Stored(data, dtype)


def _restore(data: np.ndarray, entry: Entry, like: Any) -> Any:
    """An array of the kind that `like` is, made of verified bytes."""
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.array(data), impl=entry.impl)
    if data.dtype != like.dtype:
        data = data.view(like.dtype)
    if isinstance(like, np.ndarray):
        return data.copy()
    if isinstance(like, np.generic):
        return data[()]
    with jax.enable_x64(True):  # float64 leaves stay so, whatever the caller's setting
        return jnp.array(data)


def _check_fit(archive: Archive, wanted: dict[str, Any]) -> None:
    for name, leaf in wanted.items():
        entry = archive.entries.get(name)
        want = _describe(str(leaf.dtype), leaf.shape)
        got = "nothing"
        if entry is not None:
            got = _describe(entry.dtype, entry.shape[: len(entry.shape) - (entry.impl is not None)])
        if got != want:
            raise _misfit(archive.path, name, got, want)
    for name, entry in archive.entries.items():
        if name not in wanted:
            raise _misfit(archive.path, name, _describe(entry.dtype, entry.shape), "nothing")


def _describe(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _misfit(path: Path, name: str, got: str, want: str) -> UserError:
    return UserError(
        f"checkpoint {path} does not fit: {name} is {got} in the file, wanted {want}; "
        "load it with the agent, environment and configuration that it was saved with"
    )
