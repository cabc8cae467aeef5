"""Gymnasium's Acrobot-v1 (Sutton & Barto's equations): two links, a motor at the elbow, swing the tip up."""

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..types import Discrete, EnvSpec
from .draw import BLUE, GREEN, INK, ORANGE, PAPER, Canvas
from .integrate import rk4
from .raster import Capsule, Scene, disc
from .task import AbstractTask

GRAVITY = 9.8
MASS = LINK = INERTIA = 1.0  # of both links
CENTRE = 0.5  # m, from a link's joint to its centre of mass
MAX_SPEEDS = (4 * math.pi, 9 * math.pi)
TIMESTEP = 0.2


def acrobot_derivative(physics: Float[Array, "4"], torque: Array) -> Float[Array, "4"]:
    """Speeds and accelerations of the links."""
    theta1, theta2, speed1, speed2 = physics
    d1 = MASS * CENTRE**2 + MASS * (LINK**2 + CENTRE**2 + 2 * LINK * CENTRE * jnp.cos(theta2)) + 2 * INERTIA
    d2 = MASS * (CENTRE**2 + LINK * CENTRE * jnp.cos(theta2)) + INERTIA
    phi2 = MASS * CENTRE * GRAVITY * jnp.sin(theta1 + theta2)
    coupling = MASS * LINK * CENTRE * jnp.sin(theta2)
    phi1 = -coupling * (speed2**2 + 2 * speed1 * speed2)
    phi1 += MASS * (CENTRE + LINK) * GRAVITY * jnp.sin(theta1) + phi2
    elbow = torque + d2 / d1 * phi1 - coupling * speed1**2 - phi2
    elbow /= MASS * CENTRE**2 + INERTIA - d2**2 / d1
    return jnp.stack([speed1, speed2, -(d2 * elbow + phi1) / d1, elbow])


def acrobot_termination(obs: Float[Array, "6"], action: Int[Array, ""], next_obs: Float[Array, "6"]) -> Bool[Array, ""]:
    """True where the tip is more than one link above the shoulder."""
    cos1, sin1, cos2, sin2 = next_obs[:4]
    return -cos1 - (cos1 * cos2 - sin1 * sin2) > 1.0


def acrobot_reward(obs: Float[Array, "6"], action: Int[Array, ""], next_obs: Float[Array, "6"]) -> Array:
    """-1 for every step that does not reach the goal."""
    return jnp.where(acrobot_termination(obs, action, next_obs), 0.0, -1.0)


class Acrobot(AbstractTask):
    """Observation (cos 1, sin 1, cos 2, sin 2, two speeds), angles 0 hanging; torque -1, 0, 1; 500 steps."""

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("acrobot", 6, Discrete(3), max_episode_steps=500)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (4, 5)

    @property
    def reward_function(self):
        return acrobot_reward

    @property
    def termination_function(self):
        return acrobot_termination

    def first(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        return jr.uniform(key, (4,), minval=-0.1, maxval=0.1)

    def advance(self, physics: Float[Array, "4"], action: Int[Array, ""]) -> Float[Array, "4"]:
        torque = jnp.asarray(action, jnp.float32) - 1
        physics = rk4(lambda p: acrobot_derivative(p, torque), physics, TIMESTEP)
        angles = (physics[:2] + jnp.pi) % (2 * jnp.pi) - jnp.pi
        limits = jnp.array(MAX_SPEEDS)
        return jnp.concatenate([angles, jnp.clip(physics[2:], -limits, limits)])

    def observe(self, physics: Float[Array, "4"]) -> Float[Array, "6"]:
        cos, sin = jnp.cos(physics[:2]), jnp.sin(physics[:2])
        return jnp.stack([cos[0], sin[0], cos[1], sin[1], physics[2], physics[3]])

    def physics_from(self, obs: Float[Array, "6"]) -> Float[Array, "4"]:
        angles = [jnp.arctan2(obs[1], obs[0]), jnp.arctan2(obs[3], obs[2])]
        return jnp.stack([*angles, obs[4], obs[5]])

    def scene(self, physics: Float[Array, "4"]) -> Scene:
        theta1, theta12 = physics[0], physics[0] + physics[1]
        shoulder, elbow = jnp.zeros(2), jnp.stack([jnp.sin(theta1), -jnp.cos(theta1)])
        tip = elbow + jnp.stack([jnp.sin(theta12), -jnp.cos(theta12)])
        goal = Capsule(jnp.array([-3.0, 1.0]), jnp.array([3.0, 1.0]), 0.05, GREEN)
        links = [Capsule(shoulder, elbow, 0.14, INK), Capsule(elbow, tip, 0.14, ORANGE)]
        return Scene([goal, *links, disc(tip, 0.2, BLUE)], 2.3, PAPER)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        theta1, theta2 = physics[:2]
        elbow = (math.sin(theta1), -math.cos(theta1))
        tip = (elbow[0] + math.sin(theta1 + theta2), elbow[1] - math.cos(theta1 + theta2))
        canvas = Canvas((0.0, 0.0), 3.4)
        canvas.line([(-4.0, 1.0), (4.0, 1.0)], 0.03, GREEN)
        canvas.line([(0.0, 0.0), elbow], 0.17, INK)
        canvas.line([elbow, tip], 0.17, ORANGE)
        for joint in ((0.0, 0.0), elbow):
            canvas.disc(joint, 0.06, PAPER)
        canvas.disc(tip, 0.14, BLUE)
        return canvas.frame()
