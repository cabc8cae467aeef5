"""A car seen from above, to be driven to a place: a unicycle, and bicycle models without and with sliding tyres.

The kinematic bicycle rolls where its wheels point. The dynamic one adds lateral velocity and yaw rate, with tyre
forces in proportion to the slip angles (Rajamani 2012, "Vehicle dynamics and control", sec. 2.3), which saturate
smoothly at the grip.
"""

import abc

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import BLUE, GREEN, INK, ORANGE, PALE, Canvas
from .integrate import rk4
from .task import AbstractTask

TIMESTEP, SUBSTEPS = 0.05, 2
FRONT, REAR = 1.2, 1.4  # m from the centre of mass to the axles
MASS, INERTIA = 1200.0, 1800.0  # kg, kg m^2
STIFFNESS, GRIP = 60_000.0, 6_000.0  # of an axle: N per radian of slip, and N at most
LEAST_SPEED = 3.0  # m/s: slip angles are softened about here, for they have none at rest
MAX_ACCELERATION, MAX_STEER, MAX_TURN = 4.0, 0.5, 1.5  # m/s^2, radians, radians/s


def vehicle_reward(obs: Float[Array, " obs"], action: Float[Array, "2"], next_obs: Float[Array, " obs"]) -> Array:
    """-(0.01 distance^2 + (1 - cos heading) + 0.01 speed^2 + 0.02 |action|^2), after the step; 0 at best.

    The heading counts only near the goal: by exp(-distance^2 / 8).
    """
    distance = jnp.sum(next_obs[:2] ** 2)
    heading = jnp.exp(-distance / 8) * (1 - jnp.cos(next_obs[2]))
    return -(0.01 * distance + heading + 0.01 * next_obs[3] ** 2 + 0.02 * jnp.sum(action**2))


class _AbstractVehicle(AbstractTask):
    """A car: (x, y, heading, speed, ...), to come to rest at the origin, heading along x."""

    @abc.abstractmethod
    def derivative(self, physics: Float[Array, " physics"], action: Float[Array, "2"]) -> Float[Array, " physics"]:
        """Of the physical state by time."""

    @property
    def reward_function(self):
        return vehicle_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, " physics"]:
        place_key, heading_key = jr.split(key)
        place = jr.uniform(place_key, (2,), minval=-10.0, maxval=10.0)
        heading = jr.uniform(heading_key, (1,), minval=-jnp.pi, maxval=jnp.pi)
        return jnp.concatenate([place, heading, jnp.zeros(self.spec.obs_dim - 3)])

    def advance(self, physics: Float[Array, " physics"], action: Float[Array, "2"]) -> Float[Array, " physics"]:
        def substep(physics: Array, _: None) -> tuple[Array, None]:
            return rk4(lambda p: self.derivative(p, action), physics, TIMESTEP), None

        return jax.lax.scan(substep, physics, length=SUBSTEPS)[0]

    def observe(self, physics: Float[Array, " physics"]) -> Float[Array, " obs"]:
        return physics

    def physics_from(self, obs: Float[Array, " obs"]) -> Float[Array, " physics"]:
        return obs

    def draw(self, physics: np.ndarray) -> np.ndarray:
        x, y, heading = physics[:3]
        cos, sin = float(np.cos(heading)), float(np.sin(heading))
        at = lambda along, left: (x + along * cos - left * sin, y + along * sin + left * cos)
        canvas = Canvas((0.0, 0.0), 20.0)
        for k in range(-20, 21, 5):
            canvas.line([(k, -14), (k, 14)], 0.05, PALE)
            canvas.line([(-21, k), (21, k)], 0.05, PALE)
        canvas.line([(-2.2, -1.2), (2.2, -1.2), (2.2, 1.2), (-2.2, 1.2), (-2.2, -1.2)], 0.15, GREEN)
        for axle in (-REAR, FRONT):
            for side in (-0.85, 0.85):
                canvas.line([at(axle - 0.4, side), at(axle + 0.4, side)], 0.35, INK)
        canvas.area([at(-2.1, -0.8), at(-2.1, 0.8), at(1.9, 0.8), at(1.9, -0.8)], BLUE)
        canvas.area([at(0.3, -0.7), at(0.3, 0.7), at(1.0, 0.6), at(1.0, -0.6)], ORANGE)
        return canvas.frame()


class Vehicle(_AbstractVehicle):
    """Observation (x, y, heading, speed); acceleration in [-4, 4] m/s^2 and yaw rate in [-1.5, 1.5]; 100 x 0.1 s.

    A unicycle: it can turn where it stands. Starts at rest in [-10, 10]^2, heading anywhere; nothing terminates.
    """

    @property
    def spec(self) -> EnvSpec:
        high = (MAX_ACCELERATION, MAX_TURN)
        return EnvSpec("vehicle", 4, Box((-high[0], -high[1]), high), max_episode_steps=100, angle_dims=(2,))

    def derivative(self, physics: Float[Array, "4"], action: Float[Array, "2"]) -> Float[Array, "4"]:
        _, _, heading, speed = physics
        return jnp.stack([speed * jnp.cos(heading), speed * jnp.sin(heading), action[1], action[0]])


class KinematicBicycle(_AbstractVehicle):
    """As `vehicle`, with a steering angle in [-0.5, 0.5] in place of the yaw rate: it turns only where it rolls."""

    @property
    def spec(self) -> EnvSpec:
        high = (MAX_ACCELERATION, MAX_STEER)
        return EnvSpec("bicycle", 4, Box((-high[0], -high[1]), high), max_episode_steps=100, angle_dims=(2,))

    def derivative(self, physics: Float[Array, "4"], action: Float[Array, "2"]) -> Float[Array, "4"]:
        _, _, heading, speed = physics
        slip = jnp.arctan(REAR / (FRONT + REAR) * jnp.tan(action[1]))
        turn = speed * jnp.sin(slip) / REAR
        return jnp.stack([speed * jnp.cos(heading + slip), speed * jnp.sin(heading + slip), turn, action[0]])


class DynamicBicycle(_AbstractVehicle):
    """As `bicycle`, with tyres that slide: observation (x, y, heading, forward and lateral velocity, yaw rate)."""

    @property
    def spec(self) -> EnvSpec:
        high = (MAX_ACCELERATION, MAX_STEER)
        return EnvSpec("dynamic-bicycle", 6, Box((-high[0], -high[1]), high), max_episode_steps=100, angle_dims=(2,))

    def derivative(self, physics: Float[Array, "6"], action: Float[Array, "2"]) -> Float[Array, "6"]:
        heading, forward, lateral, turn = physics[2:]
        push, steer = action
        rolling = jnp.sqrt(forward**2 + LEAST_SPEED**2)
        # Backwards the wheels steer the other way round, which `forward` in place of its size takes care of.
        front = _tyre(steer * forward / rolling - (lateral + FRONT * turn) / rolling)
        rear = _tyre(-(lateral - REAR * turn) / rolling)
        cos, sin = jnp.cos(heading), jnp.sin(heading)
        return jnp.stack(
            [
                forward * cos - lateral * sin,
                forward * sin + lateral * cos,
                turn,
                push - front * jnp.sin(steer) / MASS + lateral * turn,
                (front * jnp.cos(steer) + rear) / MASS - forward * turn,
                (FRONT * front * jnp.cos(steer) - REAR * rear) / INERTIA,
            ]
        )


def _tyre(slip: Array) -> Array:
    """Lateral force of an axle, N."""
    return GRIP * jnp.tanh(STIFFNESS / GRIP * slip)
