"""Gymnasium's Pendulum-v1: swing up a pendulum that the motor cannot lift."""

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import BLUE, GREEN, GREY, INK, ORANGE, PAPER, Canvas
from .raster import Capsule, Scene, disc
from .task import AbstractTask

GRAVITY, MASS, LENGTH, TIMESTEP = 10.0, 1.0, 1.0, 0.05
MAX_SPEED, MAX_TORQUE = 8.0, 2.0


def pendulum_reward(obs: Float[Array, "3"], action: Float[Array, "1"], next_obs: Float[Array, "3"]) -> Array:
    """-(angle^2 + 0.1 angular velocity^2 + 0.001 torque^2), of the state *before* the step; 0 at best."""
    angle = jnp.arctan2(obs[1], obs[0])
    return -(angle**2 + 0.1 * obs[2] ** 2 + 0.001 * jnp.sum(action**2))


class Pendulum(AbstractTask):
    """Observation (cos, sin, angular velocity), angle 0 upright; torque in [-2, 2]; 200 steps of 0.05 s."""

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("pendulum", 3, Box((-MAX_TORQUE,), (MAX_TORQUE,)), max_episode_steps=200)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (2,)

    @property
    def reward_function(self):
        return pendulum_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "2"]:
        high = jnp.array([jnp.pi, 1.0])
        return jr.uniform(key, (2,), minval=-high, maxval=high)

    def advance(self, physics: Float[Array, "2"], action: Float[Array, "1"]) -> Float[Array, "2"]:
        angle, speed = physics
        gain = 3 * GRAVITY / (2 * LENGTH) * jnp.sin(angle) + 3 / (MASS * LENGTH**2) * action[0]
        speed = jnp.clip(speed + gain * TIMESTEP, -MAX_SPEED, MAX_SPEED)
        return jnp.stack([angle + speed * TIMESTEP, speed])

    def observe(self, physics: Float[Array, "2"]) -> Float[Array, "3"]:
        angle, speed = physics
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])

    def physics_from(self, obs: Float[Array, "3"]) -> Float[Array, "2"]:
        return jnp.stack([jnp.arctan2(obs[1], obs[0]), obs[2]])

    def scene(self, physics: Float[Array, "2"]) -> Scene:
        tip = jnp.stack([-jnp.sin(physics[0]), jnp.cos(physics[0])])
        pivot, goal = jnp.zeros(2), jnp.array([0.0, 1.0])
        shapes = [disc(goal, 0.16, GREEN), Capsule(pivot, tip, 0.11, ORANGE), disc(tip, 0.16, BLUE)]
        return Scene([*shapes, disc(pivot, 0.12, INK)], 1.3, PAPER)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        angle = physics[0]
        tip = (-math.sin(angle), math.cos(angle))
        canvas = Canvas((0.0, 0.0), 2.0)
        canvas.ring((0.0, 0.0), 1.0, 0.012, GREY)
        canvas.ring((0.0, 1.0), 0.15, 0.03, GREEN)
        canvas.line([(0.0, 0.0), tip], 0.12, ORANGE)
        canvas.disc((0.0, 0.0), 0.1, INK)
        canvas.disc((0.0, 0.0), 0.04, PAPER)
        canvas.disc(tip, 0.1, BLUE)
        return canvas.frame()
