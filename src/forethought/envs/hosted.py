"""A JAX-native environment, stepped from Python."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractEnv, AbstractHostEnv, HostStep
from ..core.programs import compiled, shared
from ..types import Box
from .faults import Place, checked_flags, checked_obs, checked_reward


class _Compiled(NamedTuple):
    """The environment's functions over `[num_envs]`."""

    reset: Callable[..., Any]
    step: Callable[..., Any]


def _compile(env: AbstractEnv) -> _Compiled:
    # Closed over, not handed in: an environment's fields may be plain numbers that shapes depend on.
    def reset(keys, clock):
        return jax.vmap(lambda key: env.reset(key=key, clock=clock))(keys)

    def step(states, actions, step_key):
        keys = jax.vmap(lambda i: jr.fold_in(step_key, i))(jnp.arange(actions.shape[0]))
        return jax.vmap(lambda state, action, key: env.counted_step(state, action, key=key))(states, actions, keys)

    return _Compiled(compiled(reset), compiled(step))


@jax.jit
def _put(states, i, state):
    return jax.tree.map(lambda rows, row: rows.at[i].set(row[0]), states, state)


class HostedJaxEnv(AbstractHostEnv):
    """`num_envs` copies of an AbstractEnv behind the interface of a host environment.

    Environment i resets with the very key it is given and steps with `fold_in(step_key, i)`, so a driver that
    compiles the environment into its loop sees the same episodes.
    """

    def __init__(self, env: AbstractEnv, num_envs: int = 1) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        self.env = env
        self.spec = env.spec
        self.num_envs = num_envs
        self.render_fps = env.render_fps
        self.reward_function = env.reward_function
        self.termination_function = env.termination_function
        self._compiled = shared(_compile, env)
        self._states = None
        self._clock = 0
        self._places = [Place(self.spec.name, f"number {i}") for i in range(num_envs)]

    def set_clock(self, env_steps: int) -> None:
        self._clock = env_steps

    def start(self, keys: list[PRNGKeyArray]) -> np.ndarray:
        """Reset every environment with its key; the first observations `[num_envs, obs]` float32."""
        self._states, obs = self._compiled.reset(jnp.stack(keys), jnp.int32(self._clock))
        for place in self._places:
            place.begin()
        return np.stack([checked_obs(o, self.spec.obs_dim, p) for o, p in zip(np.asarray(obs), self._places)])

    def step(
        self, actions: np.ndarray, *, step_key: PRNGKeyArray, reset_key: Callable[[int], PRNGKeyArray]
    ) -> HostStep:
        """Act in every environment; those whose episode ends are reset at once, so every row is valid."""
        if self._states is None:
            raise ValueError("HostedJaxEnv.step before start: call start(keys) first")
        dtype = jnp.float32 if isinstance(self.spec.action, Box) else jnp.int32
        taken = jnp.asarray(actions, dtype).reshape(self.num_envs, *self.spec.action.shape)
        for place in self._places:
            place.step += self.spec.action_repeat
        try:
            (self._states, *rest), steps = self._compiled.step(self._states, taken, step_key)
            next_obs, reward, terminated, truncated = (np.array(x) for x in rest)
        except Exception as error:
            what = f"step raised {type(error).__name__}: {error}"
            raise self._places[0].fault(what, actions) from error
        if next_obs.shape != (wanted := (self.num_envs, self.spec.obs_dim)):
            raise self._places[0].fault(f"observations of shape {next_obs.shape}, expected {wanted},", actions)
        terminated = checked_flags("terminated", terminated, self._places, actions)
        truncated = checked_flags("truncated", truncated, self._places, actions)
        steps = np.array(steps, np.int32)
        obs, fresh = next_obs.copy(), terminated | truncated
        sound = np.isfinite(next_obs).all(axis=1) & np.isfinite(reward)
        for i, place in enumerate(self._places):
            if not sound[i]:
                checked_obs(next_obs[i], self.spec.obs_dim, place, actions[i])
                checked_reward(reward[i], place, actions[i])
            if fresh[i]:
                if i == 0 and self.filmed:
                    self.last_frame = self.render()
                now = self._clock + int(steps.sum())
                state, first = self._compiled.reset(jnp.stack([reset_key(i)]), jnp.int32(now))
                self._states = _put(self._states, i, state)
                place.begin()
                obs[i] = checked_obs(first[0], self.spec.obs_dim, place)
        return HostStep(next_obs, reward, terminated, truncated, obs, fresh, np.ones(self.num_envs, bool), steps)

    def render(self) -> np.ndarray | None:
        """An RGB frame `[height, width, 3]` uint8 of environment 0; None where there is no picture."""
        if self._states is None:
            return None
        return self.env.render(jax.tree.map(lambda leaf: leaf[0], self._states))

    def copy(self, num_envs: int = 1) -> "HostedJaxEnv":
        """An independent environment of the same task."""
        return HostedJaxEnv(self.env, num_envs)
