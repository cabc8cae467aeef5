"""The pendulum in a wind that turns at random: a task of our own for models that remember and models that guess."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .pendulum import MAX_TORQUE, Pendulum, pendulum_reward
from .raster import Scene
from .task import AbstractTask

STRENGTH = 1.0  # the wind's torque, half the motor's
TURN = 0.04  # probability per step that the wind turns round: every 25 steps on average

_CALM = Pendulum()


class PendulumWind(AbstractTask):
    """`pendulum`, pushed by a wind whose torque is 1 or -1 and changes its sign with probability 0.04 a step.

    Observation (cos, sin, angular velocity, wind), angle 0 upright; torque in [-2, 2]; 200 steps of 0.05 s; the
    pendulum's reward. Without velocities (`pendulum-wind-no-velocity`: cos and sin alone) both speed and wind have to
    be remembered from what was seen, and when the wind turns cannot be known beforehand.
    """

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("pendulum-wind", 4, Box((-MAX_TORQUE,), (MAX_TORQUE,)), max_episode_steps=200)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (2, 3)

    @property
    def reward_function(self):
        return pendulum_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "3"]:
        start_key, wind_key = jr.split(key)
        return jnp.append(_CALM.first(start_key), STRENGTH * jr.rademacher(wind_key, dtype=jnp.float32))

    def advance(self, physics: Float[Array, "3"], action: Float[Array, "1"]) -> Float[Array, "3"]:
        return jnp.append(_CALM.advance(physics[:2], action + physics[2]), physics[2])

    def disturb(self, physics: Float[Array, "3"], key: PRNGKeyArray) -> Float[Array, "3"]:
        return physics.at[2].multiply(jnp.where(jr.bernoulli(key, TURN), -1.0, 1.0))

    def observe(self, physics: Float[Array, "3"]) -> Float[Array, "4"]:
        return jnp.append(_CALM.observe(physics[:2]), physics[2])

    def physics_from(self, obs: Float[Array, "4"]) -> Float[Array, "3"]:
        return jnp.append(_CALM.physics_from(obs[:3]), obs[3])

    def scene(self, physics: Float[Array, "3"]) -> Scene:
        return _CALM.scene(physics[:2])

    def draw(self, physics: np.ndarray) -> np.ndarray:
        return _CALM.draw(physics[:2])
