"""Gymnasium vector environments under all three of their ways to reset."""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import jax.random as jr
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from jaxtyping import PRNGKeyArray

from ..core import AbstractHostEnv, HostStep
from ..errors import UserError
from ..space_parts import value_at
from .faults import Place, checked_flags, checked_rewards
from .shared_state import touched
from .sharing import copied, refuse_running_statistics, require_separate, shared, side_by_side
from .spaces import translate


def seed_from(key: PRNGKeyArray) -> int:
    """A seed in 0 .. 2^31 - 1 for an environment's own generator."""
    return int(jr.bits(key)) >> 1


def fps_of(metadata: object, action_repeat: int = 1) -> float | None:
    """Frames a second that an environment's `metadata` asks for, at one frame an action; None if it asks for none."""
    asked = metadata.get("render_fps") if isinstance(metadata, dict) else None
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 < asked < float("inf"):
        return None
    return max(asked / action_repeat, 1.0)


def close_quietly(env: gymnasium.Env | VectorEnv) -> None:
    """Closes `env` without warnings or errors: at the end of a run there is nothing left that they could spoil."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        env.close()


def _mode_of(env: VectorEnv) -> AutoresetMode:
    # Sync and async vector environments write the mode into metadata that all instances of the inner class share,
    # so a second one may have overwritten it: their own attribute is the truth where there is one.
    own = getattr(env.unwrapped, "autoreset_mode", None)
    mode = own or (env.metadata or {}).get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise UserError(
            f"{type(env.unwrapped).__name__}: metadata['autoreset_mode'] is {mode!r}, wanted a "
            "gymnasium.vector.AutoresetMode; without it the true successor at an episode's end is unknown"
        )
    return mode


class GymnasiumVectorEnv(AbstractHostEnv):
    """Any `gymnasium.vector.VectorEnv`; `next_obs` is the true successor in every autoreset mode.

    DISABLED: we reset, with a seed from each episode's own key. SAME_STEP and NEXT_STEP: the environment resets
    itself with its own generator (seeded at `start`), so a resumed run does not repeat those episodes; under
    NEXT_STEP the call after an episode's end only resets, and its row is not valid.
    """

    def __init__(self, env: VectorEnv, *, again: Callable[[], VectorEnv] | None = None, numbered: bool = True) -> None:
        self.env = env
        self.num_envs = env.num_envs
        self.mode = _mode_of(env)
        name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        limit = env.spec.max_episode_steps if env.spec is not None else None
        self._numbered = numbered
        self.spec, self.seen, self.to_env = translate(
            name, env.single_observation_space, env.single_action_space, limit, 1, numbered
        )
        require_separate(name, *side_by_side(env))
        refuse_running_statistics(name, env)
        self.render_fps = fps_of(env.metadata)
        self._again = again
        self._closed = False
        self._places = [Place(name, f"number {i}") for i in range(self.num_envs)]
        self._together = Place(name, f"one of {self.num_envs}")  # for what cannot be told of a single one
        self._ended = np.zeros(self.num_envs, bool)
        self._warn_once_with(self._places[0])

    def _warn_once_with(self, place: Place) -> None:
        for own in self._places:
            own.precision.told = place.precision.told

    @property
    def observation_space(self):
        """The space that one observation is meant to lie in."""
        return self.env.single_observation_space

    def start(self, keys: list[PRNGKeyArray]) -> np.ndarray:
        """Reset every environment with its key; the first observations `[num_envs, obs]` float32."""
        self._ended[:] = False
        for place in (self._together, *self._places):
            place.begin()
        obs = self._call(lambda: self.env.reset(seed=self._seeds(keys)), None)[0]
        return self._checked(obs, np.ones(self.num_envs, bool), None)

    def step(
        self, actions: np.ndarray, *, step_key: PRNGKeyArray, reset_key: Callable[[int], PRNGKeyArray]
    ) -> HostStep:
        """Act in every environment."""
        batch = np.stack([self.to_env(action) for action in actions])
        valid = ~self._ended if self.mode == AutoresetMode.NEXT_STEP else np.ones(self.num_envs, bool)
        self._together.step += 1
        for i in np.flatnonzero(valid):
            self._places[i].step += 1
        answer = self._call(lambda: self.env.step(batch.copy()), batch)
        if not isinstance(answer, tuple) or len(answer) != 5:
            raise self._together.fault("step must return (obs, reward, terminated, truncated, infos)", batch)
        out, reward, terminated, truncated, infos = answer
        terminated = checked_flags("terminated", terminated, self._places, batch)
        truncated = checked_flags("truncated", truncated, self._places, batch)
        reward = np.where(valid, checked_rewards(reward, self._places, batch), 0).astype(np.float32)
        ended = (terminated | truncated) & valid
        if ended[0] and self.filmed:  # under SAME_STEP the new episode is what can be drawn
            self.last_frame = None if self.mode == AutoresetMode.SAME_STEP else self.render()
        if self.mode == AutoresetMode.SAME_STEP:
            next_obs, obs = self._final(out, ended, infos, batch), self._checked(out, ended, None)
            obs[~ended] = next_obs[~ended]
            fresh = ended
        elif self.mode == AutoresetMode.DISABLED:
            next_obs = self._checked(out, valid, batch)
            obs, fresh = next_obs.copy(), ended
            obs[ended] = self._reset(ended, reset_key)[ended]
        else:
            next_obs = self._checked(out, valid, batch)
            obs, fresh = next_obs.copy(), ~valid
            self._ended = ended
        for i in np.flatnonzero(fresh):
            self._places[i].begin()
        return HostStep(next_obs, reward, terminated & valid, truncated & valid, obs, fresh, valid)

    def render(self) -> np.ndarray | None:
        """An RGB frame of environment 0; None if there is no `rgb_array` mode or the renderer does not work."""
        if self.env.render_mode != "rgb_array":
            return None
        try:
            frames = self.env.render()
            return None if frames is None else np.asarray(frames[0], np.uint8)
        except Exception as error:  # renderers fail in their own ways: no display, no OpenGL, a missing package
            warnings.warn(f"{self.spec.name} cannot be rendered: {error}", stacklevel=2)
            return None

    def copy(self, num_envs: int = 1) -> "GymnasiumVectorEnv":
        """An independent vector environment of the same task, with this one's number of environments.

        Raises UserError if this one was handed in as an instance that cannot be copied, or has another number.
        """
        env = self.env if self._again is None else self._again()
        apart = shared(self.env, env) is None and touched(self.env, env) is None
        env = env if apart else copied(env, [self.env])
        made = GymnasiumVectorEnv(env, again=self._again, numbered=self._numbered)
        made._warn_once_with(self._places[0])
        return made

    def close(self) -> None:
        """Release what the environments hold; a second call does nothing, and failures are not reported."""
        if not self._closed:
            self._closed = True
            close_quietly(self.env)

    def _seeds(self, keys: Sequence[PRNGKeyArray | None]) -> Any:
        """A seed for each environment; only one where the class takes but one, as the base class says."""
        seeds = [None if key is None else seed_from(key) for key in keys]
        if isinstance(self.env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
            return seeds
        return next(seed for seed in seeds if seed is not None)

    def _call(self, function: Callable[[], tuple], actions: np.ndarray | None) -> tuple:
        try:
            return function()
        except Exception as error:
            what = "reset" if actions is None else "step"
            raise self._together.fault(f"{what} raised {type(error).__name__}: {error}", actions) from error

    def _checked(self, obs: object, rows: np.ndarray, actions: np.ndarray | None) -> np.ndarray:
        """`obs` as float32 `[num_envs, obs]`; the `rows` must be sound."""
        out = np.zeros((self.num_envs, self.spec.obs_dim), np.float32)
        for i, row in enumerate(self._rows(obs, actions)):
            taken = None if actions is None or not rows[i] else actions[i]
            out[i] = self.seen(row, self._places[i], taken)
        return out

    def _rows(self, obs: Any, actions: np.ndarray | None) -> list[Any]:
        """The observations one by one."""
        for part in self.seen.parts:
            try:
                rows = value_at(obs, part.path)
            except ValueError as error:
                raise self._together.fault(f"observations {error},", actions) from None
            if len(rows) != self.num_envs:
                raise self._together.fault(f"observations of shape {np.shape(rows)}", actions)
        return [self.seen.row(obs, i) for i in range(self.num_envs)]

    def _final(self, obs: object, ended: np.ndarray, infos: dict, actions: np.ndarray) -> np.ndarray:
        """The true successors under SAME_STEP: those of ended episodes are in `infos['final_obs']`."""
        if ended.any() and "final_obs" not in infos:
            raise self._together.fault(
                "autoreset SAME_STEP gave no infos['final_obs'], which should hold the last observations of episodes,",
                actions,
            )
        rows = self._rows(obs, actions)
        for i in np.flatnonzero(ended):
            rows[i] = infos["final_obs"][i]
        return np.stack([self.seen(r, p, a) for r, p, a in zip(rows, self._places, actions)])

    def _reset(self, ended: np.ndarray, reset_key: Callable[[int], PRNGKeyArray]) -> np.ndarray:
        if not ended.any():
            return np.zeros((self.num_envs, self.spec.obs_dim), np.float32)
        seeds = self._seeds([reset_key(i) if over else None for i, over in enumerate(ended)])
        obs = self._call(lambda: self.env.reset(seed=seeds, options={"reset_mask": ended.copy()}), None)[0]
        return self._checked(obs, ended, None)
