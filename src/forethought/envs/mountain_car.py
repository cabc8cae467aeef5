"""Gymnasium's MountainCar-v0 and MountainCarContinuous-v0: rock an underpowered car out of a valley."""

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..types import Box, Discrete, EnvSpec
from .draw import GREEN, GREY, INK, ORANGE, PALE, PAPER, Canvas
from .raster import Capsule, Land, Scene, disc
from .task import AbstractTask

LEFT, RIGHT, MAX_SPEED, GRAVITY = -1.2, 0.6, 0.07, 0.0025
GOAL, CONTINUOUS_GOAL = 0.5, 0.45
MIDDLE = (-0.3, 0.75)  # of the picture
FORCE, POWER = 0.001, 0.0015

_BODY = (  # the car's outline: (forward, above the ground)
    (-0.095, 0.035),
    (-0.095, 0.075),
    (-0.06, 0.082),
    (-0.04, 0.125),
    (0.03, 0.125),
    (0.055, 0.082),
    (0.1, 0.07),
    (0.1, 0.035),
)


def _move(physics: Float[Array, "2"], push: Array) -> Float[Array, "2"]:
    position, velocity = physics
    velocity = jnp.clip(velocity + push - GRAVITY * jnp.cos(3 * position), -MAX_SPEED, MAX_SPEED)
    position = jnp.clip(position + velocity, LEFT, RIGHT)
    velocity = jnp.where((position <= LEFT) & (velocity < 0), 0.0, velocity)
    return jnp.stack([position, velocity])


def _height(position: Array) -> Array:
    return 0.45 * jnp.sin(3 * position) + 0.55


def _land(x: np.ndarray) -> np.ndarray:
    """The hill as a scene has it: the middle of the road in the middle of the picture."""
    return 0.45 * np.sin(3 * (x + MIDDLE[0])) + 0.55 - MIDDLE[1]


def _scene(position: Array, goal: float) -> Scene:
    def at(x: Array, above: float | Array) -> Array:
        return jnp.stack([x - MIDDLE[0], _height(x) + above - MIDDLE[1]])

    slope = jnp.arctan(3 * 0.45 * jnp.cos(3 * position))
    along, out = jnp.stack([jnp.cos(slope), jnp.sin(slope)]), jnp.stack([-jnp.sin(slope), jnp.cos(slope)])
    car = at(position, 0.0)
    wheels = [disc(car + side * along + 0.05 * out, 0.06, INK) for side in (-0.08, 0.08)]
    body = Capsule(car - 0.07 * along + 0.12 * out, car + 0.07 * along + 0.12 * out, 0.075, ORANGE)
    flag = jnp.array(goal)
    pole = Capsule(at(flag, 0.0), at(flag, 0.28), 0.015, INK)
    return Scene([pole, disc(at(flag, 0.3), 0.07, GREEN), body, *wheels], 1.05, PAPER, Land(_land, GREY))


def _draw(position: float, goal: float) -> np.ndarray:
    def ground(x):
        return 0.45 * math.sin(3 * x) + 0.55

    canvas = Canvas((-0.3, 0.62), 1.06)
    hill = [(-1.4 + 2.2 * i / 120, ground(-1.4 + 2.2 * i / 120)) for i in range(121)]
    canvas.area([*hill, (0.8, -1.0), (-1.4, -1.0)], PALE)
    canvas.line(hill, 0.012, INK)
    canvas.line([(goal, ground(goal)), (goal, ground(goal) + 0.22)], 0.01, INK)
    top = ground(goal) + 0.22
    canvas.area([(goal, top), (goal - 0.12, top - 0.04), (goal, top - 0.08)], GREEN)
    slope = math.atan(3 * 0.45 * math.cos(3 * position))
    along, out = (math.cos(slope), math.sin(slope)), (-math.sin(slope), math.cos(slope))

    def at(forward: float, above: float) -> tuple[float, float]:
        x, y = position + forward * along[0] + above * out[0], forward * along[1] + above * out[1]
        return x, y + ground(position)

    canvas.area([at(forward, above) for forward, above in _BODY], ORANGE)
    for wheel in (-0.052, 0.052):
        canvas.disc(at(wheel, 0.034), 0.03, INK)
        canvas.disc(at(wheel, 0.034), 0.012, PAPER)
    return canvas.frame()


