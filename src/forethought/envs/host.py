"""Gymnasium environments, one at a time or side by side, each reset by us with a seed of its own."""

import copy
import warnings
from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractHostEnv, HostStep
from ..errors import UserError
from .faults import Place, checked_flag, checked_reward
from .hosted import HostedJaxEnv
from .sharing import refuse_running_statistics, separated, shared
from .spaces import limit_of, name_of, translate
from .vector import GymnasiumVectorEnv, close_quietly, fps_of, seed_from

__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv", "HostedJaxEnv", "seed_from"]


class GymnasiumEnv(AbstractHostEnv):
    """Single Gymnasium environments, stepped in turn.

    Actions are clipped to the bounds, reshaped and cast (`spaces.ActionMap`). With `action_repeat`, each action
    is taken that many times, rewards summed, until the episode ends. `again` makes one more such environment.
    Environments that share a simulator are copied. Raises UserError where that fails, and for running statistics.
    """

    def __init__(
        self,
        envs: Sequence[gymnasium.Env],
        *,
        again: Callable[[], gymnasium.Env] | None = None,
        name: str | None = None,
        action_repeat: int = 1,
        numbered: bool = True,
    ) -> None:
        if not envs:
            raise ValueError("GymnasiumEnv: envs is empty; hand in at least one environment")
        if action_repeat < 1:
            raise ValueError(f"action_repeat={action_repeat} must be at least 1")
        first = envs[0]
        self.envs = separated(envs)
        self.num_envs = len(self.envs)
        self.name = name or name_of(first)
        for env in self.envs:
            refuse_running_statistics(self.name, env)
        self._numbered = numbered
        self.spec, self.seen, self.to_env = translate(
            self.name, first.observation_space, first.action_space, limit_of(first), action_repeat, numbered
        )
        self.render_fps = fps_of(first.metadata, action_repeat)
        self._again = again
        self._closed = False
        self._places = [Place(self.name, f"number {i}") for i in range(self.num_envs)]
        self._warn_once_with(self._places[0])

    def _warn_once_with(self, place: Place) -> None:
        for own in self._places:
            own.precision.told = place.precision.told

    @property
    def observation_space(self) -> gymnasium.Space:
        """The space that one observation is meant to lie in."""
        return self.envs[0].observation_space

    def start(self, keys: list[PRNGKeyArray]) -> np.ndarray:
        """Reset every environment with its key; the first observations `[num_envs, obs]` float32."""
        return np.stack([self._reset(i, key) for i, key in enumerate(keys)])

    def step(
        self, actions: np.ndarray, *, step_key: PRNGKeyArray, reset_key: Callable[[int], PRNGKeyArray]
    ) -> HostStep:
        """Act in every environment; those whose episode ends are reset at once, so every row is valid."""
        rows = [self._step(i, actions[i]) for i in range(self.num_envs)]
        next_obs = np.stack([row[0] for row in rows])
        reward = np.array([row[1] for row in rows], np.float32)
        terminated, truncated = (np.array([row[k] for row in rows], bool) for k in (2, 3))
        obs, fresh = next_obs.copy(), terminated | truncated
        if fresh[0] and self.filmed:
            self.last_frame = self.render()
        for i in np.flatnonzero(fresh):
            obs[i] = self._reset(int(i), reset_key(int(i)))
        steps = np.array([row[4] for row in rows], np.int32)
        return HostStep(next_obs, reward, terminated, truncated, obs, fresh, np.ones(self.num_envs, bool), steps)

    def render(self) -> np.ndarray | None:
        """An RGB frame of environment 0; None if it has no `rgb_array` mode or its renderer does not work."""
        env = self.envs[0]
        if env.render_mode != "rgb_array":
            return None
        try:
            return np.asarray(env.render(), np.uint8)
        except Exception as error:  # renderers fail in their own ways: no display, no OpenGL, a missing package
            warnings.warn(f"{self.name} cannot be rendered: {type(error).__name__}: {error}", stacklevel=2)
            return None

    def copy(self, num_envs: int = 1) -> "GymnasiumEnv":
        """Independent environments of the same task: made by `again`, or like the first one here.

        Raises UserError if neither works.
        """
        again = self._again or (lambda: duplicate(self.envs[0]))
        envs = separated([again() for _ in range(num_envs)], self.envs)
        more = {"action_repeat": self.spec.action_repeat, "numbered": self._numbered}
        made = GymnasiumEnv(envs, again=again, name=self.name, **more)
        made._warn_once_with(self._places[0])
        return made

    def close(self) -> None:
        """Release what the environments hold; a second call does nothing, and failures are not reported."""
        if not self._closed:
            self._closed = True
            for env in self.envs:
                close_quietly(env)

    def _reset(self, i: int, key: PRNGKeyArray) -> np.ndarray:
        place = self._places[i]
        place.begin()
        try:
            obs, _ = self.envs[i].reset(seed=seed_from(key))
        except Exception as error:
            raise place.fault(f"reset raised {type(error).__name__}: {error}") from error
        return self.seen(obs, place)

    def _step(self, i: int, chosen: np.ndarray) -> tuple[np.ndarray, float, bool, bool, int]:
        """Observation, summed reward, terminated, truncated and simulator steps of one action."""
        place, total, steps, obs = self._places[i], 0.0, 0, None
        terminated = truncated = False
        action = self.to_env(chosen)  # for messages: what is handed over may be changed there
        while steps < self.spec.action_repeat and not (terminated or truncated):
            place.step += 1
            steps += 1
            try:
                answer = self.envs[i].step(self.to_env(chosen))
            except Exception as error:
                raise place.fault(f"step raised {type(error).__name__}: {error}", action) from error
            if not isinstance(answer, tuple) or len(answer) != 5:
                raise place.fault("step must return (obs, reward, terminated, truncated, info)", action)
            obs, reward, terminated, truncated, _ = answer
            total = checked_reward(total + checked_reward(reward, place, action), place, action)
            terminated = checked_flag("terminated", terminated, place, action)
            truncated = checked_flag("truncated", truncated, place, action)
        return self.seen(obs, place, action), total, terminated, truncated, steps


def duplicate(env: gymnasium.Env) -> gymnasium.Env:
    """One more environment like `env`: a deep copy, else made from its Gymnasium spec. Raises UserError.

    The copy comes first since only it keeps what was changed on the instance (a constant, a wrapper's threshold). An
    environment that pickles itself by its constructor's arguments (`gymnasium.utils.EzPickle`) is made anew from them.
    """
    try:
        copied = copy.deepcopy(env)
        if (part := shared(env, copied)) is None:
            return copied
        uncopied = f"a deep copy shares its {type(part).__name__}"
    except Exception as error:  # windows, generators, handles: each refuses in its own way
        uncopied = f"a deep copy fails with {type(error).__name__}"
    reason = "it has no Gymnasium spec" if env.spec is None else "its Gymnasium spec makes other spaces"
    if env.spec is not None:
        try:
            made = gymnasium.make(env.spec)  # its arguments hold the render mode
            if (part := shared(env, made)) is not None:
                reason = f"what its Gymnasium spec makes shares its {type(part).__name__}"
            elif made.observation_space == env.observation_space and made.action_space == env.action_space:
                return made
            else:
                close_quietly(made)
        except Exception as error:  # wrappers that do not record their arguments, and whatever constructors do
            reason = f"{type(error).__name__}: {error}"
    raise UserError(
        f"{name_of(env)}: no second environment can be made from this one ({reason}; {uncopied}); pass a class or a "
        "function that makes one instead of an instance"
    )
