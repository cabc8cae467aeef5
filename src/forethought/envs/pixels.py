"""Tasks seen as pictures: our own drawn in JAX, Gymnasium's and dm_control's by their renderers."""

import math
import re
from typing import Any, NamedTuple, cast

import equinox as eqx
import gymnasium
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core import AbstractEnv
from ..errors import UserError
from ..types import EnvSpec
from .headless import no_picture
from .raster import LUMA, Scene, raster
from .task import AbstractTask, TaskState
from .view import AbstractView

SIZE = 64
SMALLEST, LARGEST = 8, 512


class Request(NamedTuple):
    """What an id such as `pendulum-pixels-32-grey` asks for."""

    env: str
    size: int
    grey: bool
    velocity: bool


def requested(id: str) -> Request | None:
    """What `id` asks for: `<id>-pixels`, then `-<size>`, `-grey`, `-velocity`. None if it asks for no picture."""
    found = re.fullmatch(r"(.+)-pixels(?:-(\d+))?(-grey)?(-velocity)?", id)
    return None if found is None else Request(found[1], int(found[2] or SIZE), bool(found[3]), bool(found[4]))


def named(env: str, size: int, grey: bool, velocity: bool = False) -> str:
    """The id that asks for it."""
    return f"{env}-pixels" + f"-{size}" * (size != SIZE) + "-grey" * grey + "-velocity" * velocity


def check_size(size: int) -> None:
    """Raises UserError for a picture that is too small to show anything or too large to learn from."""
    if not SMALLEST <= size <= LARGEST:
        raise UserError(
            f"pictures of {size}x{size} are not supported, wanted {SMALLEST} to {LARGEST} a side, such as 64"
        )


def has_picture(kind: Any) -> bool:
    """Whether tasks of this class say how to draw them (`AbstractTask.scene`)."""
    return isinstance(kind, type) and issubclass(kind, AbstractTask) and kind.scene is not AbstractTask.scene


class Pixels(AbstractView):
    """One of our own tasks, seen as a square picture of `size` pixels a side, grey or in colour.

    One frame is one observation, as for PlaNet and Dreamer: velocities have to be inferred from several, unless
    `velocity` puts them behind the picture.
    Raises UserError for a size that is not supported, or a task without a picture.
    """

    env: AbstractTask
    size: int = eqx.field(static=True, default=SIZE)
    grey: bool = eqx.field(static=True, default=False)
    velocity: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_size(self.size)
        if not has_picture(type(self.env)):
            name = getattr(getattr(self.env, "spec", None), "name", type(self.env).__name__)
            raise UserError(
                f"{name} has no picture: only a task with a method `scene`, as our Pendulum has, can be drawn in JAX; "
                "take a Gymnasium or dm_control task, which have renderers"
            )

        if self.velocity and not self.env.velocity_dims:
            raise no_velocity(self.env.spec.name)

    @property
    def spec(self) -> EnvSpec:
        inner, image = self.env.spec, (self.size, self.size, 1 if self.grey else 3)
        name = named(inner.name, self.size, self.grey, self.velocity)
        length = math.prod(image) + len(self.env.velocity_dims) * self.velocity
        return EnvSpec(name, length, inner.action, inner.max_episode_steps, image=image)

    def look(self, state: TaskState, obs: Float[Array, " own"]) -> Float[Array, " obs"]:
        scene = cast(Scene, self.env.scene(state.physics))  # checked at the start
        picture = raster(scene, self.size, grey=self.grey).reshape(-1)
        return jnp.concatenate([picture, obs[np.array(self.env.velocity_dims)]]) if self.velocity else picture


class Frame:
    """A picture that is drawn when it is looked at: actions that are repeated then draw one, not one each."""

    def __init__(self, draw: Any) -> None:
        self._draw, self._drawn = draw, None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._drawn is None:
            self._drawn = self._draw()
        return np.array(self._drawn, dtype)


class RenderedPixels(gymnasium.Wrapper):
    """A Gymnasium environment seen through its renderer, scaled down to `size` pixels a side, grey or in colour.

    Raises UserError if it has no `rgb_array` mode, or its renderer does not work here.
    """

    def __init__(self, env: gymnasium.Env, size: int = SIZE, grey: bool = False) -> None:
        check_size(size)
        super().__init__(env)
        self.size, self.grey = size, grey
        if env.render_mode != "rgb_array":
            raise UserError(
                f"{_name(env)} cannot be seen as pixels: its render_mode is {env.render_mode!r}, wanted 'rgb_array'"
            )
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 1 if grey else 3), np.uint8)
        env.reset(seed=0)
        self._picture()

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        _, info = self.env.reset(seed=seed, options=options)
        return Frame(self._picture), info

    def step(self, action):
        _, reward, terminated, truncated, info = self.env.step(action)
        return Frame(self._picture), reward, terminated, truncated, info

    def _picture(self) -> np.ndarray:
        try:
            frame = self.env.render()
        except Exception as error:  # renderers fail in their own ways: no display, no OpenGL, a missing package
            raise no_picture(_name(self.env), error) from error
        return fitted(np.asarray(frame), self.size, grey=self.grey, name=_name(self.env))


def fitted(frame: np.ndarray, size: int, *, grey: bool, name: str) -> np.ndarray:
    """`frame [height, width, 3]` uint8 as `[size, size, 1 or 3]`, every new pixel the mean of what it covers.

    Raises UserError for anything but an RGB picture.
    """
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise UserError(f"{name} renders {frame.dtype} of shape {frame.shape}, wanted uint8 (height, width, 3)")
    if frame.shape[:2] != (size, size):
        from PIL import Image

        frame = np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BOX))
    return np.rint(frame @ np.array(LUMA))[..., None].astype(np.uint8) if grey else frame


def as_pixels(env: Any, size: int, grey: bool, velocity: bool) -> AbstractEnv | gymnasium.Env:
    """`env` seen as pictures. Raises UserError if nothing can draw it."""
    if isinstance(env, AbstractEnv):
        return Pixels(cast(AbstractTask, env), size, grey, velocity)  # which checks it
    if velocity:
        raise no_velocity(type(env).__name__)
    if isinstance(env, gymnasium.Env):
        return RenderedPixels(env, size, grey)
    raise UserError(f"{type(env).__name__} cannot be seen as pixels; wanted one of our own tasks or a gymnasium.Env")


def no_velocity(name: str) -> UserError:
    """The error for a task that does not say which of its observations are velocities."""
    return UserError(
        f"{name}: only our own tasks can show velocities beside the picture; leave -velocity out, or put picture and "
        "vector into a Dict with gymnasium.wrappers.AddRenderObservation(env, render_only=False)"
    )


def _name(env: gymnasium.Env) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