def mountain_car_termination(
    obs: Float[Array, "2"], action: Int[Array, ""], next_obs: Float[Array, "2"]
) -> Bool[Array, ""]:
    """True at the goal, not moving back."""
    return (next_obs[0] >= GOAL) & (next_obs[1] >= 0)


def mountain_car_reward(obs: Float[Array, "2"], action: Int[Array, ""], next_obs: Float[Array, "2"]) -> Array:
    """-1 for every step, the last one included."""
    return -jnp.ones(())


class MountainCar(AbstractTask):
    """Observation (position, velocity); actions 0 left, 1 none, 2 right; 200 steps."""

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("mountain-car", 2, Discrete(3), max_episode_steps=200)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (1,)

    @property
    def reward_function(self):
        return mountain_car_reward

    @property
    def termination_function(self):
        return mountain_car_termination

    def first(self, key: PRNGKeyArray) -> Float[Array, "2"]:
        return jnp.stack([jr.uniform(key, minval=-0.6, maxval=-0.4), jnp.zeros(())])

    def advance(self, physics: Float[Array, "2"], action: Int[Array, ""]) -> Float[Array, "2"]:
        return _move(physics, (jnp.asarray(action, jnp.float32) - 1) * FORCE)

    def observe(self, physics: Float[Array, "2"]) -> Float[Array, "2"]:
        return physics

    def physics_from(self, obs: Float[Array, "2"]) -> Float[Array, "2"]:
        return obs

    def scene(self, physics: Float[Array, "2"]) -> Scene:
        return _scene(physics[0], GOAL)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        return _draw(float(physics[0]), GOAL)


def mountain_car_continuous_termination(
    obs: Float[Array, "2"], action: Float[Array, "1"], next_obs: Float[Array, "2"]
) -> Bool[Array, ""]:
    """True at the goal, not moving back."""
    return (next_obs[0] >= CONTINUOUS_GOAL) & (next_obs[1] >= 0)


def mountain_car_continuous_reward(
    obs: Float[Array, "2"], action: Float[Array, "1"], next_obs: Float[Array, "2"]
) -> Array:
    """100 at the goal, less 0.1 force^2 for every step."""
    goal = mountain_car_continuous_termination(obs, action, next_obs)
    return jnp.where(goal, 100.0, 0.0) - 0.1 * jnp.sum(action**2)


class MountainCarContinuous(AbstractTask):
    """Observation (position, velocity); force in [-1, 1]; 999 steps."""

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("mountain-car-continuous", 2, Box((-1.0,), (1.0,)), max_episode_steps=999)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (1,)

    @property
    def reward_function(self):
        return mountain_car_continuous_reward

    @property
    def termination_function(self):
        return mountain_car_continuous_termination

    def first(self, key: PRNGKeyArray) -> Float[Array, "2"]:
        return jnp.stack([jr.uniform(key, minval=-0.6, maxval=-0.4), jnp.zeros(())])

    def advance(self, physics: Float[Array, "2"], action: Float[Array, "1"]) -> Float[Array, "2"]:
        return _move(physics, action[0] * POWER)

    def observe(self, physics: Float[Array, "2"]) -> Float[Array, "2"]:
        return physics

    def physics_from(self, obs: Float[Array, "2"]) -> Float[Array, "2"]:
        return obs

    def scene(self, physics: Float[Array, "2"]) -> Scene:
        return _scene(physics[0], CONTINUOUS_GOAL)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        return _draw(float(physics[0]), CONTINUOUS_GOAL)
