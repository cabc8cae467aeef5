"""Small pictures drawn in JAX: rounded shapes by their distance fields, compiled into the step that shows them."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Colour = tuple[int, int, int]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


class Capsule(eqx.Module):
    """A line with round ends, in world units; a disc where `start` is `end`."""

    start: Float[Array, "2"]
    end: Float[Array, "2"]
    radius: float = eqx.field(static=True)
    colour: Colour = eqx.field(static=True)


def disc(centre: Float[Array, "2"], radius: float, colour: Colour) -> Capsule:
    """A filled disc."""
    return Capsule(centre, centre, radius, colour)


class Land(eqx.Module):
    """Everything below a curve; it never moves, so it is drawn once, when the step is compiled."""

    height: Callable[[np.ndarray], np.ndarray] = eqx.field(static=True)  # of the curve over x, in world units
    colour: Colour = eqx.field(static=True)


class Scene(eqx.Module):
    """Shapes, later ones over earlier ones, on a plain ground or land; the picture is a square around the origin."""

    shapes: list[Capsule]
    view: float = eqx.field(static=True)  # world units from the middle to each side
    ground: Colour = eqx.field(static=True)
    land: Land | None = None


def raster(scene: Scene, size: int, *, grey: bool = False) -> Float[Array, "size size channels"]:
    """The picture with `size` pixels a side, one channel if `grey`, else three; whole numbers 0..255.

    Edges are smooth over the width of a pixel, so the picture tells positions finer than its pixels.
    """
    unit = 2 * scene.view / size  # world units per pixel
    along = (jnp.arange(size) + 0.5) * unit - scene.view
    x, y = along[None, :], -along[:, None]
    weights = np.array(LUMA)[None] if grey else np.eye(3)
    covered = [jnp.clip(0.5 + (shape.radius - _distance(x, y, shape)) / unit, 0.0, 1.0) for shape in scene.shapes]
    channels = []  # one by one: on a CPU several times as fast as all at once
    for weight in weights:
        channel = jnp.asarray(_behind(scene, size, weight))
        for part, shape in zip(covered, scene.shapes):
            channel = channel + part * (float(weight @ shape.colour) - channel)
        channels.append(jnp.round(channel))
    return jnp.stack(channels, -1)


def _behind(scene: Scene, size: int, weight: np.ndarray) -> np.ndarray:
    """One channel of ground and land, `[size, size]`."""
    ground, land = float(weight @ scene.ground), scene.land
    if land is None:
        return np.full((size, size), ground, np.float32)
    unit = 2 * scene.view / size
    along = (np.arange(size) + 0.5) * unit - scene.view
    covered = np.clip(0.5 + (land.height(along)[None, :] + along[:, None]) / unit, 0.0, 1.0)
    return (ground + covered * (float(weight @ land.colour) - ground)).astype(np.float32)


def _distance(x: Array, y: Array, shape: Capsule) -> Array:
    """From each point to the line segment from `start` to `end`."""
    along_x, along_y = shape.end - shape.start
    from_x, from_y = x - shape.start[0], y - shape.start[1]
    length2 = along_x**2 + along_y**2
    part = jnp.clip((from_x * along_x + from_y * along_y) / jnp.where(length2 > 0, length2, 1.0), 0.0, 1.0)
    return jnp.sqrt((from_x - part * along_x) ** 2 + (from_y - part * along_y) ** 2)
