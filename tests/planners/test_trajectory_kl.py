"""Trust regions of trajectories, against joint Gaussians written out."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.planners import lqr
from forethought.planners.local_controller import LocalController
from forethought.planners.trajectory_kl import adapted_step, improve, policy_kl

N, M, T = 2, 1, 4
START, START_COV = np.array([1.0, -0.5]), 0.2 * np.eye(N)


def policy_of(seed: int) -> lqr.LinearPolicy:
    rng = np.random.default_rng(seed)
    arrays = 0.4 * rng.normal(size=(T, M, N)), rng.normal(size=(T, M)), rng.uniform(0.3, 1.0, (T, M, M))
    return lqr.LinearPolicy(*map(jnp.asarray, arrays))


def problem(curvature: float = 1.0):
    rng = np.random.default_rng(5)
    noise = np.tile(0.05 * np.eye(N), (T, 1, 1))
    dynamics = lqr.LinearDynamics(*map(jnp.asarray, (rng.normal(size=(T, N, N + M)), rng.normal(size=(T, N)), noise)))
    C = np.tile(np.diag([1.0, 2.0, curvature]), (T, 1, 1))
    return dynamics, lqr.QuadraticCost(*map(jnp.asarray, (C, rng.normal(size=(T, N + M)), np.zeros(T))))


@pytest.fixture(scope="module")
def improved():
    """Within 1 nat: of a convex cost, of one with a control that pays, and within more than there is to gain."""
    with jax.enable_x64(True):
        go = jax.jit(
            lambda dynamics, cost, bound: improve(
                dynamics, cost, policy_of(0), jnp.asarray(START), jnp.asarray(START_COV), bound=bound
            )
        )
        return {
            "convex": go(*problem(), 1.0),
            "not convex": go(*problem(-20.0), 1.0),
            "wide": go(*problem(), 1e4),
        }


def joint_of(dynamics, policy) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (x0, u0, x1, ..., uT-1, xT) as one Gaussian, built step by step."""
    mean, cov = START.copy(), START_COV.copy()
    at = 0  # where the latest x begins
    for t in range(T):
        for matrix, offset, noise, size in (
            (np.asarray(policy.K[t]), np.asarray(policy.k[t]), np.asarray(policy.covariance[t]), N),
            (np.asarray(dynamics.F[t]), np.asarray(dynamics.f[t]), np.asarray(dynamics.covariance[t]), N + M),
        ):
            row = np.zeros((len(matrix), len(mean)))
            row[:, at : at + size] = matrix
            cross = row @ cov
            cov = np.block([[cov, cross.T], [cross, cross @ row.T + noise]])
            mean = np.concatenate([mean, row @ mean + offset])
        at += N + M
    return mean, cov


def gaussian_kl(p, q) -> float:
    (mp, Sp), (mq, Sq) = p, q
    inverse = np.linalg.inv(Sq)
    volume = np.linalg.slogdet(Sq)[1] - np.linalg.slogdet(Sp)[1]
    return 0.5 * (np.trace(inverse @ Sp) + (mq - mp) @ inverse @ (mq - mp) - len(mp) + volume)


def test_kl_of_policies_is_the_kl_of_trajectories_under_shared_dynamics():
    dynamics, _ = problem()
    new, old = policy_of(1), policy_of(2)
    with jax.enable_x64(True):
        dynamics, new, old = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (dynamics, new, old))

        @jax.jit
        def kl(visitor):
            visited = lqr.forward(dynamics, visitor, jnp.asarray(START), jnp.asarray(START_COV))
            return policy_kl(new, old, visited).sum()

        under_new, under_old = float(kl(new)), float(kl(old))
    wanted = gaussian_kl(joint_of(dynamics, new), joint_of(dynamics, old))
    assert under_new == pytest.approx(wanted, rel=1e-8)
    assert abs(under_old - wanted) > 0.03 * wanted  # the states of the old policy would be wrong


