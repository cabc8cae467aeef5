"""The cart-pole swing-up of PILCO (Deisenroth & Rasmussen 2011), with its software's numbers."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec, SaturatingReward
from .draw import cartpole_scene, draw_cartpole
from .integrate import rk4
from .raster import Scene
from .task import AbstractTask

GRAVITY = 9.82
CART_MASS = POLE_MASS = 0.5  # kg
POLE = 0.5  # m
FRICTION = 0.1  # between cart and ground, N s/m
COST_WIDTH = 0.25  # m
TIMESTEP, SUBSTEPS = 0.02, 5
SPEC = EnvSpec("cartpole-swingup", 4, Box((-10.0,), (10.0,)), max_episode_steps=40, angle_dims=(1,))


def cartpole_derivative(physics: Float[Array, "4"], force: Array) -> Float[Array, "4"]:
    """Velocities and accelerations of cart and pole."""
    _, theta, x_dot, theta_dot = physics
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    total = CART_MASS + POLE_MASS
    push = force - FRICTION * x_dot
    swing = POLE_MASS * POLE * theta_dot**2 * sin
    denominator = 4 * total - 3 * POLE_MASS * cos**2
    acceleration = (2 * swing + 3 * POLE_MASS * GRAVITY * sin * cos + 4 * push) / denominator
    turn = -(3 * swing * cos + 6 * total * GRAVITY * sin + 6 * push * cos) / (POLE * denominator)
    return jnp.stack([x_dot, theta_dot, acceleration, turn])


class CartPoleSwingUp(AbstractTask):
    """Observation (x, theta, x_dot, theta_dot), theta 0 hanging; force in [-10, 10] N; 40 steps of 0.1 s.

    Starts hanging, with N(0, 0.1) on everything; the rail has no end and nothing terminates.
    """

    @property
    def spec(self) -> EnvSpec:
        return SPEC

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (2, 3)

    @property
    def reward_function(self) -> SaturatingReward:
        """exp(-d^2 / (2 0.25^2)), d from the pole's tip to its place upright over 0: 1 - PILCO's cost."""
        return SaturatingReward(
            SPEC, ((1.0, POLE, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, -POLE)), (0.0, POLE), COST_WIDTH
        )

    def first(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        return 0.1 * jr.normal(key, (4,))

    def advance(self, physics: Float[Array, "4"], action: Float[Array, "1"]) -> Float[Array, "4"]:
        def substep(physics, _):
            return rk4(lambda p: cartpole_derivative(p, action[0]), physics, TIMESTEP), None

        return jax.lax.scan(substep, physics, length=SUBSTEPS)[0]

    def observe(self, physics: Float[Array, "4"]) -> Float[Array, "4"]:
        return physics

    def physics_from(self, obs: Float[Array, "4"]) -> Float[Array, "4"]:
        return obs

    def scene(self, physics: Float[Array, "4"]) -> Scene:
        x, theta = physics[:2]
        tip = jnp.stack([x + POLE * jnp.sin(theta), -POLE * jnp.cos(theta)])
        return cartpole_scene(x, tip, target=(0.0, POLE), view=1.2)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        x, theta = physics[:2]
        tip = (x + POLE * math.sin(theta), -POLE * math.cos(theta))
        return draw_cartpole(x, tip, target=(0.0, POLE), rail=None, view=1.6)
