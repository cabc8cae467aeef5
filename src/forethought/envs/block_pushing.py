"""Two fingers on a table have to push a round block to a place, which they can only do from behind."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import BLUE, GREEN, INK, ORANGE, PAPER, Canvas
from .raster import Scene, disc
from .task import AbstractTask

FINGER, BLOCK = 0.05, 0.14  # radii, m; fingers together and block weigh 1 kg each
APART = 0.1  # m of each finger from the middle between them, along y
STIFFNESS = 400.0  # N/m of the contact
SOFTNESS = 0.01  # m over which the contact sets in
FRICTION = (1.0, 5.0)  # N s/m on the table, of fingers and block
GEAR = 3.0  # N at full action, along each axis
TIMESTEP, SUBSTEPS = 0.05, 5
REACH_COST, SPEED_COST, ACTION_COST = 0.1, 0.01, 0.01


def pushing_reward(obs: Float[Array, "8"], action: Float[Array, "2"], next_obs: Float[Array, "8"]) -> Array:
    """-(distance^2 of the block + 0.1 from fingers to block, squared, + 0.01 |speeds|^2 + 0.01 |action|^2); below 0."""
    block, away = jnp.sum(next_obs[4:6] ** 2), jnp.sum((next_obs[:2] - next_obs[4:6]) ** 2)
    speed = jnp.sum(next_obs[2:4] ** 2) + jnp.sum(next_obs[6:] ** 2)
    return -(block + REACH_COST * away + SPEED_COST * speed + ACTION_COST * jnp.sum(action**2))


def _fingers(place: Float[Array, "2"]) -> list[Float[Array, "2"]]:
    """Where they are, from the middle between them."""
    return [place + jnp.array([0.0, side * APART]) for side in (-1.0, 1.0)]


def _substep(physics: Float[Array, "8"], force: Float[Array, "2"], dt: float) -> Float[Array, "8"]:
    place, speed, block, block_speed = physics[:2], physics[2:4], physics[4:6], physics[6:]
    push = jnp.zeros(2)
    for finger in _fingers(place):
        away = block - finger
        distance = jnp.sqrt(jnp.sum(away**2) + 1e-8)
        overlap = SOFTNESS * jax.nn.softplus((FINGER + BLOCK - distance) / SOFTNESS)
        push += STIFFNESS * overlap * away / distance
    speed = speed + dt * (force - FRICTION[0] * speed - push)
    block_speed = block_speed + dt * (push - FRICTION[1] * block_speed)
    return jnp.concatenate([place + dt * speed, speed, block + dt * block_speed, block_speed])


class BlockPushing(AbstractTask):
    """Observation (fingers' x, y and speeds, block's x, y and speeds); force in [-1, 1] along each axis; 60 steps.

    The block has to come to rest at the origin. It starts at x from 0.4 to 0.7, y from -0.15 to 0.15, the fingers on
    its far side. Contact is a stiff spring without friction; the table slows both.
    """

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("block-pushing", 8, Box((-1.0, -1.0), (1.0, 1.0)), max_episode_steps=60)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (2, 3, 6, 7)

    def goal_distance(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return jnp.linalg.norm(obs[..., 4:6], axis=-1)

    @property
    def reward_function(self):
        return pushing_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "8"]:
        low, high = jnp.array([0.4, -0.15, 0.2, -0.05]), jnp.array([0.7, 0.15, 0.3, 0.05])
        drawn, rest = jr.uniform(key, (4,), minval=low, maxval=high), jnp.zeros(2)
        return jnp.concatenate([drawn[:2] + drawn[2:], rest, drawn[:2], rest])

    def advance(self, physics: Float[Array, "8"], action: Array) -> Float[Array, "8"]:
        for _ in range(SUBSTEPS):
            physics = _substep(physics, GEAR * action, TIMESTEP / SUBSTEPS)
        return physics

    def observe(self, physics: Float[Array, "8"]) -> Float[Array, "8"]:
        return physics

    def physics_from(self, obs: Float[Array, "8"]) -> Float[Array, "8"]:
        return obs

    def scene(self, physics: Float[Array, "8"]) -> Scene:
        fingers = [disc(finger, FINGER, INK) for finger in _fingers(physics[:2])]
        return Scene([disc(jnp.zeros(2), 0.09, GREEN), disc(physics[4:6], BLOCK, ORANGE), *fingers], 1.2, PAPER)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        (x, y), block = ((float(physics[k]), float(physics[k + 1])) for k in (0, 4))
        canvas = Canvas((0.3, 0.0), 1.2)
        canvas.disc(block, BLOCK, ORANGE)
        canvas.ring((0.0, 0.0), BLOCK, 0.015, GREEN)
        canvas.disc((0.0, 0.0), 0.02, GREEN)
        canvas.line([(x, y - APART), (x, y + APART)], 0.02, INK)
        for side in (-APART, APART):
            canvas.disc((x, y + side), FINGER, BLUE)
        return canvas.frame()
