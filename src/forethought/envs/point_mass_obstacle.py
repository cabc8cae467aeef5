"""The point mass with something in its way: linear dynamics, a cost that is not convex."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import BLUE, GREEN, GREY, INK, ORANGE, PAPER, Canvas
from .point_mass import ACTION_COST, TIMESTEP, VELOCITY_COST
from .raster import Scene, disc
from .task import AbstractTask

GOAL = (-1.0, 0.0)
RADIUS = 0.3  # of the obstacle, around the origin
WIDTH, HEIGHT = 0.25, 10.0  # of the bump in the cost: 4.9 at the obstacle's edge


def obstacle_reward(obs: Float[Array, "4"], action: Float[Array, "2"], next_obs: Float[Array, "4"]) -> Array:
    """-(distance^2 to the goal + 0.1 speed^2 + 0.01 |action|^2 + a bump over the obstacle), of the state after."""
    place = next_obs[:2]
    bump = HEIGHT * jnp.exp(-jnp.sum(place**2) / (2 * WIDTH**2))
    distance, speed = jnp.sum((place - jnp.array(GOAL)) ** 2), jnp.sum(next_obs[2:] ** 2)
    return -(distance + VELOCITY_COST * speed + ACTION_COST * jnp.sum(action**2) + bump)


class PointMassObstacle(AbstractTask):
    """Observation (x, y, x_dot, y_dot); acceleration in [-1, 1] along each axis; 100 steps of 0.1 s.

    From rest at x = 1, y in [-0.5, 0.5], to rest at (-1, 0), round a disc of radius 0.3 at the origin. The disc is not
    solid: to be in it costs.
    """

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("point-mass-obstacle", 4, Box((-1.0, -1.0), (1.0, 1.0)), max_episode_steps=100)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (2, 3)

    def goal_distance(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return jnp.linalg.norm(obs[..., :2] - jnp.array(GOAL), axis=-1)

    @property
    def reward_function(self):
        return obstacle_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        return jnp.stack([jnp.ones(()), jr.uniform(key, (), minval=-0.5, maxval=0.5), jnp.zeros(()), jnp.zeros(())])

    def advance(self, physics: Float[Array, "4"], action: Array) -> Float[Array, "4"]:
        position = physics[:2] + TIMESTEP * physics[2:] + TIMESTEP**2 / 2 * action
        return jnp.concatenate([position, physics[2:] + TIMESTEP * action])

    def observe(self, physics: Float[Array, "4"]) -> Float[Array, "4"]:
        return physics

    def physics_from(self, obs: Float[Array, "4"]) -> Float[Array, "4"]:
        return obs

    def scene(self, physics: Float[Array, "4"]) -> Scene:
        place = jnp.clip(physics[:2], -1.5, 1.5)
        goal = disc(jnp.array(GOAL), 0.2, GREEN)
        return Scene([disc(jnp.zeros(2), RADIUS, GREY), goal, disc(place, 0.16, BLUE)], 1.5, PAPER)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        x, y, x_dot, y_dot = (float(value) for value in physics)
        canvas = Canvas((0.0, 0.0), 2.1)
        canvas.disc((0.0, 0.0), RADIUS, GREY)
        canvas.ring((0.0, 0.0), RADIUS, 0.02, INK)
        canvas.ring(GOAL, 0.14, 0.03, GREEN)
        canvas.disc(GOAL, 0.035, GREEN)
        canvas.line([(x, y), (x + 0.5 * x_dot, y + 0.5 * y_dot)], 0.04, ORANGE)
        canvas.disc((x, y), 0.09, BLUE)
        return canvas.frame()
