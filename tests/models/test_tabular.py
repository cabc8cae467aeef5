"""Tables against numbers worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.models.tabular import CountTable, LatestOutcome, TableBelief, WrongTable
from forethought.planners.exact import evaluate
from forethought.types import Box, Discrete, EnvSpec, Transition

A, B, END = 0, 1, 2
SPEC = EnvSpec("ab", 1, Discrete(1), num_states=2)
EPISODES = [[(A, 0.0, B), (B, 0.0, END)], *[[(B, 1.0, END)]] * 6, [(B, 0.0, END)]]


def rows(steps, spec=SPEC):
    """Transitions of (state, reward, outcome), or with an action in the second place."""
    steps = [s if len(s) == 4 else (s[0], 0, *s[1:]) for s in steps]
    state, action, reward, outcome = (np.array(x) for x in zip(*steps))
    ended = outcome == spec.num_states
    obs, next_obs = (jnp.asarray(np.minimum(x, spec.num_states - 1)[:, None], jnp.float32) for x in (state, outcome))
    more = jnp.asarray(action, jnp.int32), jnp.asarray(reward, jnp.float32), next_obs, jnp.asarray(ended)
    return Transition(obs, *more, jnp.zeros(len(steps), bool))


@pytest.fixture(scope="module")
def ab():
    steps = rows([step for episode in EPISODES for step in episode])
    return CountTable.empty(SPEC).fitted(steps, jnp.ones(len(steps.reward), bool))


def test_the_model_of_the_ab_example_is_worth_three_quarters_in_both_states(ab):
    values = evaluate(ab.tables(), jnp.ones((2, 1)), 1.0)
    np.testing.assert_allclose(values, [0.75, 0.75], atol=1e-6)


def test_samples_have_the_models_probabilities_and_the_end_is_never_left(ab):
    belief = TableBelief(jnp.concatenate([jnp.full((1, 4000), B), jnp.full((1, 5), A), jnp.full((1, 3), END)], -1))
    after, prediction = jax.jit(lambda b, a: ab.step(b, a, key=jr.key(0)))(belief, jnp.zeros((1, 4008), jnp.int32))
    state, reward, going_on = (np.asarray(x[0]) for x in (after.state, prediction.reward, prediction.continuation))
    assert (state[:4000] == END).all() and not going_on[:4000].any()
    assert reward[:4000].mean() == pytest.approx(0.75, abs=1e-6)  # the mean of an outcome's rewards, not one of them
    assert (state[4000:4005] == B).all() and going_on[4000:4005].all() and not reward[4000:4005].any()
    assert (state[4005:] == END).all() and not reward[4005:].any() and not going_on[4005:].any()


FORK = EnvSpec("fork", 1, Discrete(2), num_states=3)


@pytest.fixture(scope="module")
def fork():
    """From 0, action 0 leads to 1 three times with rewards 1, 2, 3 and once to the end with 10; nothing else is."""
    steps = [(0, 0, 1.0, 1), (0, 0, 2.0, 1), (0, 0, 3.0, 1), (0, 0, 10.0, 3)]
    table = CountTable.empty(FORK)
    for state, action, reward, outcome in steps:
        table = table.add(state, action, reward, outcome)
    whole = CountTable.empty(FORK).fitted(rows(steps, FORK), jnp.ones(4, bool))
    np.testing.assert_array_equal(table.count, whole.count)
    np.testing.assert_array_equal(table.reward, whole.reward)
    return table


def test_rewards_are_means_of_each_outcome_and_an_unknown_pair_is_the_end(fork):
    chance, reward = fork.outcomes(0, 0)
    np.testing.assert_allclose(chance, [0, 0.75, 0, 0.25])
    assert reward[1] == 2 and reward[3] == 10
    tables = fork.tables()
    np.testing.assert_allclose(tables.transition[0, 0], [0, 0.75, 0])
    assert tables.reward[0, 0] == pytest.approx(4.0)
    assert not tables.transition[1].any() and not tables.reward[1].any()
    assert int(fork.draw(1, 0, jnp.float32(0.3))[0]) == 3
    np.testing.assert_allclose(fork.into(1)[:, 0], [0.75, 0, 0])
    assert int(fork.known().sum()) == 1


def test_draws_follow_the_cumulative_probabilities(fork):
    drawn = [int(fork.draw(0, 0, jnp.float32(u))[0]) for u in (0.0, 0.7, 0.8, 0.999)]
    assert drawn == [1, 1, 3, 3]


def test_the_dirichlet_model_expects_the_posterior_mean_and_draws_from_the_posterior(fork):
    table = dataclasses.replace(fork, prior=0.5)
    chance, reward = table.outcomes(0, 0)
    wanted = np.array([0.5, 3.5, 0.5, 1.5]) / 6
    np.testing.assert_allclose(chance, wanted, rtol=1e-6)
    assert reward[0] == 4.0  # never seen: the mean of the pair
    np.testing.assert_allclose(table.outcomes(2, 1)[0], np.full(4, 0.25))
    drawn = jax.jit(jax.vmap(lambda key: table.posterior(key=key).transition[0, 0]))(jr.split(jr.key(0), 2000))
    np.testing.assert_allclose(drawn.mean(0), wanted[:3], atol=0.01)
    np.testing.assert_allclose(drawn.var(0), (wanted * (1 - wanted) / 7)[:3], rtol=0.15)
    with pytest.raises(ValueError, match="prior above 0"):
        fork.posterior(key=jr.key(0))
    with pytest.raises(ValueError, match="prior=-1 must be at least 0"):
        CountTable.empty(FORK, prior=-1)


def test_the_latest_outcome_replaces_the_one_before():
    table = LatestOutcome.empty(FORK).add(0, 1, 5.0, 2).add(0, 1, 1.0, 3)
    outcome, reward = table.draw(0, 1, jnp.zeros(()))
    assert (int(outcome), float(reward)) == (3, 1.0)
    np.testing.assert_array_equal(table.outcomes(0, 1)[0], [0, 0, 0, 1])
    assert not table.into(2).any() and int(table.known().sum()) == 1
    assert int(table.draw(2, 0, jnp.zeros(()))[0]) == 3  # unknown: the end


def test_a_wrong_table_is_wrong_where_it_is_told_to_be(fork):
    wrong = jnp.zeros((3, 2), bool).at[0, 0].set(True)
    table = WrongTable(FORK, fork, wrong, jnp.full((3, 2), 2))
    outcome, reward = table.draw(0, 0, jnp.float32(0.1))
    assert (int(outcome), float(reward)) == (2, 2.0)
    np.testing.assert_allclose(table.outcomes(0, 0)[0], [0, 0, 1, 0])
    np.testing.assert_allclose(table.into(2)[:, 0], [1, 0, 0])
    shares = [float(WrongTable.at_random(fork, share, key=jr.key(0)).wrong.mean()) for share in (0.0, 1.0)]
    assert shares == [0.0, 1.0]
    with pytest.raises(ValueError, match="share=2 must lie"):
        WrongTable.at_random(fork, 2, key=jr.key(0))


def test_an_empty_table_and_a_task_without_numbers_are_refused():
    with pytest.raises(ValueError, match="the table is empty: no transition was added"):
        CountTable.empty(FORK).tables()
    with pytest.raises(ValueError, match="an observation is a vector of 3"):
        LatestOutcome.empty(EnvSpec("vector", 3, Discrete(2)))
    with pytest.raises(ValueError, match="needs numbered states and actions"):
        CountTable.empty(EnvSpec("boxed", 1, Box((-1.0,), (1.0,)), num_states=4))