@pytest.mark.parametrize("name", ["convex", "not convex"])
def test_the_bound_is_kept_and_used_up_where_the_multiplier_is_active(improved, name):
    found = improved[name]
    assert found.found and found.active and 0.99 <= found.kl <= 1.0
    previous = policy_of(0)
    wanted = gaussian_kl(joint_of(problem()[0], found.policy), joint_of(problem()[0], previous))
    assert float(found.kl) == pytest.approx(wanted, rel=1e-5)


def test_no_other_policy_nearby_has_less_cost_at_as_little_kl(improved):
    found, (dynamics, cost), previous, rng = improved["convex"], problem(), policy_of(0), np.random.default_rng(0)
    with jax.enable_x64(True):
        dynamics, cost, previous = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (dynamics, cost, previous))

        @jax.jit
        def lagrangian(policy):
            trajectory = lqr.forward(dynamics, policy, jnp.asarray(START), jnp.asarray(START_COV))
            return lqr.expected_cost(trajectory, cost) + found.eta * policy_kl(policy, previous, trajectory).sum()

        best = float(lagrangian(found.policy))
        others = []
        for _ in range(40):
            moved = jax.tree.map(lambda x: x * (1 + 0.05 * rng.normal(size=x.shape)), found.policy)
            others.append(float(lagrangian(moved)))
    assert min(others) > best and max(others) - best > 1e-4


def test_a_wider_bound_lets_cost_fall_further_and_an_endless_one_is_not_active(improved):
    assert improved["wide"].expected < improved["convex"].expected
    assert not improved["wide"].active and improved["wide"].found


def test_a_policy_without_noise_has_no_neighbours():
    policy = lqr.LinearPolicy(jnp.zeros((T, M, N)), jnp.zeros((T, M)))
    with pytest.raises(ValueError, match="must have a covariance"):
        improve(*problem(), policy, jnp.asarray(START), jnp.asarray(START_COV), bound=1.0)


@pytest.mark.parametrize(
    ("predicted", "actual", "wanted"),
    [
        (8.0, 8.0, 5.0),  # right: the error is floored, and growth limited to 5
        (8.0, 9.0, 1.0),  # promised 2, got 1: as it is
        (8.0, 10.5, 0.4),  # promised 2, lost half
        (8.0, 60.0, 0.1),  # far off: shrinks to a tenth at most
        (11.0, 10.0, 0.1),  # a promise to lose is no promise
    ],
)
def test_the_step_grows_where_the_model_foretold_what_came(predicted, actual, wanted):
    step = adapted_step(jnp.ones(()), jnp.asarray(10.0), jnp.asarray(predicted), jnp.asarray(actual))
    assert float(step) == pytest.approx(wanted, rel=1e-5)
    assert float(adapted_step(jnp.asarray(9.0), 10.0, 8.0, 8.0)) == 10.0


def test_a_controller_is_executed_in_three_ways():
    policy = policy_of(3)
    controller, x = LocalController(policy, jnp.full((T, M), 7.0)), jnp.asarray(START)
    do = lambda execution, key, t=1: controller(x, jnp.asarray(t), execution=execution, key=key)
    mean = policy.K[1] @ x + policy.k[1]
    assert float(do("open-loop", jr.key(0))[0]) == 7.0
    np.testing.assert_allclose(do("feedback", jr.key(0)), mean, rtol=1e-6)
    drawn = jax.vmap(lambda k: do("noisy-feedback", k))(jr.split(jr.key(1), 4000))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(drawn.var(0), policy.covariance[1, 0], rtol=0.1)
    np.testing.assert_array_equal(do("feedback", jr.key(0), 99), do("feedback", jr.key(0), T - 1))


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan])
def test_bounds_that_are_not_positive_are_refused(bound):
    with pytest.raises(ValueError, match="bound="):
        improve(None, None, None, None, None, bound=bound)


def test_crossed_limits_of_the_multiplier_are_refused():
    with pytest.raises(ValueError, match="least=2 and most=1"):
        adapted_step(1.0, 3.0, 2.0, 2.0, least=2, most=1)
