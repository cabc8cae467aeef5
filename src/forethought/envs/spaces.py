"""Gymnasium spaces, translated: what an agent is told of them, and its actions in the environment's own form."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import UserError
from ..types import MOST_STATES, Box, Discrete, EnvSpec, bounded
from .faults import Place, checked_obs, checked_picture

SMALLEST = 5  # pixels a side of what may be a picture, though it is not declared as one


@dataclass(frozen=True)
class ActionMap:
    """Turns an agent's action into what the environment's `step` wants."""

    space: spaces.Box | spaces.Discrete

    def __call__(self, action: np.ndarray) -> np.ndarray | np.integer:
        """Box: clipped to the bounds, in the space's shape and dtype. Discrete: counted from the space's start."""
        space = self.space
        if isinstance(space, spaces.Discrete):
            index = np.clip(np.asarray(action).reshape(()), 0, space.n - 1)
            return space.dtype.type(space.start + index)
        value = np.clip(np.asarray(action, np.float32).reshape(space.shape), space.low, space.high)
        if not np.issubdtype(space.dtype, np.floating):
            value = np.rint(value)
        return value.astype(space.dtype)


def translate_action(name: str, space: spaces.Space) -> Box | Discrete:
    """The action space as agents know it. Raises UserError for one that they do not know."""
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        return _translate_box(name, space)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        raise UserError(
            f"{name}: {type(space).__name__} actions are not supported, wanted Box or Discrete; number the "
            "combinations with gymnasium.wrappers.TransformAction(env, func, gymnasium.spaces.Discrete(n))"
        )
    raise UserError(
        f"{name}: {type(space).__name__} actions are not supported, wanted Box or Discrete; wrap the environment "
        "with gymnasium.wrappers.TransformAction to offer one of these"
    )


def _translate_box(name: str, space: spaces.Box) -> Box:
    if not bounded(space.low, space.high):
        raise UserError(
            f"{name}: the action space {space} is unbounded; planners search within bounds, so give the Box "
            "finite low and high, below 1e18"
        )
    low, high = (bound.reshape(-1).astype(np.float32) for bound in (space.low, space.high))
    fixed = np.flatnonzero(low >= high)
    if fixed.size == low.size:
        raise UserError(f"{name}: the action space {space} has a single action, so there is nothing to choose")
    if fixed.size:
        raise UserError(f"{name}: low == high in dimensions {fixed.tolist()} of the action space; {_leave_out(space)}")
    return Box(tuple(map(float, space.low.reshape(-1))), tuple(map(float, space.high.reshape(-1))))


def _leave_out(space: spaces.Box) -> str:
    """How to wrap an environment so that agents do not choose what has only one value."""
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    single = low.astype(np.float32) >= high.astype(np.float32)
    free, fixed = np.flatnonzero(~single), np.flatnonzero(single)
    bounds = ", ".join(f"np.array({bound[free].tolist()})" for bound in (low, high))
    box = f"gymnasium.spaces.Box({bounds}, dtype=np.{space.dtype})"
    at, values = (fixed - np.arange(fixed.size)).tolist(), low[fixed].tolist()
    reshape = "" if len(space.shape) == 1 else f".reshape({space.shape})"
    func = f"lambda a: np.insert(a, {at}, {values}){reshape}"
    return f"leave them out: gymnasium.wrappers.TransformAction(env, {func}, {box})"


@dataclass(frozen=True)
class ObservationMap:
    """Turns what an environment shows into one float32 vector: the picture first, then the vectors in their order."""

    parts: tuple[tuple[str | None, tuple[int, ...]], ...]  # key (None: not in a Dict) and shape
    image: tuple[int, int, int] | None
    states: spaces.Discrete | None = None  # where the observation is the number of a state

    @property
    def length(self) -> int:
        """Of an observation."""
        return sum(math.prod(shape) for _, shape in self.parts)

    def __call__(self, obs: Any, place: Place, action: object = None) -> np.ndarray:
        """`obs` as float32 `[obs]`.

        Raises EnvironmentFault for a part that is missing, of another shape, or not finite, and for a picture of other
        numbers than 0, 1, .. 255.
        """
        if self.states is not None:
            number = checked_obs(obs, (), place, action)
            if not self.states.contains(np.asarray(obs)[()]):
                raise place.fault(f"observation {obs!r} outside {self.states},", action)
            return number - np.float32(self.states.start)
        flat = []
        for key, shape in self.parts:
            part = obs
            if key is not None:
                if not isinstance(obs, Mapping) or key not in obs:
                    got = sorted(map(str, obs)) if isinstance(obs, Mapping) else type(obs).__name__
                    raise place.fault(f"observation {got}, expected a dict with {key!r},", action)
                part = obs[key]
            picture = self.image is not None and not flat
            flat.append((checked_picture if picture else checked_obs)(part, shape, place, action))
        return flat[0] if len(flat) == 1 else np.concatenate(flat)

    def row(self, batch: Any, i: int) -> Any:
        """Observation `i` of a vector environment's `batch`."""
        return batch[i] if self.parts[0][0] is None else {key: batch[key][i] for key, _ in self.parts}


