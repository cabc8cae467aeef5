"""A quadrotor in the plane: two rotors on a bar, to fly to a place and hover there."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import BLUE, GREEN, GREY, INK, ORANGE, PALE, Canvas
from .integrate import rk4
from .task import AbstractTask

GRAVITY, MASS, ARM, INERTIA = 9.81, 0.5, 0.2, 0.01  # m/s^2, kg, m from the middle to a rotor, kg m^2
HOVER = MASS * GRAVITY / 2  # N of each rotor
MAX_THRUST = 2 * HOVER
TIMESTEP, SUBSTEPS = 0.025, 2


def _derivative(physics: Float[Array, "6"], thrust: Float[Array, "2"]) -> Float[Array, "6"]:
    tilt, (x_dot, y_dot, tilt_dot) = physics[2], physics[3:]
    lift = (thrust[0] + thrust[1]) / MASS
    turn = ARM * (thrust[1] - thrust[0]) / INERTIA
    return jnp.stack([x_dot, y_dot, tilt_dot, -lift * jnp.sin(tilt), lift * jnp.cos(tilt) - GRAVITY, turn])


def quadrotor_reward(obs: Float[Array, "6"], action: Float[Array, "2"], next_obs: Float[Array, "6"]) -> Array:
    """-(distance^2 + 0.1 (1 - cos tilt) + 0.05 |velocities|^2 + 0.01 |thrust - hover|^2), after the step; 0 at best."""
    distance, speed = jnp.sum(next_obs[:2] ** 2), jnp.sum(next_obs[3:] ** 2)
    return -(distance + 0.1 * (1 - jnp.cos(next_obs[2])) + 0.05 * speed + 0.01 * jnp.sum((action - HOVER) ** 2))


class PlanarQuadrotor(AbstractTask):
    """Observation (x, y, tilt, their velocities), to be 0; the rotors' thrusts in [0, 4.9] N; 120 steps of 0.05 s.

    Starts at rest in [-1.5, 1.5]^2, tilted by N(0, 0.3); nothing terminates.
    """

    @property
    def spec(self) -> EnvSpec:
        bounds = Box((0.0, 0.0), (MAX_THRUST, MAX_THRUST))
        return EnvSpec("planar-quadrotor", 6, bounds, max_episode_steps=120, angle_dims=(2,))

    @property
    def reward_function(self):
        return quadrotor_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "6"]:
        place_key, tilt_key = jr.split(key)
        place = jr.uniform(place_key, (2,), minval=-1.5, maxval=1.5)
        return jnp.concatenate([place, 0.3 * jr.normal(tilt_key, (1,)), jnp.zeros(3)])

    def advance(self, physics: Float[Array, "6"], action: Float[Array, "2"]) -> Float[Array, "6"]:
        def substep(physics: Array, _: None) -> tuple[Array, None]:
            return rk4(lambda p: _derivative(p, action), physics, TIMESTEP), None

        return jax.lax.scan(substep, physics, length=SUBSTEPS)[0]

    def observe(self, physics: Float[Array, "6"]) -> Float[Array, "6"]:
        return physics

    def physics_from(self, obs: Float[Array, "6"]) -> Float[Array, "6"]:
        return obs

    def draw(self, physics: np.ndarray) -> np.ndarray:
        x, y, tilt = physics[:3]
        cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
        at = lambda along, out: (x + along * cos - out * sin, y + along * sin + out * cos)
        canvas = Canvas((0.0, 0.0), 3.0)
        for k in range(-4, 5):
            canvas.line([(k, -2.2), (k, 2.2)], 0.01, PALE)
            canvas.line([(-4.0, k), (4.0, k)], 0.01, PALE)
        canvas.ring((0.0, 0.0), 0.16, 0.03, GREEN)
        canvas.line([at(-ARM, 0.0), at(ARM, 0.0)], 0.05, INK)
        for side, colour in ((-ARM, ORANGE), (ARM, BLUE)):
            canvas.line([at(side, 0.0), at(side, 0.09)], 0.03, GREY)
            canvas.line([at(side - 0.13, 0.09), at(side + 0.13, 0.09)], 0.035, colour)
        return canvas.frame()
