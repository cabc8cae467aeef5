"""Linear-quadratic control against closed forms, SciPy and samples."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.linalg

from forethought.planners import lqr

N, M, T = 3, 2, 6


def problem(steps: int, seed: int = 0, dtype: type = np.float64) -> tuple[lqr.LinearDynamics, lqr.QuadraticCost]:
    """Random, time-varying, with cross terms, affine terms and noise."""
    rng = np.random.default_rng(seed)
    F = 0.5 * rng.normal(size=(steps, N, N + M))
    root = rng.normal(size=(steps, N + M, N + M))
    noise = 0.3 * rng.normal(size=(steps, N, N))
    C = root @ root.swapaxes(1, 2) + 0.1 * np.eye(N + M)
    C[:, 0, N] += 0.2  # only the symmetric part may count
    c, constant = rng.normal(size=(steps, N + M)), rng.normal(size=steps)
    as_array = lambda x: jnp.asarray(x.astype(dtype))
    dynamics = lqr.LinearDynamics(*map(as_array, (F, rng.normal(size=(steps, N)), noise @ noise.swapaxes(1, 2))))
    return dynamics, lqr.QuadraticCost(*map(as_array, (C, c, constant)))


def frozen(tree, t: int = 0):
    return jax.tree.map(lambda x: x[t], tree)


@pytest.fixture(scope="module")
def solved():
    with jax.enable_x64(True):
        dynamics, cost = problem(T)
        terminal = lqr.QuadraticValue(2 * jnp.eye(N), jnp.ones(N), jnp.asarray(0.5))
        return dynamics, cost, terminal, jax.jit(lqr.backward)(dynamics, cost, terminal)


def test_value_equals_expected_cost_and_no_other_policy_is_better(solved):
    dynamics, cost, terminal, solution = solved
    with jax.enable_x64(True):
        x = jnp.array([0.3, -1.0, 0.7])
        value = frozen(solution.value)

        @jax.jit
        def of(K, k):
            return lqr.expected_cost(lqr.forward(dynamics, lqr.LinearPolicy(K, k), x), cost, terminal)

        K, k = solution.policy.K, solution.policy.k
        expected = of(K, k)
        np.testing.assert_allclose(0.5 * x @ value.V @ x + value.v @ x + value.constant, expected, rtol=1e-10)
        gradient = jax.jit(jax.grad(of, (0, 1)))(K, k)
        for leaf in gradient:
            np.testing.assert_allclose(leaf, 0, atol=1e-9)
        assert bool(solution.convex.all())


def test_maximum_entropy_policy_samples_with_temperature_over_quu_and_soft_value_holds(solved):
    dynamics, cost, terminal, solution = solved
    temperature = 0.4
    with jax.enable_x64(True):
        soft = lqr.maximum_entropy(solution, temperature)
        x = jnp.array([0.3, -1.0, 0.7])
        wanted = temperature * np.linalg.inv(np.asarray(solution.Quu))
        np.testing.assert_allclose(soft.policy.covariance, wanted, rtol=1e-9)
        draw = jax.jit(jax.vmap(lambda key: lqr.sample(dynamics, soft.policy, x, key=key)))
        xs, us = map(np.asarray, draw(jr.split(jr.key(0), 20_000)))
        # Per step, what is left of the controls when the feedback is taken out.
        left = us - np.einsum("tmn,stn->stm", soft.policy.K, xs[:, :-1]) - np.asarray(soft.policy.k)
        found = np.einsum("sta,stb->tab", left, left) / len(left)
        scale = np.sqrt(np.einsum("taa->ta", wanted))
        np.testing.assert_allclose(found, wanted, atol=0.04 * (scale[:, :, None] * scale[:, None, :]).max())
        moments = lqr.forward(dynamics, soft.policy, x)
        np.testing.assert_allclose(xs[:, -1].mean(0), moments.x[-1], atol=4 * xs[:, -1].std(0).max() / 20_000**0.5)
        entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * wanted)[1].sum()
        value = frozen(soft.value)
        soft_cost = lqr.expected_cost(moments, cost, terminal) - temperature * entropy
        np.testing.assert_allclose(0.5 * x @ value.V @ x + value.v @ x + value.constant, soft_cost, rtol=1e-9)


def test_stationary_gain_is_that_of_riccatis_equation_and_the_limit_of_the_recursion():
    with jax.enable_x64(True):
        dynamics, cost = map(frozen, problem(1))
        solution = lqr.stationary(dynamics, cost)
        A, B = (np.asarray(x) for x in (dynamics.F[:, :N], dynamics.F[:, N:]))
        C = np.asarray(lqr.symmetric(cost.C))
        P = scipy.linalg.solve_discrete_are(A, B, C[:N, :N], C[N:, N:], s=C[:N, N:])
        gain = -np.linalg.solve(C[N:, N:] + B.T @ P @ B, C[N:, :N] + B.T @ P @ A)
        np.testing.assert_allclose(solution.policy.K, gain, atol=1e-8)
        repeat = lambda tree: jax.tree.map(lambda x: jnp.broadcast_to(x, (200, *jnp.shape(x))), tree)
        for discount in (1.0, 0.9):
            endless = lqr.stationary(dynamics, cost, discount=discount)
            long = jax.jit(lqr.backward, static_argnames="discount")(repeat(dynamics), repeat(cost), discount=discount)
            first, second = frozen(long.value), frozen(long.value, 1)
            np.testing.assert_allclose(long.policy.K[0], endless.policy.K, atol=1e-8)
            np.testing.assert_allclose(long.policy.k[0], endless.policy.k, atol=1e-8)
            np.testing.assert_allclose(first.v, endless.value.v, atol=1e-8)
            constant = first.constant - second.constant if discount == 1 else first.constant
            np.testing.assert_allclose(constant, endless.value.constant, atol=1e-7)


def test_single_precision_stays_single_and_agrees(solved):
    *_, double = solved
    dynamics, cost = problem(T, dtype=np.float32)
    terminal = lqr.QuadraticValue(2 * jnp.eye(N), jnp.ones(N), jnp.asarray(0.5))
    single = jax.jit(lqr.backward)(dynamics, cost, terminal)
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {jnp.dtype("float32"), jnp.dtype(bool)}
    np.testing.assert_allclose(single.policy.K, double.policy.K, atol=1e-4)


def test_bad_systems_are_named():
    dynamics, cost = map(frozen, problem(1, dtype=np.float32))
    with pytest.raises(ValueError, match=r"F has shape \(3, 3\), wanted \[n, n \+ m\]"):
        lqr.stationary(lqr.LinearDynamics(dynamics.F[:, :3], dynamics.f), cost)
    with pytest.raises(ValueError, match=r"C has shape \(4, 4\), wanted \(5, 5\)"):
        lqr.stationary(dynamics, lqr.QuadraticCost(cost.C[:4, :4], cost.c, cost.constant))
    unreached = lqr.LinearDynamics(jnp.array([[1.1, 0.0, 0.0], [0.0, 0.5, 1.0]]), jnp.zeros(2))
    plain = lqr.QuadraticCost(jnp.eye(3), jnp.zeros(3), jnp.zeros(()))
    with pytest.raises(ValueError, match=r"cannot be stabilised.*eigenvalue 1\.1"):
        lqr.stationary(unreached, plain)
    free = lqr.QuadraticCost(jnp.diag(jnp.array([1.0, 1.0, 0.0])), plain.c, plain.constant)
    with pytest.raises(ValueError, match="not convex in the control: least eigenvalue 0 "):
        lqr.stationary(unreached, free)
    blind = lqr.QuadraticCost(jnp.diag(jnp.array([0.0, 0.0, 1.0])), plain.c, plain.constant)
    drifting = lqr.LinearDynamics(jnp.array([[1.0, 0.0, 1.0], [0.0, 0.5, 1.0]]), jnp.zeros(2))
    with pytest.raises(ValueError, match="no stabilising solution"):
        lqr.stationary(drifting, blind)


def test_a_cost_that_is_not_convex_in_the_control_is_named_with_its_step(solved):
    dynamics, cost, terminal, _ = solved
    with jax.enable_x64(True):
        hollow = lqr.QuadraticCost(cost.C.at[2, N:, N:].add(-500 * jnp.eye(M)), cost.c, cost.constant)
        solution = jax.jit(lqr.backward)(dynamics, hollow, terminal)
        with pytest.raises(ValueError, match="not convex in the control at step 2: least eigenvalue of Quu -"):
            lqr.check_convex(solution)


@pytest.mark.parametrize("discount", [-0.5, 1.5, np.nan, "0.9", None, True])
def test_discounts_outside_zero_to_one_are_refused(solved, discount):
    dynamics, cost, terminal, _ = solved
    with pytest.raises(ValueError, match="discount="):
        lqr.backward(dynamics, cost, terminal, discount=discount)
    with pytest.raises(ValueError, match="discount="):
        lqr.stationary(frozen(dynamics), frozen(cost), discount=discount)
    with pytest.raises(ValueError, match="discount="):
        lqr.backward_step(frozen(dynamics), frozen(cost), terminal, discount=discount)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, "1", None, True])
def test_temperatures_that_are_not_positive_are_refused(solved, temperature):
    with pytest.raises(ValueError, match="temperature="):
        lqr.maximum_entropy(solved[-1], temperature)
