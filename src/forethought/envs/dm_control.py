"""The DeepMind control suite as Gymnasium environments: observations flattened in the suite's order."""

import functools
import math

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from ..errors import UserError, nearest
from .headless import choose_renderers, no_picture, opengl_failed
from .pixels import Frame, fitted, named


def suite():
    """The `dm_control.suite` module. Raises UserError if it is not installed."""
    choose_renderers()
    try:
        from dm_control import suite as found
    except Exception as error:  # OpenGL is opened while it is imported, and fails in many ways
        if opengl_failed(error):
            raise no_picture("dm_control", error) from error
        if not isinstance(error, ImportError):
            raise
        raise UserError(f'dm_control is not installed ({error}); run: pip install "forethought[envs]"') from error
    return found


def task_ids() -> list[str]:
    """All ids, such as `dm_control/cartpole-swingup-v0`."""
    return [f"dm_control/{domain}-{task}-v0" for domain, task in suite().ALL_TASKS]


class DmControlEnv(gymnasium.Env):
    """One task of the suite. Terminated where the suite's discount is 0 at the last step, else truncated.

    With `pixels`, the observation is what camera 0 sees, so many pixels a side, in colour or grey; shadows, reflections
    and smooth edges are off, which draws several times as fast. Raises UserError where MuJoCo cannot draw.
    """

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, id: str, pixels: int | None = None, grey: bool = False) -> None:
        known = task_ids()
        if id not in known:
            raise UserError(f"unknown environment {id!r}; {nearest(id, known)}")
        domain, task = id.removeprefix("dm_control/").removesuffix("-v0").split("-")
        self._env = suite().load(domain, task)
        limit = self._env._step_limit  # the suite has no public name for it
        steps = math.ceil(limit) if math.isfinite(limit) else None
        self._pixels, self._grey = pixels, grey
        self.metadata = {**self.metadata, "render_fps": 1 / self._env.control_timestep()}
        asked = {"id": id, "pixels": pixels, "grey": grey}
        self._name = name = id if pixels is None else named(id, pixels, grey)
        entry_point = "forethought.envs.dm_control:DmControlEnv"
        self.spec = EnvSpec(name, max_episode_steps=steps, entry_point=entry_point, kwargs=asked)
        size = sum(int(np.prod(part.shape)) for part in self._env.observation_spec().values())
        action = self._env.action_spec()
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        if pixels is not None:
            shape = (pixels, pixels, 1 if grey else 3)
            self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
            self._env.reset()
            self._picture(pixels)
        self.action_space = gymnasium.spaces.Box(
            action.minimum.astype(np.float32), action.maximum.astype(np.float32), action.shape
        )

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        if seed is not None:
            self._env.task.random.seed(seed)
        return self._seen(self._env.reset().observation), {}

    def step(self, action):
        out = self._env.step(action)
        terminated = out.last() and out.discount == 0
        return self._seen(out.observation), float(out.reward), terminated, out.last() and not terminated, {}

    def render(self) -> np.ndarray:
        return self._env.physics.render(height=320, width=480, camera_id=0)

    def close(self) -> None:
        self._env.close()

    def _seen(self, observation: dict) -> np.ndarray | Frame:
        if self._pixels is not None:
            return Frame(functools.partial(self._picture, self._pixels))
        return np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)

    def _picture(self, size: int) -> np.ndarray:
        quality = self._env.physics.model.vis.quality
        kept = quality.shadowsize, quality.offsamples
        quality.shadowsize = quality.offsamples = 0
        flags = {"shadow": False, "reflection": False}
        try:
            frame = self._env.physics.render(size, size, camera_id=0, render_flag_overrides=flags)
        except Exception as error:  # no OpenGL, in one of many ways
            raise no_picture(self._name, error) from error
        finally:
            quality.shadowsize, quality.offsamples = kept
        return fitted(frame, size, grey=self._grey, name=self._name)
