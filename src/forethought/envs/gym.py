"""Any environment that `make` knows as a plain `gymnasium.Env`, for loops outside the library."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import jax.random as jr
import numpy as np
from gymnasium import spaces

from ..core import AbstractHostEnv
from ..errors import UserError
from ..types import Box
from .host import GymnasiumEnv
from .make import make


def make_gym(env: Any, *, action_repeat: int = 1, env_kwargs: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """The environment as `make` finds it, as a `gymnasium.Env`: Gymnasium's as it is, a JAX one behind `HostAsGym`.

    `action_repeat` repeats each action until the episode ends, and sums the rewards. Raises UserError as `make` does,
    and for several environments side by side.
    """
    host = make(env, host=True, env_kwargs=env_kwargs, action_repeat=1)
    if host.num_envs != 1:
        raise UserError(f"{host.spec.name} is {host.num_envs} environments side by side; give one of them")
    plain = host.envs[0] if isinstance(host, GymnasiumEnv) else HostAsGym(host)
    return Repeated(plain, action_repeat) if action_repeat > 1 else plain


class HostAsGym(gymnasium.Env):
    """A single host environment as a `gymnasium.Env`; observations and actions are as its `spec` has them."""

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, host: AbstractHostEnv) -> None:
        self._host, spec = host, host.spec
        self.observation_space = spaces.Box(-np.inf, np.inf, (spec.obs_dim,), np.float32)
        self.action_space = (
            spaces.Box(np.array(spec.action.low, np.float32), np.array(spec.action.high, np.float32))
            if isinstance(spec.action, Box)
            else spaces.Discrete(spec.action.n)
        )
        self._key, self._steps = jr.key(0), 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._key, self._steps = jr.key(int(self.np_random.integers(2**31)) if seed is None else seed), 0
        return self._host.start([self._key])[0], {}

    def step(self, action):
        key = jr.fold_in(self._key, self._steps)
        self._steps += 1
        step = self._host.step(np.asarray(action)[None], step_key=key, reset_key=lambda i: self._key)
        return step.next_obs[0], float(step.reward[0]), bool(step.terminated[0]), bool(step.truncated[0]), {}

    def render(self):
        return self._host.render()

    def close(self) -> None:
        self._host.close()


class Repeated(gymnasium.Wrapper):
    """Takes each action `repeat` times, or until the episode ends, and sums the rewards."""

    def __init__(self, env: gymnasium.Env, repeat: int) -> None:
        super().__init__(env)
        self._repeat = repeat

    def step(self, action):
        total = 0.0
        for _ in range(self._repeat):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info
