"""Tasks seen in part: without their velocities, which then have to be inferred from several observations."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import AbstractEnv
from ..errors import UserError
from ..types import EnvSpec
from .task import AbstractTask, TaskState
from .view import AbstractView

SUFFIX = "-no-velocity"


class NoVelocity(AbstractView):
    """One of our own tasks whose observations leave out its velocities (`AbstractTask.velocity_dims`).

    The classic way to make a task partially observed (Wierstra et al. 2007).
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

    def look(self, state: TaskState, obs: Float[Array, " own"]) -> Float[Array, " obs"]:
        return obs[jnp.array(self.shown)]
