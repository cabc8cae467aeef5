"""The cart-pole of PETS (Chua et al. 2018): a heavy pole on a cart, to be swung up from hanging.

MuJoCo's equations of motion for this model, written out: the tests hold it against MuJoCo step by step, the
rail's ends included.
"""

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Box, EnvSpec
from .draw import cartpole_scene, draw_cartpole
from .integrate import rk4
from .raster import Scene
from .task import AbstractTask

GRAVITY = 9.81
DAMPING = 1.0  # of both joints, N s/m and N m s/rad
GEAR = 100.0  # N per unit of control
RAIL = 2.5  # the slider's range, m
POLE = 0.6  # m
TIMESTEP, SUBSTEPS = 0.02, 2


def _capsule(radius: float, length: float, density: float = 1000.0) -> tuple[float, float]:
    """Mass, and moment of inertia about an axis through the middle and across the length."""
    cylinder = density * math.pi * radius**2 * length
    caps = density * 4 / 3 * math.pi * radius**3
    inertia = cylinder * (3 * radius**2 + length**2) / 12
    inertia += caps * (2 * radius**2 / 5 + length**2 / 4 + 3 * length * radius / 8)
    return cylinder + caps, inertia


CART_MASS, _ = _capsule(radius=0.1, length=0.2)
# The original draws the pole from (0, 0) to (0.001, -0.6) of the cart: its centre is half a millimetre off.
CENTRE_X, CENTRE_Z = 0.0005, -0.3
POLE_MASS, _POLE_INERTIA = _capsule(radius=0.049, length=2 * math.hypot(CENTRE_X, CENTRE_Z))
PIVOT_INERTIA = _POLE_INERTIA + POLE_MASS * (CENTRE_X**2 + CENTRE_Z**2)

# MuJoCo's default soft limit (solref 0.02 1, solimp 0.9 0.95 0.001 0.5 2). Its time constant is never below
# two time steps, and its regularisation is scaled by the slider's inverse inertia with the pole hanging.
_SOFT, _STIFF, _WIDTH = 0.9, 0.95, 0.001
_TIME_CONSTANT = max(0.02, 2 * TIMESTEP)
_LIMIT_DAMPING = 2 / (_STIFF * _TIME_CONSTANT)
_LIMIT_STIFFNESS = 1 / (_STIFF * _TIME_CONSTANT) ** 2
_INVERSE_WEIGHT = PIVOT_INERTIA / ((CART_MASS + POLE_MASS) * PIVOT_INERTIA - (POLE_MASS * CENTRE_Z) ** 2)


def _impedance(penetration: Array) -> Array:
    """MuJoCo's d(r): from 0.9 to 0.95 over the first millimetre, along two parabolas."""
    depth = jnp.clip(penetration / _WIDTH, 0.0, 1.0)
    smooth = jnp.where(depth <= 0.5, 2 * depth**2, 1 - 2 * (1 - depth) ** 2)
    return _SOFT + smooth * (_STIFF - _SOFT)


def _limit_force(x: Array, x_dot: Array, free_acceleration: Array, inverse_inertia: Array) -> Array:
    """The rail end's push: MuJoCo's soft constraint has a closed form where there is only one."""
    side = jnp.sign(x)
    penetration = jnp.abs(x) - RAIL
    impedance = _impedance(penetration)
    wanted = -_LIMIT_DAMPING * x_dot - _LIMIT_STIFFNESS * impedance * penetration * side
    regularisation = (1 - impedance) / impedance * _INVERSE_WEIGHT
    force = (wanted - free_acceleration) / (inverse_inertia + regularisation)
    pushes_back = (penetration > 0) & (force * side < 0)
    return jnp.where(pushes_back, force, 0.0)


def _derivative(physics: Float[Array, "4"], force: Array) -> Float[Array, "4"]:
    x, theta, x_dot, theta_dot = physics
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    across = CENTRE_X * cos + CENTRE_Z * sin  # the pole's centre, seen from the hinge
    up = CENTRE_Z * cos - CENTRE_X * sin
    mass, coupling = CART_MASS + POLE_MASS, POLE_MASS * up
    determinant = mass * PIVOT_INERTIA - coupling**2
    push = force - DAMPING * x_dot + POLE_MASS * across * theta_dot**2
    torque = POLE_MASS * GRAVITY * across - DAMPING * theta_dot
    inverse_inertia = PIVOT_INERTIA / determinant
    free = inverse_inertia * push - coupling / determinant * torque
    push = push + _limit_force(x, x_dot, free, inverse_inertia)
    acceleration = (PIVOT_INERTIA * push - coupling * torque) / determinant
    turn = (mass * torque - coupling * push) / determinant
    return jnp.stack([x_dot, theta_dot, acceleration, turn])


def pets_cartpole_reward(obs: Float[Array, "4"], action: Float[Array, "1"], next_obs: Float[Array, "4"]) -> Array:
    """exp(-|tip - (0, 0.6)|^2 / 0.6^2) - 0.01 action^2, with the tip after the step; at most 1."""
    x, theta = next_obs[0], next_obs[1]
    across = x - POLE * jnp.sin(theta)
    up = -POLE * jnp.cos(theta)
    distance = across**2 + (up - POLE) ** 2
    return jnp.exp(-distance / POLE**2) - 0.01 * jnp.sum(action**2)


class PetsCartPole(AbstractTask):
    """Observation (x, theta, x_dot, theta_dot), theta 0 hanging; control in [-3, 3]; 200 steps of 0.04 s.

    Starts hanging, with N(0, 0.1) on positions and velocities. Never terminates: at the rail's ends, +-2.5 m,
    the cart is stopped by MuJoCo's soft limit.
    """

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("pets-cartpole", 4, Box((-3.0,), (3.0,)), max_episode_steps=200, angle_dims=(1,))

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return (2, 3)

    @property
    def reward_function(self):
        return pets_cartpole_reward

    def first(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        return 0.1 * jr.normal(key, (4,))

    def advance(self, physics: Float[Array, "4"], action: Float[Array, "1"]) -> Float[Array, "4"]:
        for _ in range(SUBSTEPS):
            physics = rk4(lambda p: _derivative(p, GEAR * action[0]), physics, TIMESTEP)
        return physics

    def observe(self, physics: Float[Array, "4"]) -> Float[Array, "4"]:
        return physics

    def physics_from(self, obs: Float[Array, "4"]) -> Float[Array, "4"]:
        return obs

    def scene(self, physics: Float[Array, "4"]) -> Scene:
        x, theta = physics[:2]
        tip = jnp.stack([x - POLE * jnp.sin(theta), -POLE * jnp.cos(theta)])
        return cartpole_scene(x, tip, target=(0.0, POLE), view=2.9)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        x, theta = physics[:2]
        tip = (x - POLE * math.sin(theta), -POLE * math.cos(theta))
        return draw_cartpole(x, tip, target=(0.0, POLE), rail=RAIL, view=2.9)
