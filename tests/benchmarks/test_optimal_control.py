"""The problem that optimal control is timed on is the one that is described."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import cartpole_problem as cp
from benchmarks import optimal_control

pytestmark = pytest.mark.slow


def test_cart_pole_obeys_lagranges_equations_and_its_cost_is_zero_upright():
    dynamics, cost, terminal = optimal_control.functions()
    for state, force in (([0.3, 0.7, -0.5, 1.2], 2.0), ([0.0, 2.5, 1.0, -3.0], -1.0)):
        angle, _, turn = state[1:]
        bend = -cp.POLE * cp.LENGTH * np.cos(angle)
        inertia = np.array([[cp.CART + cp.POLE, bend], [bend, cp.INERTIA + cp.POLE * cp.LENGTH**2]])
        pull = cp.POLE * cp.LENGTH * np.sin(angle) * np.array([-(turn**2), -cp.GRAVITY])
        velocity = np.array(state[2:]) + cp.DT * np.linalg.solve(inertia, pull + np.array([force, 0.0]))
        wanted = np.concatenate([np.array(state[:2]) + cp.DT * velocity, velocity])
        np.testing.assert_allclose(dynamics(jnp.array(state), jnp.array([force])), wanted, rtol=1e-5)
    upright = jnp.array(cp.GOAL)
    assert cost(upright, jnp.zeros(1)) == terminal(upright) == 0
    np.testing.assert_allclose(cost(upright, jnp.array([2.0])), 0.5 * cp.DT * cp.FORCE * 4, rtol=1e-6)


def test_starts_begin_at_rest_and_differ():
    found = optimal_control.starts(5)
    assert found.shape == (5, 4) and not found[0].any() and len(np.unique(found, axis=0)) == 5
