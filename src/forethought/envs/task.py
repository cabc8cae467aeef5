"""What the package's own tasks have in common: a physical state, a step counter and a time limit."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractEnv
from ..types import Box, RewardFunction, TerminationFunction, never_terminates
from .raster import Scene


class TaskState(eqx.Module):
    """Where the system is and how long the episode has lasted."""

    physics: Float[Array, " physics"]
    steps: Int[Array, ""]  # simulator steps since the reset


class AbstractTask(AbstractEnv[TaskState]):
    """A task given by its physics, its view and its reward; float32, traceable and differentiable.

    `step` gets its reward and its termination from `reward_function` and `termination_function`, so these are
    the task's own by construction. Box actions are clipped to their bounds first.
    """

    @abc.abstractmethod
    def first(self, key: PRNGKeyArray) -> Float[Array, " physics"]:
        """A physical state to start an episode from."""

    @abc.abstractmethod
    def advance(self, physics: Float[Array, " physics"], action: Array) -> Float[Array, " physics"]:
        """The physical state one step later; `action` lies within its bounds."""

    def disturb(self, physics: Float[Array, " physics"], key: PRNGKeyArray) -> Float[Array, " physics"]:
        """What chance makes of the physical state after `advance`: nothing, unless a task says otherwise."""
        return physics

    @abc.abstractmethod
    def observe(self, physics: Float[Array, " physics"]) -> Float[Array, " obs"]:
        """What the agent sees."""

    @abc.abstractmethod
    def physics_from(self, obs: Float[Array, " obs"]) -> Float[Array, " physics"]:
        """A physical state that is seen as `obs`."""

    @abc.abstractmethod
    def draw(self, physics: np.ndarray) -> np.ndarray:
        """One RGB frame `[height, width, 3]` uint8."""

    def scene(self, physics: Float[Array, " physics"]) -> Scene | None:
        """The picture as shapes, for observations in pixels; None where there is none."""
        return None

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        """Which observations are velocities (`<id>-no-velocity` hides these)."""
        return ()

    def goal_distance(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"] | None:
        """How far what has to be brought to a place is from there, in m; None for a task of another kind."""
        return None

    @property
    @abc.abstractmethod
    def reward_function(self) -> RewardFunction:
        """The reward as a function of one transition."""

    @property
    def termination_function(self) -> TerminationFunction:
        """The termination as a function of one transition."""
        return never_terminates

    def reset(
        self, *, key: PRNGKeyArray, start: TaskState | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[TaskState, Float[Array, " obs"]]:
        """A first state and observation. `start` gives the physics (its step counter is set to zero)."""
        physics = self.first(key) if start is None else start.physics
        return TaskState(physics, jnp.zeros((), jnp.int32)), self.observe(physics)

    def step(
        self, state: TaskState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[TaskState, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        """`(state, next_obs, reward, terminated, truncated)`; the last two can both hold at the limit."""
        space = self.spec.action
        if isinstance(space, Box):
            action = jnp.clip(action, jnp.array(space.low), jnp.array(space.high))
        obs = self.observe(state.physics)
        state = TaskState(self.disturb(self.advance(state.physics, action), key), state.steps + 1)
        next_obs = self.observe(state.physics)
        reward = self.reward_function(obs, action, next_obs)
        terminated = self.termination_function(obs, action, next_obs)
        limit = self.spec.max_episode_steps
        truncated = jnp.zeros((), bool) if limit is None else state.steps >= limit
        return state, next_obs, reward, terminated, truncated

    def state_from(self, obs: Float[Array, " obs"]) -> TaskState:
        """The state that `obs` determines, at the beginning of an episode."""
        return TaskState(self.physics_from(obs), jnp.zeros((), jnp.int32))

    def render(self, state: TaskState) -> np.ndarray:
        """One RGB frame `[320, 480, 3]` uint8, drawn on the host."""
        return self.draw(np.asarray(state.physics, np.float64))
