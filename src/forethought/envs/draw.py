"""Frames of the package's own tasks, drawn with Pillow at twice the size and scaled down."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .raster import Capsule, Scene, disc

WIDTH, HEIGHT = 480, 320
_SCALE = 2

PAPER = (248, 249, 251)
INK = (43, 52, 69)
GREY = (196, 203, 214)
PALE = (228, 232, 239)
BLUE = (52, 103, 214)
ORANGE = (240, 127, 57)
GREEN = (38, 166, 118)

Point = tuple[float, float]
Colour = tuple[int, int, int]


class Canvas:
    """A picture in world coordinates: `centre` in the middle, `view` from there to its left and right."""

    def __init__(self, centre: Point, view: float) -> None:
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), PAPER)
        self._pen = ImageDraw.Draw(self._image)
        self._unit = WIDTH * _SCALE / (2 * view)
        self._centre = centre

    def _pixel(self, point: Point) -> Point:
        x = WIDTH * _SCALE / 2 + (point[0] - self._centre[0]) * self._unit
        y = HEIGHT * _SCALE / 2 - (point[1] - self._centre[1]) * self._unit
        return x, y

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """A filled disc; `radius` in world units."""
        (x, y), r = self._pixel(centre), radius * self._unit
        self._pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def ring(self, centre: Point, radius: float, width: float, colour: Colour) -> None:
        """A circle of `width`, its outer radius `radius`, in world units."""
        (x, y), r = self._pixel(centre), radius * self._unit
        self._pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=max(2, round(width * self._unit)))

    def line(self, points: list[Point], width: float, colour: Colour) -> None:
        """A line through `points` with round ends; `width` in world units."""
        pixels = [self._pixel(point) for point in points]
        thick = max(2, round(width * self._unit))
        self._pen.line(pixels, fill=colour, width=thick, joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            r = thick / 2
            self._pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def area(self, points: list[Point], colour: Colour) -> None:
        """A filled polygon."""
        self._pen.polygon([self._pixel(point) for point in points], fill=colour)

    def box(self, centre: Point, width: float, height: float, colour: Colour) -> None:
        """A rectangle with round corners, in world units."""
        (x, y), w, h = self._pixel(centre), width * self._unit / 2, height * self._unit / 2
        self._pen.rounded_rectangle((x - w, y - h, x + w, y + h), radius=min(w, h) * 0.35, fill=colour)

    def frame(self) -> np.ndarray:
        """The finished picture, `[320, 480, 3]` uint8."""
        from PIL import Image

        return np.asarray(self._image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), np.uint8)


def draw_cartpole(x: float, tip: Point, *, target: Point, rail: float | None, view: float) -> np.ndarray:
    """A cart at `(x, 0)` on a rail, its pole's end at `tip`, and the place the tip has to reach."""
    canvas = Canvas((0.0, 0.0), view)
    size = view / 2.4
    end = 2 * view if rail is None else rail + 0.21 * size
    canvas.line([(-end, 0.0), (end, 0.0)], 0.035 * size, GREY)
    if rail is not None:
        for side in (-end, end):
            canvas.line([(side, -0.14 * size), (side, 0.14 * size)], 0.06 * size, GREY)
    canvas.ring(target, 0.13 * size, 0.03 * size, GREEN)
    canvas.disc(target, 0.035 * size, GREEN)
    canvas.box((x, 0.0), 0.42 * size, 0.22 * size, INK)
    canvas.line([(x, 0.0), tip], 0.09 * size, ORANGE)
    canvas.disc((x, 0.0), 0.04 * size, PAPER)
    canvas.disc(tip, 0.075 * size, BLUE)
    return canvas.frame()


def cartpole_scene(x: Array, tip: Float[Array, "2"], *, target: Point, view: float) -> Scene:
    """The same in JAX. A cart that leaves the picture stands at its edge."""
    size, edge = view / 2.4, jnp.clip(x, -view, view)
    tip = tip + jnp.stack([edge - x, jnp.zeros(())])
    at = lambda away: jnp.stack([edge + away * size, jnp.zeros(())])
    rail = Capsule(jnp.array([-2 * view, 0.0]), jnp.array([2 * view, 0.0]), 0.03 * size, GREY)
    cart = Capsule(at(-0.12), at(0.12), 0.15 * size, INK)
    goal = disc(jnp.array(target), 0.14 * size, GREEN)
    return Scene(
        [rail, goal, cart, Capsule(at(0.0), tip, 0.08 * size, ORANGE), disc(tip, 0.13 * size, BLUE)], view, PAPER
    )
