"""Environments of gymnax, which are JAX all the way down."""

import dataclasses
import functools

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
    if not isinstance(seen, spaces.Box) or len(seen.shape) != 1:
        shape = f" of shape {seen.shape}" if isinstance(seen, spaces.Box) else ""
        raise UserError(
            f"{id}: {type(seen).__name__} observations{shape} are not supported, wanted a Box with one axis; "
            "flatten them in an environment of your own"
        )
    if isinstance(acts, spaces.Discrete):
        action = Discrete(int(acts.n))
    elif isinstance(acts, spaces.Box):
        low, high = (np.broadcast_to(bound, acts.shape).reshape(-1) for bound in (acts.low, acts.high))
        action = Box(tuple(map(float, low)), tuple(map(float, high)))
    else:
        raise UserError(f"{id}: {type(acts).__name__} actions are not supported, wanted Box or Discrete")
    return EnvSpec(id, seen.shape[0], action, int(params.max_steps_in_episode))


class GymnaxEnv(AbstractEnv[PyTree]):
    """A gymnax environment by its id, with its default parameters.

    Uses `step_env`, because gymnax's own `step` resets at an episode's end and hands out the reset observation.
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
        return state, jnp.asarray(obs, jnp.float32)

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
            jnp.asarray(obs, jnp.float32),
            reward,
            jnp.asarray(terminated, bool),
            jnp.asarray(truncated, bool),
        )
