"""Learning from samples of a model."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.tabular import chain
from forethought.learners.model_samples import Sampling, from_episodes, monte_carlo, temporal_difference
from forethought.models.tabular import CountTable
from forethought.planners.exact import evaluate, value_iteration

DISCOUNT = 0.9
HOW = Sampling(samples=40_000, walkers=40, horizon=50, step_size=0.02, epsilon=0.2, discount=DISCOUNT)


def test_monte_carlo_on_the_eight_sampled_episodes_of_the_ab_example_finds_one_and_three_quarters():
    """The episodes B1, B0, B1, A0B1, B1, A0B1, B1, B0; in the model that they were drawn from A is worth 0.75."""
    first = [("B", 1), ("B", 0), ("B", 1), ("A", 0), ("B", 1), ("A", 0), ("B", 1), ("B", 0)]
    through_a = np.array([state == "A" for state, _ in first])
    state = jnp.stack([jnp.where(through_a, 0, 1), jnp.ones(8, jnp.int32)])
    reward = jnp.array([[r for _, r in first], through_a], jnp.float32)
    alive = jnp.array([[True] * 8, through_a])
    nothing = jnp.zeros((2, 1))
    action = jnp.zeros((2, 8), jnp.int32)
    q, _ = from_episodes(nothing, nothing, state, action, reward, alive, HOW._replace(discount=1.0))
    np.testing.assert_allclose(q[:, 0], [1.0, 0.75], atol=1e-6)


def exact_model(env):
    """A table that knows an environment as well as a hundred tries of every pair tell."""
    tables = env.tables()
    ends = 1 - tables.transition.sum(-1, keepdims=True)
    count = 100 * jnp.concatenate([tables.transition, ends], -1)
    return CountTable(env.spec, 0.0, count, count * tables.reward[..., None]), tables


@pytest.fixture(scope="module")
def world():
    return exact_model(chain(8, noise=0.2, end_reward=10.0))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["q-learning", "sarsa", "monte-carlo"])
def test_every_method_finds_an_optimal_policy_from_samples_alone(world, method):
    model, tables = world
    nothing = jnp.zeros(tables.reward.shape)
    if method == "monte-carlo":
        q = jax.jit(lambda: monte_carlo(nothing, model, HOW, key=jr.key(0)))()
    else:
        q = jax.jit(lambda: temporal_difference(nothing, model, HOW, sarsa=method == "sarsa", key=jr.key(0)))()
    best = value_iteration(tables, discount=DISCOUNT)
    reached = evaluate(tables, jax.nn.one_hot(jnp.argmax(q, -1), q.shape[1]), DISCOUNT)
    np.testing.assert_allclose(reached, best.values, atol=1e-3)
    if method == "q-learning":
        np.testing.assert_allclose(q.max(-1), best.values, atol=0.02 * float(jnp.abs(best.values).max()) + 0.02)
