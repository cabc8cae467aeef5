"""Tasks seen in part: without their velocities, which then have to be inferred from several observations."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractEnv
from ..errors import UserError
from ..types import EnvSpec, TerminationFunction, never_terminates
from .task import AbstractTask, TaskState

SUFFIX = "-no-velocity"


class NoVelocity(AbstractEnv[TaskState]):
    """One of our own tasks whose observations leave out its velocities (`AbstractTask.velocity_dims`).

    The classic way to make a task partially observed (Wierstra et al. 2007). The reward is the task's own, of the
    true state; it is no function of what is seen, so there is no `reward_function`.
    Raises UserError for a task whose observations hold no velocities.
    """

    env: AbstractTask

    def __check_init__(self) -> None:
        if not isinstance(self.env, AbstractTask) or not self.env.velocity_dims:
            name = self.env.spec.name if isinstance(self.env, AbstractEnv) else type(self.env).__name__
            raise UserError(
                f"{name}{SUFFIX}: {name} does not say which observations are velocities; take one of our own tasks "
                "that has some, such as pendulum, or write an environment that leaves them out"
            )

    @property
    def shown(self) -> list[int]:
        """Which of the task's observations are left."""
        return [d for d in range(self.env.spec.obs_dim) if d not in self.env.velocity_dims]

    @property
    def spec(self) -> EnvSpec:
        inner, shown = self.env.spec, self.shown
        angles = tuple(shown.index(d) for d in inner.angle_dims if d in shown)
        return EnvSpec(inner.name + SUFFIX, len(shown), inner.action, inner.max_episode_steps, angles)

    @property
    def termination_function(self) -> TerminationFunction | None:
        return never_terminates if self.env.termination_function is never_terminates else None

    def reset(
        self, *, key: PRNGKeyArray, start: TaskState | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[TaskState, Float[Array, " obs"]]:
        state, obs = self.env.reset(key=key, start=start, clock=clock)
        return state, self._seen(obs)

    def step(
        self, state: TaskState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[TaskState, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        state, obs, reward, terminated, truncated = self.env.step(state, action, key=key)
        return state, self._seen(obs), reward, terminated, truncated

    def render(self, state: TaskState) -> np.ndarray:
        return self.env.render(state)

    def _seen(self, obs: Float[Array, " full"]) -> Float[Array, " obs"]:
        return obs[jnp.array(self.shown)]
