"""Gymnasium spaces, translated: what an agent is told of them, and its actions in the environment's own form."""

import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import UserError
from ..types import Box, Discrete, EnvSpec


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
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UserError(
                f"{name}: the action space {space} is unbounded; planners search within bounds, so give the Box "
                "finite low and high"
            )
        try:
            return Box(tuple(map(float, low)), tuple(map(float, high)))
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        raise UserError(
            f"{name}: {type(space).__name__} actions are not supported, wanted Box or Discrete; number the "
            "combinations with gymnasium.wrappers.TransformAction(env, func, gymnasium.spaces.Discrete(n))"
        )
    raise UserError(
        f"{name}: {type(space).__name__} actions are not supported, wanted Box or Discrete; wrap the environment "
        "with gymnasium.wrappers.TransformAction to offer one of these"
    )


def translate_observation(name: str, space: spaces.Space) -> tuple[int, tuple[int, int, int] | None]:
    """The length of an observation, and height, width and channels where it is a picture.

    Raises UserError for anything but a Box with one axis, or uint8 (height, width) or (height, width, channels).
    """
    if not isinstance(space, spaces.Box):
        raise UserError(
            f"{name}: {type(space).__name__} observations are not supported, wanted a Box with one axis; wrap the "
            "environment with gymnasium.wrappers.FlattenObservation"
        )
    if math.prod(space.shape) < 1 or not space.shape:
        raise UserError(f"{name}: observations are empty; wanted a Box with at least one dimension")
    if len(space.shape) == 1:
        return space.shape[0], None
    height, width, channels = (*space.shape, 1)[:3]
    if len(space.shape) > 3 or space.dtype != np.uint8 or channels > max(height, width):
        raise UserError(
            f"{name}: {space.dtype} observations of shape {space.shape} are not supported, wanted one axis, or "
            "pictures of uint8 (height, width, channels) in 0..255; wrap the environment with "
            "gymnasium.wrappers.TransformObservation or FlattenObservation"
        )
    return height * width * channels, (height, width, channels)


def translate(
    name: str,
    observation_space: spaces.Space,
    action_space: Any,  # Box or Discrete, else UserError
    max_episode_steps: int | None,
    action_repeat: int,
) -> tuple[EnvSpec, ActionMap]:
    """What an agent knows of the task, and how its actions are handed over. Raises UserError."""
    obs_dim, image = translate_observation(name, observation_space)
    action = translate_action(name, action_space)
    spec = EnvSpec(name, obs_dim, action, max_episode_steps, action_repeat=action_repeat, image=image)
    return spec, ActionMap(action_space)


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
