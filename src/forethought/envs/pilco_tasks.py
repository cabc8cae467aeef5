"""The scenarios of PILCO (Deisenroth & Rasmussen 2011) with the numbers of its software, measurement noise included."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec, SaturatingReward
from .cartpole_swingup import CartPoleSwingUp
from .draw import BLUE, GREEN, GREY, INK, ORANGE, PAPER, Canvas
from .integrate import rk4
from .measured import Measured
from .raster import Capsule, Scene, disc
from .task import AbstractTask

GRAVITY, MASS, LENGTH = 9.82, 1.0, 1.0  # m/s^2, kg, m: a rod
FRICTION = 0.01  # N m s
MAX_TORQUE = 2.5  # N m
COST_WIDTH = 0.5  # m
TIMESTEP, SUBSTEPS = 0.02, 5
SPEC = EnvSpec("pilco-pendulum", 2, Box((-MAX_TORQUE,), (MAX_TORQUE,)), max_episode_steps=40, angle_dims=(0,))


class PilcoPendulum(AbstractTask):
    """Observation (angle, angular velocity), angle 0 hanging; torque in [-2.5, 2.5] N m, half of what lifts the rod.

    Starts hanging, with N(0, 0.1) on both; 40 steps of 0.1 s; nothing terminates.
    """

    @property
    def spec(self) -> EnvSpec:
        return SPEC

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (1,)

    @property
    def reward_function(self) -> SaturatingReward:
        """exp(-d^2 / (2 0.5^2)), d from the rod's tip to its place upright: 1 - PILCO's cost."""
        return SaturatingReward(SPEC, ((LENGTH, 0.0, 0.0), (0.0, 0.0, -LENGTH)), (0.0, LENGTH), COST_WIDTH)

    def first(self, key: PRNGKeyArray) -> Float[Array, "2"]:
        return 0.1 * jr.normal(key, (2,))

    def advance(self, physics: Float[Array, "2"], action: Float[Array, "1"]) -> Float[Array, "2"]:
        def derivative(physics: Array) -> Array:
            angle, speed = physics
            torque = action[0] - FRICTION * speed - MASS * GRAVITY * LENGTH * jnp.sin(angle) / 2
            return jnp.stack([speed, 3 * torque / (MASS * LENGTH**2)])

        return jax.lax.scan(lambda p, _: (rk4(derivative, p, TIMESTEP), None), physics, length=SUBSTEPS)[0]

    def observe(self, physics: Float[Array, "2"]) -> Float[Array, "2"]:
        return physics

    def physics_from(self, obs: Float[Array, "2"]) -> Float[Array, "2"]:
        return obs

    def scene(self, physics: Float[Array, "2"]) -> Scene:
        tip = LENGTH * jnp.stack([jnp.sin(physics[0]), -jnp.cos(physics[0])])
        pivot, goal = jnp.zeros(2), jnp.array([0.0, LENGTH])
        shapes = [disc(goal, 0.16, GREEN), Capsule(pivot, tip, 0.11, ORANGE), disc(tip, 0.16, BLUE)]
        return Scene([*shapes, disc(pivot, 0.12, INK)], 1.3, PAPER)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        tip = (LENGTH * math.sin(physics[0]), -LENGTH * math.cos(physics[0]))
        canvas = Canvas((0.0, 0.0), 2.0)
        canvas.ring((0.0, 0.0), LENGTH, 0.012, GREY)
        canvas.ring((0.0, LENGTH), 0.15, 0.03, GREEN)
        canvas.line([(0.0, 0.0), tip], 0.12, ORANGE)
        canvas.disc((0.0, 0.0), 0.1, INK)
        canvas.disc(tip, 0.1, BLUE)
        return canvas.frame()


def pilco_pendulum() -> Measured:
    """The pendulum, measured with deviations of 0.01 rad and 0.1 rad/s."""
    return Measured(PilcoPendulum(), (0.01, 0.1), "pilco-pendulum")


def pilco_cartpole() -> Measured:
    """`cartpole-swingup`, measured with deviations of 0.01 in every dimension."""
    return Measured(CartPoleSwingUp(), (0.01,) * 4, "pilco-cartpole")
