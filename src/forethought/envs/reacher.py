"""A planar arm of two links that has to bring its tip to a target and hold it there; no gravity."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import BLUE, GREEN, INK, ORANGE, PAPER, Canvas
from .integrate import rk4
from .raster import Capsule, Scene, disc
from .task import AbstractTask

LINK, MASS = 0.5, 1.0  # m and kg of each link, a uniform rod
DAMPING = 0.2  # N m s, at each joint
GEAR = (2.0, 1.0)  # N m at full action, shoulder and elbow
TIMESTEP = 0.05
SPEED_COST, ACTION_COST = 0.01, 0.01
START = (0.0, 1.2)  # angles in the middle of the range of starts
FIRST = MASS * LINK**2 * (1 / 3 + 1 / 3 + 1)  # of the inertia: what does not depend on the elbow
COUPLING = MASS * LINK**2 / 2
SECOND = MASS * LINK**2 / 3


def tip(angles: Float[Array, "2"]) -> Float[Array, "2"]:
    """Where the end of the second link is."""
    both = jnp.cumsum(angles)
    return LINK * jnp.stack([jnp.sum(jnp.cos(both)), jnp.sum(jnp.sin(both))])


def _derivative(arm: Float[Array, "4"], torque: Float[Array, "2"]) -> Float[Array, "4"]:
    """Spong, Hutchinson & Vidyasagar 2006, sec. 7.3.2, without gravity."""
    bend, speed = arm[1], arm[2:]
    cos, sin = COUPLING * jnp.cos(bend), COUPLING * jnp.sin(bend)
    a, b, d = FIRST + 2 * cos, SECOND + cos, SECOND
    push = torque - DAMPING * speed
    push += jnp.stack([sin * (2 * speed[0] * speed[1] + speed[1] ** 2), -sin * speed[0] ** 2])
    scale = 1 / (a * d - b**2)
    acceleration = scale * jnp.stack([d * push[0] - b * push[1], a * push[1] - b * push[0]])
    return jnp.concatenate([speed, acceleration])


def reacher_reward(obs: Float[Array, "8"], action: Float[Array, "2"], next_obs: Float[Array, "8"]) -> Array:
    """-(distance^2 + 0.01 |joint speeds|^2 + 0.01 |action|^2), of the state after the step; 0 at best."""
    distance, speed = jnp.sum(next_obs[6:] ** 2), jnp.sum(next_obs[2:4] ** 2)
    return -(distance + SPEED_COST * speed + ACTION_COST * jnp.sum(action**2))


class Reacher(AbstractTask):
    """Observation (two angles, two speeds, target x and y, tip minus target x and y); torques in [-1, 1]; 50 steps.

    Angles are not wrapped; the elbow's is relative to the first link. Starts at rest near (0, 1.2); targets are where
    the tip is for a shoulder in [-1, 1] and an elbow in [0.5, 2].
    """

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("reacher", 8, Box((-1.0, -1.0), (1.0, 1.0)), max_episode_steps=50)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (2, 3)

    def goal_distance(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return jnp.linalg.norm(obs[..., 6:], axis=-1)

    @property
    def reward_function(self):
        return reacher_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "6"]:
        arm_key, target_key = jr.split(key)
        angles = jnp.array(START) + jr.uniform(arm_key, (2,), minval=-0.2, maxval=0.2)
        pose = jr.uniform(target_key, (2,), minval=jnp.array([-1.0, 0.5]), maxval=jnp.array([1.0, 2.0]))
        return jnp.concatenate([angles, jnp.zeros(2), tip(pose)])

    def advance(self, physics: Float[Array, "6"], action: Array) -> Float[Array, "6"]:
        torque = jnp.array(GEAR) * action
        arm = rk4(lambda arm: _derivative(arm, torque), physics[:4], TIMESTEP)
        return jnp.concatenate([arm, physics[4:]])

    def observe(self, physics: Float[Array, "6"]) -> Float[Array, "8"]:
        return jnp.concatenate([physics, tip(physics[:2]) - physics[4:]])

    def physics_from(self, obs: Float[Array, "8"]) -> Float[Array, "6"]:
        return obs[:6]

    def scene(self, physics: Float[Array, "6"]) -> Scene:
        elbow, end = LINK * jnp.stack([jnp.cos(physics[0]), jnp.sin(physics[0])]), tip(physics[:2])
        links = [Capsule(jnp.zeros(2), elbow, 0.06, INK), Capsule(elbow, end, 0.06, ORANGE)]
        return Scene([disc(physics[4:], 0.11, GREEN), *links, disc(end, 0.08, BLUE)], 1.1, PAPER)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        elbow = (LINK * float(np.cos(physics[0])), LINK * float(np.sin(physics[0])))
        along = float(physics[0] + physics[1])
        end = (elbow[0] + LINK * float(np.cos(along)), elbow[1] + LINK * float(np.sin(along)))
        target = (float(physics[4]), float(physics[5]))
        canvas = Canvas((0.3, 0.1), 1.5)
        canvas.ring(target, 0.09, 0.02, GREEN)
        canvas.disc(target, 0.025, GREEN)
        canvas.line([(0.0, 0.0), elbow], 0.08, INK)
        canvas.line([elbow, end], 0.08, ORANGE)
        for joint in ((0.0, 0.0), elbow):
            canvas.disc(joint, 0.025, PAPER)
        canvas.disc(end, 0.055, BLUE)
        return canvas.frame()
