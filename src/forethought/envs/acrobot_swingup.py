"""The acrobot with a motor of any torque within bounds: swing up and balance."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .acrobot import Acrobot, acrobot_derivative
from .integrate import rk4
from .task import AbstractTask

MAX_TORQUE = 10.0  # N m, at the elbow
TIMESTEP, SUBSTEPS = 0.025, 2
WIDTH = 2.0  # m: how near the tip must be to its place
SPEED_COST, TORQUE_COST = 0.001, 0.0005


def acrobot_swingup_reward(obs: Float[Array, "4"], action: Float[Array, "1"], next_obs: Float[Array, "4"]) -> Array:
    """exp(-|tip - (0, 2)|^2 / 8 - 0.001 |speeds|^2) - 0.0005 torque^2, of the state after the step; at most 1."""
    theta1, theta12 = next_obs[0], next_obs[0] + next_obs[1]
    across = jnp.sin(theta1) + jnp.sin(theta12)
    up = -jnp.cos(theta1) - jnp.cos(theta12)
    distance = across**2 + (up - 2.0) ** 2
    speed = jnp.sum(next_obs[2:] ** 2)
    return jnp.exp(-distance / (2 * WIDTH**2) - SPEED_COST * speed) - TORQUE_COST * jnp.sum(action**2)


class AcrobotSwingUp(AbstractTask):
    """Observation (two angles, their speeds), 0 hanging; torque in [-10, 10] N m at the elbow; 200 steps of 0.05 s.

    The links of `acrobot`. Starts hanging, with N(0, 0.05) on everything; nothing terminates.
    """

    @property
    def spec(self) -> EnvSpec:
        bounds = ((-MAX_TORQUE,), (MAX_TORQUE,))
        return EnvSpec("acrobot-swingup", 4, Box(*bounds), max_episode_steps=200, angle_dims=(0, 1))

    @property
    def reward_function(self):
        return acrobot_swingup_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        return 0.05 * jr.normal(key, (4,))

    def advance(self, physics: Float[Array, "4"], action: Float[Array, "1"]) -> Float[Array, "4"]:
        def substep(physics: Array, _: None) -> tuple[Array, None]:
            return rk4(lambda p: acrobot_derivative(p, action[0]), physics, TIMESTEP), None

        return jax.lax.scan(substep, physics, length=SUBSTEPS)[0]

    def observe(self, physics: Float[Array, "4"]) -> Float[Array, "4"]:
        return physics

    def physics_from(self, obs: Float[Array, "4"]) -> Float[Array, "4"]:
        return obs

    def draw(self, physics: np.ndarray) -> np.ndarray:
        return Acrobot().draw(physics)
