"""Our own tasks, seen otherwise than they show themselves."""

import abc

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractEnv
from ..types import TerminationFunction, never_terminates
from .task import AbstractTask, TaskState


class AbstractView(AbstractEnv[TaskState]):
    """A task with other observations: start, dynamics, reward and time limit are its own.

    The reward is that of the true state and no function of what is seen, so there is no `reward_function`.
    """

    env: eqx.AbstractVar[AbstractTask]

    @abc.abstractmethod
    def look(self, state: TaskState, obs: Float[Array, " own"]) -> Float[Array, " obs"]:
        """What is seen of `state`, which the task itself would show as `obs`."""

    @property
    def termination_function(self) -> TerminationFunction | None:
        return never_terminates if self.env.termination_function is never_terminates else None

    def reset(
        self, *, key: PRNGKeyArray, start: TaskState | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[TaskState, Float[Array, " obs"]]:
        state, obs = self.env.reset(key=key, start=start, clock=clock)
        return state, self.look(state, obs)

    def step(
        self, state: TaskState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[TaskState, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        state, obs, reward, terminated, truncated = self.env.step(state, action, key=key)
        return state, self.look(state, obs), reward, terminated, truncated

    @property
    def render_fps(self) -> float | None:
        return self.env.render_fps

    def render(self, state: TaskState) -> np.ndarray:
        return self.env.render(state)
