"""Several seeds as one program: side by side on each device, shared out over the devices there are."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from .progress import Progress

SEEDS = "seeds"  # axis of the seeds on one device
DEVICES = "devices"  # axis of the devices


def devices_for(num_seeds: int) -> int:
    """The largest number of devices that `num_seeds` seeds can be divided among evenly."""
    return max(count for count in range(1, len(jax.devices()) + 1) if num_seeds % count == 0)


def seed_axes(progress: Progress) -> Progress:
    """Which leaves of a progress differ between seeds (0) and which are common to all (None): the clock's, and counters
    of data sets."""
    axes = jax.tree.map(lambda x: 0 if eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct) else None, progress)
    return dataclasses.replace(axes, data=data_axes(progress.data), clock=None)


def data_axes(data: Any) -> Any:
    """The same of data sets: scalars are counters that all seeds share."""
    return jax.tree.map(lambda x: None if jnp.ndim(x) == 0 else 0, data)


def over_seeds(function: Callable[..., Any], axes: tuple, out_axes: Any, *, devices: int) -> Callable[..., Any]:
    """`function` of one seed, for many.

    `axes` are those of its arguments, PyTrees (or prefixes) of 0 and None, and `out_axes` those of its answer: 0 where
    seeds lie on the leading axis, None where they have the array in common.
    """
    out = _where_array(out_axes)
    mapped = eqx.filter_vmap(function, in_axes=_where_array(axes), out_axes=out, axis_name=SEEDS)
    if devices == 1:
        return mapped

    def call(*args: Any) -> Any:
        arrays, others = eqx.partition(args, eqx.is_array)
        fixed: list[Any] = []

        def share(arrays: Any) -> Any:
            answer, constants = eqx.partition(mapped(*eqx.combine(arrays, others)), eqx.is_array)
            fixed.append(constants)
            return answer

        specs = {"in_specs": (_specs(axes),), "out_specs": _specs(out_axes)}
        return eqx.combine(jax.shard_map(share, mesh=_mesh(devices), **specs, check_vma=False)(arrays), fixed[-1])

    return call


def placed(tree: Any, axes: Any, *, devices: int) -> Any:
    """`tree` on the devices where `over_seeds` leaves its results, so that the program compiles only once."""
    if devices == 1:
        return tree
    mesh = _mesh(devices)
    put = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)) if eqx.is_array(x) else x
    under = lambda spec, part: jax.tree.map(lambda x: put(x, spec), part)
    return jax.tree.map(under, _specs(axes), tree, is_leaf=lambda x: isinstance(x, PartitionSpec))


def most_of_all(value: Array, *, devices: int) -> Array:
    """The maximum over all seeds."""
    value = jax.lax.pmax(value, SEEDS)
    return value if devices == 1 else jax.lax.pmax(value, DEVICES)


def of_seed(tree: Any, index: int, seeds: int) -> Any:
    """The part of one seed out of several side by side, on one device; all of it where there is one seed."""
    if seeds == 1:
        return tree
    home = jax.devices()[0]

    def part(x: Any) -> Any:
        if not eqx.is_array(x):
            return x
        x = x[index] if jnp.ndim(x) else x  # scalars are counters that all seeds share
        return jax.device_put(x, home) if len(x.devices()) > 1 else x

    return jax.tree.map(part, tree)


def _mesh(devices: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]), (DEVICES,), axis_types=(AxisType.Auto,))


def _specs(axes: Any) -> Any:
    return _mapped(axes, lambda axis: PartitionSpec() if axis is None else PartitionSpec(DEVICES))


def _where_array(axes: Any) -> Any:
    return _mapped(axes, lambda axis: None if axis is None else eqx.if_array(axis))


def _mapped(axes: Any, change: Callable[[Any], Any]) -> Any:
    return jax.tree.map(change, axes, is_leaf=lambda x: x is None)
