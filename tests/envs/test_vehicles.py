"""Quadrotor and cars: what physics says in a few words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.envs import vehicle
from forethought.envs.acrobot import Acrobot
from forethought.envs.acrobot_swingup import AcrobotSwingUp
from forethought.envs.quadrotor import GRAVITY, HOVER, PlanarQuadrotor
from forethought.envs.vehicle import DynamicBicycle, KinematicBicycle, Vehicle


def after(env, physics, action, steps):
    """The physical state after `steps` steps of the same action."""
    advance = lambda p, _: (env.advance(p, jnp.array(action)), None)
    return np.asarray(jax.jit(lambda p: jax.lax.scan(advance, p, length=steps)[0])(jnp.array(physics)))


def test_quadrotor_hovers_falls_and_turns_towards_the_stronger_rotor():
    still = [0.3, -0.2, 0.0, 0.0, 0.0, 0.0]
    advance = jax.jit(PlanarQuadrotor().advance)
    np.testing.assert_allclose(advance(jnp.array(still), jnp.array([HOVER, HOVER])), still, atol=1e-6)
    falling = np.asarray(advance(jnp.array(still), jnp.zeros(2)))
    np.testing.assert_allclose(falling[[1, 4]], [-0.2 - GRAVITY * 0.05**2 / 2, -GRAVITY * 0.05], rtol=1e-5)
    turned = np.asarray(advance(jnp.array(still), jnp.array([HOVER - 0.1, HOVER + 0.1])))
    assert turned[2] > 0 and turned[5] == pytest.approx(0.2 * 0.2 / 0.01 * 0.05, rel=1e-4) and turned[3] < 0


def test_unicycle_drives_circles_of_speed_over_turn():
    x, y, heading, speed = after(Vehicle(), [0.0, 0.0, 0.0, 2.0], [0.0, 0.5], 10)
    np.testing.assert_allclose([x, y], [4 * np.sin(0.5), 4 * (1 - np.cos(0.5))], rtol=1e-5)
    assert heading == pytest.approx(0.5) and speed == 2.0


def test_bicycles_turn_as_their_models_say():
    steer, length = 0.3, vehicle.FRONT + vehicle.REAR
    slip = np.arctan(vehicle.REAR / length * np.tan(steer))
    rolled = after(KinematicBicycle(), [0.0, 0.0, 0.0, 5.0], [0.0, steer], 10)
    assert rolled[2] == pytest.approx(5.0 * np.cos(slip) * np.tan(steer) / length, rel=1e-4)
    # Steady cornering of the linear model: v delta / (L + K v^2), K from where the mass sits.
    speed, steer = 10.0, 0.01
    understeer = vehicle.MASS * (vehicle.REAR - vehicle.FRONT) / (length * vehicle.STIFFNESS)
    slid = after(DynamicBicycle(), [0.0, 0.0, 0.0, speed, 0.0, 0.0], [0.0, steer], 20)
    # Slip angles are softened by LEAST_SPEED: a twentieth at this speed.
    assert slid[5] == pytest.approx(speed * steer / (length + understeer * speed**2), rel=0.06)
    # Asked for a bend of 8 g it slides: no more than both axles' grip pulls it sideways.
    fast = DynamicBicycle().derivative(jnp.array([0.0, 0.0, 0.0, 20.0, 0.0, 0.0]), jnp.array([0.0, 0.5]))
    assert 0 < fast[4] <= 2 * vehicle.GRIP / vehicle.MASS < 20.0**2 * np.tan(0.5) / length / 5


def test_acrobot_to_balance_is_the_acrobot():
    physics, torque = jnp.array([0.4, -0.8, 0.3, 0.9]), 1.0
    fine = after(AcrobotSwingUp(), physics, [torque], 4)
    coarse = np.asarray(Acrobot().advance(physics, jnp.array(2)))
    np.testing.assert_allclose(fine, coarse, atol=2e-3)
