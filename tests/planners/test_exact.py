"""Exact planning against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.envs.tabular import chain, random_mdp
from forethought.planners.exact import evaluate, policy_iteration, value_iteration
from forethought.types import Tables

DISCOUNT = 0.9


@pytest.fixture(scope="module")
def tables():
    return random_mdp(6, 3).tables()


@pytest.fixture(scope="module")
def optimum(tables):
    return value_iteration(tables, discount=DISCOUNT)


def brute_force(tables):
    """The best values over all policies, in NumPy."""
    chance, reward = np.asarray(tables.transition, np.float64), np.asarray(tables.reward, np.float64)
    states, actions = reward.shape
    found = np.full(states, -np.inf)
    for policy in np.ndindex(*[actions] * states):
        at = np.arange(states), list(policy)
        found = np.maximum(found, np.linalg.solve(np.eye(states) - DISCOUNT * chance[at], reward[at]))
    return found


def test_both_iterations_find_the_best_of_all_policies(tables, optimum):
    best, improved = brute_force(tables), policy_iteration(tables, discount=DISCOUNT)
    np.testing.assert_allclose(optimum.values, best, atol=1e-3)
    np.testing.assert_allclose(improved.values, best, atol=1e-3)
    np.testing.assert_array_equal(optimum.policy, improved.policy)
    assert int(improved.rounds) < 10 < int(optimum.rounds)


def test_a_policy_is_worth_what_its_linear_equations_say(tables):
    uniform = jnp.full((6, 3), 1 / 3)
    going_on, reward = tables.transition.mean(1), tables.reward.mean(1)
    values = evaluate(tables, uniform, DISCOUNT)
    np.testing.assert_allclose(values, reward + DISCOUNT * going_on @ values, atol=1e-5)


def test_the_chain_is_worth_its_distance_to_the_end_without_discount():
    found = value_iteration(chain(100, noise=0.0).tables(), discount=1.0)
    np.testing.assert_allclose(found.values, [*range(1, 100), 0], atol=1e-4)
    assert np.asarray(found.policy)[:99].all()


def test_what_never_ends_has_no_value_without_discount(tables):
    with pytest.raises(ValueError, match="a goal may be out of reach"):
        value_iteration(tables, discount=1.0, max_sweeps=50)
    with pytest.raises(ValueError, match="a goal may be out of reach"):
        policy_iteration(tables, discount=1.0)
    with pytest.raises(ValueError, match="the policy has no finite values"):
        evaluate(tables, jnp.full((6, 3), 1 / 3), 1.0)


def test_tables_that_are_none_are_refused(tables):
    for wrong, match in (
        (Tables(jnp.zeros((0, 2, 0)), jnp.zeros((0, 2))), "the tables are empty: 0 states"),
        (Tables(tables.transition.at[2, 1, 0].add(0.5), tables.reward), r"transition\[2, 1\] sums to 1.5"),
        (Tables(tables.transition, tables.reward.at[4, 0].set(jnp.nan)), r"transition\[4, 0\].* reward nan"),
        (Tables(tables.transition[:, :2], tables.reward), "transition has shape"),
    ):
        with pytest.raises(ValueError, match=match):
            value_iteration(wrong, discount=DISCOUNT)
    with pytest.raises(ValueError, match="discount=2"):
        jax.eval_shape(lambda: value_iteration(tables, discount=2))