def translate_observation(name: str, space: spaces.Space) -> ObservationMap:
    """How observations are read.

    Raises UserError for anything but a Box with one axis, a picture, a Dict of one picture and such Boxes, or
    Discrete.
    """
    if isinstance(space, spaces.Discrete):
        return ObservationMap(((None, (1,)),), None, space)
    if isinstance(space, spaces.Box):
        image = _image_of(name, space)
        return ObservationMap(((None, space.shape),), image)
    if not isinstance(space, spaces.Dict):
        raise UserError(
            f"{name}: {type(space).__name__} observations are not supported, wanted a Box with one axis, or "
            "Discrete; wrap the environment with gymnasium.wrappers.FlattenObservation"
        )
    images, shapes = {}, {}
    for key, part in space.spaces.items():
        if not isinstance(part, spaces.Box):
            raise UserError(
                f"{name}: observation {key!r} is a {type(part).__name__}, wanted a Box; wrap the environment with "
                "gymnasium.wrappers.TransformObservation, or FilterObservation to leave it out"
            )
        shapes[key] = part.shape
        if part.shape and (image := _image_of(f"{name}: observation {key!r}", part)) is not None:
            images[key] = image
    if len(images) != 1:
        remedy = "put one beside the other or into its channels" if images else "wrap it with FlattenObservation"
        raise UserError(
            f"{name}: a Dict with {len(images)} pictures ({', '.join(map(repr, images or space.spaces))}) is not "
            f"supported, wanted exactly one; {remedy} (gymnasium.wrappers)"
        )
    keys = sorted(shapes, key=lambda key: key not in images)  # stable: the vectors keep their order
    return ObservationMap(tuple((key, shapes[key]) for key in keys), *images.values())


def _image_of(name: str, space: spaces.Box) -> tuple[int, int, int] | None:
    """Height, width and channels if it is a picture, None if it is a vector. Raises UserError for other Boxes."""
    shape = space.shape
    if math.prod(shape) < 1:
        raise UserError(f"{name}: observations are empty; wanted a Box with at least one dimension")
    if len(shape) <= 1:
        return None
    remedy = _remedy(shape, space)
    if remedy is not None:
        raise UserError(
            f"{name}: {space.dtype} observations of shape {shape} are not supported, wanted one axis, or pictures of "
            f"uint8 (height, width, channels) in 0..255; {remedy}"
        )
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def _remedy(shape: tuple[int, ...], space: spaces.Box) -> str | None:
    """What to wrap an environment with whose Box of two or more axes is no picture; None if it is one."""
    axes, low, high = len(shape), space.low.min(), space.high.max()
    flatten = "wrap the environment with gymnasium.wrappers.FlattenObservation"
    if axes == 3 and space.dtype == np.uint8 and not channels_first(shape):
        more = shape[2] > max(shape[:2])
        return f"more channels than pixels a side: {flatten}" if more else None
    if axes == 2 and space.dtype == np.uint8:
        return None
    image, func, what = shape, "x", f"its bounds are {low:g}..{high:g}"
    if axes == 4:
        image, func = (*shape[1:3], shape[0] * shape[3]), "np.concatenate(list(x), -1)"
        what = "join the frames"
    elif channels_first(shape):
        image, func = (*shape[1:], shape[0]), "np.moveaxis(x, 0, -1)"
        what = "turn channels first to last"
    scale = {1: "255 * ", 255: ""}.get(high)  # other bounds are not those of a picture
    if low != 0 or scale is None or axes > 4 or min(image[:2]) < SMALLEST or (*image, 1)[2] > max(image[:2]):
        return flatten
    if space.dtype != np.uint8:
        func = f"np.rint({scale}{func}).astype(np.uint8)"
    box = f"gymnasium.spaces.Box(0, 255, {image}, np.uint8)"
    other = "" if space.dtype == np.uint8 else "if it is no picture, FlattenObservation; if it is one, "
    transform = f"gymnasium.wrappers.TransformObservation(env, lambda x: {func}, {box})"
    return f"{other}{what}: wrap the environment with {transform}"


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether a picture of this shape looks like (channels, height, width), as PyTorch has them."""
    if len(shape) != 3 or shape[0] >= min(shape[1:]):
        return False
    return (shape[1] == shape[2] >= 8) or (shape[0] in (1, 3, 4) and min(shape[1:]) >= 16)


def translate(
    name: str,
    observation_space: spaces.Space,
    action_space: Any,  # Box or Discrete, else UserError
    max_episode_steps: int | None,
    action_repeat: int,
) -> tuple[EnvSpec, ObservationMap, ActionMap]:
    """What an agent knows of the task, how its observations are read and its actions handed over. Raises UserError."""
    seen = translate_observation(name, observation_space)
    action = translate_action(name, action_space)
    states = None if seen.states is None else int(seen.states.n)
    if states is not None and states > MOST_STATES:
        raise UserError(
            f"{name}: {states} states are more than the {MOST_STATES} that numbers in float32 can tell apart"
        )
    more = {"action_repeat": action_repeat, "image": seen.image, "num_states": states}
    spec = EnvSpec(name, seen.length, action, max_episode_steps, **more)
    return spec, seen, ActionMap(action_space)


def name_of(env: gymnasium.Env) -> str:
    """The registered id where there is one, else the class."""
    if env.spec is not None:
        return env.spec.id
    return type(env.unwrapped).__name__


def limit_of(env: gymnasium.Env) -> int | None:
    """Simulator steps before truncation: as registered, or by the TimeLimit wrapper around an unregistered one."""
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return env.spec.max_episode_steps
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            return env._max_episode_steps  # the wrapper has no public name for it
        env = env.env
    return None
