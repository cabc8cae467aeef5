"""Environments of gymnax, which are JAX all the way down."""

import ast
import dataclasses
import functools
import importlib.util
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractEnv
from ..errors import UserError, nearest
from ..types import Box, Discrete, EnvSpec


def _gymnax():
    try:
        import gymnax
    except ImportError as error:
        raise UserError(f'gymnax is not installed ({error}); run: pip install "forethought[jaxenvs]"') from error
    return gymnax


def task_ids() -> list[str]:
    """All ids, such as `gymnax/Pendulum-v1`. Raises UserError if gymnax is not installed."""
    return [f"gymnax/{name}" for name in _gymnax().registered_envs]


def names_on_paper() -> list[str]:
    """The ids as far as they stand in gymnax's source, without importing it, which takes many seconds."""
    found = importlib.util.find_spec("gymnax")
    source = None if found is None or found.origin is None else Path(found.origin).with_name("registration.py")
    if source is None or not source.is_file():
        return []
    lists = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.List)]
    texts = [x.value for found in lists for x in found.elts if isinstance(x, ast.Constant)]
    return [f"gymnax/{name}" for name in dict.fromkeys(texts) if isinstance(name, str)]


@functools.cache
def _load(id: str):
    """The gymnax environment with its default parameters. Raises UserError."""
    if id not in task_ids():
        raise UserError(f"unknown environment {id!r}; {nearest(id, task_ids())}")
    env, params = _gymnax().make(id.removeprefix("gymnax/"))
    if env.supports_transition_gradients:
        env = env.with_transition_gradients()
    return env, params


@functools.cache
def _spec(id: str) -> EnvSpec:
    from gymnax.environments import spaces

    env, params = _load(id)
    seen, acts = env.observation_space(params), env.action_space(params)
    picture = isinstance(seen, spaces.Box) and len(seen.shape) in (2, 3) and _unit(seen)
    if not picture and (not isinstance(seen, spaces.Box) or len(seen.shape) != 1):
        shape = f" of shape {seen.shape}" if isinstance(seen, spaces.Box) else ""
        raise UserError(
            f"{id}: {type(seen).__name__} observations{shape} are not supported, wanted a Box with one axis, or one "
            "of 0 to 1 with two or three; flatten them in an environment of your own"
        )
    if isinstance(acts, spaces.Discrete):
        action = Discrete(int(acts.n))
    elif isinstance(acts, spaces.Box):
        low, high = (np.broadcast_to(bound, acts.shape).reshape(-1) for bound in (acts.low, acts.high))
        action = Box(tuple(map(float, low)), tuple(map(float, high)))
    else:
        raise UserError(f"{id}: {type(acts).__name__} actions are not supported, wanted Box or Discrete")
    image = None
    if picture:
        height, width, channels = (*seen.shape, 1)[:3]
        image = height, width, channels
    limit = int(params.max_steps_in_episode)
    return EnvSpec(id, math.prod(seen.shape), action, limit, image=image)


def _unit(space) -> bool:
    """Whether all entries lie in 0..1."""
    return bool(np.all(np.asarray(space.low) == 0) and np.all(np.asarray(space.high) == 1))


class GymnaxEnv(AbstractEnv[PyTree]):
    """A gymnax environment by its id, with its default parameters.

    Boards with two or three axes (MinAtar) are pictures, 255 where gymnax has 1. Uses `step_env`, because gymnax's
    own `step` resets at an episode's end and hands out the reset observation.
    Raises UserError for an unknown id, a missing package, or spaces that are not supported.
    """

    id: str = eqx.field(static=True)

    def __check_init__(self) -> None:
        _spec(self.id)

    @property
    def spec(self) -> EnvSpec:
        return _spec(self.id)

    def reset(
        self, *, key: PRNGKeyArray, start: PyTree | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[PyTree, Float[Array, " obs"]]:
        """A first state and observation; `start` is taken with its step counter at zero."""
        env, params = _load(self.id)
        obs, state = env.reset_env(key, params)
        state = jax.tree.map(jnp.asarray, state)
        if start is not None:
            state = dataclasses.replace(start, time=jnp.zeros_like(start.time))
            obs = env.observe(key, state, None, params)
        return state, self._flat(obs)

    def step(
        self, state: PyTree, action: Array, *, key: PRNGKeyArray
    ) -> tuple[PyTree, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        env, params = _load(self.id)
        space = self.spec.action
        if isinstance(space, Box):
            action = jnp.clip(action, jnp.array(space.low), jnp.array(space.high))
            action = action.reshape(env.action_space(params).shape)
        obs, following, reward, terminated, _ = env.step_env(key, state, action, params)
        following = jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype).reshape(old.shape), state, following)
        truncated = env.is_truncated(following, params)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        return (
            following,
            self._flat(obs),
            reward,
            jnp.asarray(terminated, bool),
            jnp.asarray(truncated, bool),
        )

    def render(self, state: PyTree) -> np.ndarray | None:
        """Boards only: each channel in a colour of its own, on black."""
        image = self.spec.image
        if image is None:
            return None
        env, params = _load(self.id)
        board = np.asarray(env.observe(jax.random.key(0), state, None, params), np.float32).reshape(image)
        turn = 2 * np.pi * (np.arange(image[2])[:, None] / image[2] + np.arange(3) / 3)
        colours = 127.5 * (1 + np.cos(turn)) if image[2] > 1 else np.full((1, 3), 255.0)
        shade = np.max(board[..., None] * colours, axis=2).astype(np.uint8)
        return np.kron(shade, np.ones((320 // image[0], 320 // image[0], 1), np.uint8))

    def _flat(self, obs: Array) -> Float[Array, " obs"]:
        obs = jnp.asarray(obs, jnp.float32).reshape(-1)
        return obs if self.spec.image is None else 255.0 * obs
