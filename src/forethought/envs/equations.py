"""Equations of tasks with their constants as parameters, for the parametric model.

Each is `(parameters, obs, action) -> next_obs`. With the numbers of the package's own tasks, where it has them, they
are these tasks' own steps.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import cartpole_swingup as cartpole
from . import pendulum as plain
from .integrate import rk4


def pendulum(parameters: dict[str, Array], obs: Float[Array, "3"], action: Float[Array, "1"]) -> Float[Array, "3"]:
    """The task `pendulum`: a rod of `mass` kg and `length` m; `damping` of its pivot in N m s/rad."""
    mass, length, damping = parameters["mass"], parameters["length"], parameters["damping"]
    angle, speed = jnp.arctan2(obs[1], obs[0]), obs[2]
    torque = action[0] - damping * speed
    gain = 3 * plain.GRAVITY / (2 * length) * jnp.sin(angle) + 3 / (mass * length**2) * torque
    speed = jnp.clip(speed + gain * plain.TIMESTEP, -plain.MAX_SPEED, plain.MAX_SPEED)
    angle = angle + speed * plain.TIMESTEP
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])


def cartpole_swingup(
    parameters: dict[str, Array], obs: Float[Array, "4"], action: Float[Array, "1"]
) -> Float[Array, "4"]:
    """The task `cartpole-swingup`: masses in kg, `length` of the pole in m, `damping` of the cart in N s/m."""
    cart, pole, length, damping = (parameters[n] for n in ("cart_mass", "pole_mass", "length", "damping"))

    def derivative(physics: Array) -> Array:
        _, theta, x_dot, theta_dot = physics
        sin, cos = jnp.sin(theta), jnp.cos(theta)
        push = action[0] - damping * x_dot
        swing = pole * length * theta_dot**2 * sin
        denominator = 4 * (cart + pole) - 3 * pole * cos**2
        acceleration = (2 * swing + 3 * pole * cartpole.GRAVITY * sin * cos + 4 * push) / denominator
        turn = 3 * swing * cos + 6 * (cart + pole) * cartpole.GRAVITY * sin + 6 * push * cos
        return jnp.stack([x_dot, theta_dot, acceleration, -turn / (length * denominator)])

    step = lambda physics, _: (rk4(derivative, physics, cartpole.TIMESTEP), None)
    return jax.lax.scan(step, obs, length=cartpole.SUBSTEPS)[0]


def bicycle(parameters: dict[str, Array], obs: Float[Array, "4"], action: Float[Array, "2"]) -> Float[Array, "4"]:
    """A kinematic bicycle about its rear axle: (x, y, heading, speed) 0.1 s later.

    The action is the drive in kN and the steering angle; `mass` in tonnes, `length` between the axles in m, `damping`
    against the road in kN s/m.
    """
    mass, length, damping = parameters["mass"], parameters["length"], parameters["damping"]

    def derivative(physics: Array) -> Array:
        _, _, heading, speed = physics
        turn = speed * jnp.tan(action[1]) / length
        return jnp.stack(
            [speed * jnp.cos(heading), speed * jnp.sin(heading), turn, (action[0] - damping * speed) / mass]
        )

    return rk4(derivative, obs, 0.1)
