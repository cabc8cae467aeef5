"""A point mass on a plane, to be brought to rest at the origin: linear dynamics, quadratic cost."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import BLUE, GREEN, ORANGE, PALE, PAPER, Canvas
from .raster import Scene, disc
from .task import AbstractTask

TIMESTEP = 0.1
VIEW = 1.5  # of the picture, from the middle to each side
VELOCITY_COST, ACTION_COST = 0.1, 0.01


def point_mass_reward(
    obs: Float[Array, " 2*dims"], action: Float[Array, " dims"], next_obs: Float[Array, " 2*dims"]
) -> Array:
    """-(distance^2 + 0.1 speed^2 + 0.01 |action|^2), of the state after the step; 0 at best."""
    dims = action.shape[-1]
    distance, speed = jnp.sum(next_obs[:dims] ** 2), jnp.sum(next_obs[dims:] ** 2)
    return -(distance + VELOCITY_COST * speed + ACTION_COST * jnp.sum(action**2))


class PointMass(AbstractTask):
    """Observation (x, y, x_dot, y_dot); acceleration in [-1, 1] along each axis; 100 steps of 0.1 s.

    A double integrator, exact for an acceleration held through the step. Starts at rest in [-1, 1]^2. With `dims`
    other than 2 it moves in that many dimensions, positions first, of which the picture shows two. Raises
    ValueError for `dims` below 1.
    """

    dims: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        if self.dims < 1:
            raise ValueError(f"dims={self.dims} must be at least 1")

    @property
    def spec(self) -> EnvSpec:
        name = "point-mass" if self.dims == 2 else f"point-mass-{self.dims}d"
        return EnvSpec(name, 2 * self.dims, Box((-1.0,) * self.dims, (1.0,) * self.dims), max_episode_steps=100)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return tuple(range(self.dims, 2 * self.dims))

    def goal_distance(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return jnp.linalg.norm(obs[..., : self.dims], axis=-1)

    @property
    def reward_function(self):
        return point_mass_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, " physics"]:
        return jnp.concatenate([jr.uniform(key, (self.dims,), minval=-1.0, maxval=1.0), jnp.zeros(self.dims)])

    def advance(self, physics: Float[Array, " physics"], action: Array) -> Float[Array, " physics"]:
        position, velocity = physics[: self.dims], physics[self.dims :]
        position = position + TIMESTEP * velocity + TIMESTEP**2 / 2 * action
        return jnp.concatenate([position, velocity + TIMESTEP * action])

    def observe(self, physics: Float[Array, " physics"]) -> Float[Array, " obs"]:
        return physics

    def physics_from(self, obs: Float[Array, " obs"]) -> Float[Array, " physics"]:
        return obs

    def scene(self, physics: Float[Array, " physics"]) -> Scene:
        """The first two dimensions; a point that leaves the picture stands at its edge."""
        place = jnp.clip(jnp.append(physics[: self.dims], 0.0)[:2], -VIEW, VIEW)
        return Scene([disc(jnp.zeros(2), 0.2, GREEN), disc(place, 0.16, BLUE)], VIEW, PAPER)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        position, velocity = physics[: self.dims], physics[self.dims :]
        (x, y), (x_dot, y_dot) = (np.append(values, 0.0)[:2] for values in (position, velocity))
        canvas = Canvas((0.0, 0.0), 2.1)
        for k in range(-4, 5):
            canvas.line([(k / 2, -1.5), (k / 2, 1.5)], 0.008, PALE)
            canvas.line([(-2.2, k / 2), (2.2, k / 2)], 0.008, PALE)
        canvas.ring((0.0, 0.0), 0.14, 0.03, GREEN)
        canvas.disc((0.0, 0.0), 0.035, GREEN)
        canvas.line([(x, y), (x + 0.5 * x_dot, y + 0.5 * y_dot)], 0.04, ORANGE)
        canvas.disc((x, y), 0.09, BLUE)
        return canvas.frame()
