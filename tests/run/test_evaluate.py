"""Evaluation in both drivers, and planning until the time is up."""

import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import Averaging, Walk, empty_data, make_agent, run_to, walk_reward

from forethought.core import AbstractEnv
from forethought.envs.hosted import HostedJaxEnv
from forethought.envs.make import make
from forethought.errors import UserError
from forethought.run.actor import Actor
from forethought.run.evaluate import JitEvaluator
from forethought.run.host_evaluate import HostEvaluator
from forethought.run.steps import StepDriver
from forethought.types import Given, never_terminates


@pytest.fixture(scope="module")
def oracle():
    return make_agent("random-shooting", oracle=True)


@pytest.fixture(scope="module")
def state(oracle):
    return oracle.init(key=jr.key(0))


def test_evaluation_returns_are_the_sums_of_its_rewards(oracle, state):
    found = JitEvaluator(oracle, Walk(), num_episodes=3)(state, key=jr.key(1))
    np.testing.assert_allclose(found.returns, found.trajectories.reward[:, :7].sum(1), rtol=1e-5)
    assert found.lengths.tolist() == [7, 7, 7] and found.finished.all()


def test_evaluation_starts_are_the_same_at_every_call_and_differ_within_one(oracle, state):
    evaluator = JitEvaluator(oracle, Walk(), num_episodes=3)
    first, again = evaluator(state, key=jr.key(1)), evaluator(state, key=jr.key(1))
    np.testing.assert_array_equal(first.trajectories.obs, again.trajectories.obs)
    assert len(np.unique(first.trajectories.obs[:, 0, 0])) == 3


def test_both_evaluators_start_from_the_same_states_and_agree(oracle, state):
    jit = JitEvaluator(oracle, Walk(), num_episodes=2)(state, key=jr.key(1))
    host = HostEvaluator(oracle, HostedJaxEnv(Walk()), num_episodes=2)(state, key=jr.key(1))
    np.testing.assert_allclose(host.trajectories.obs[:, 0], jit.trajectories.obs[:, 0], atol=1e-6)
    np.testing.assert_allclose(host.returns, jit.returns, atol=0.1)
    assert host.lengths.tolist() == jit.lengths.tolist()
    np.testing.assert_allclose(host.returns, host.trajectories.reward.sum(1), rtol=1e-5)


def test_what_an_environment_says_after_its_end_does_not_count(oracle, state):
    found = JitEvaluator(oracle, Walk(limit=5, nan_after=5), num_episodes=2, max_steps=20)(state, key=jr.key(1))
    assert np.isfinite(found.returns).all() and found.lengths.tolist() == [5, 5]


def test_episodes_without_end_are_cut_at_the_limit(oracle, state):
    for evaluator in (
        JitEvaluator(oracle, Walk(limit=None), num_episodes=2, max_steps=30),
        HostEvaluator(oracle, HostedJaxEnv(Walk(limit=None)), num_episodes=2, max_steps=30),
    ):
        found = evaluator(state, key=jr.key(1))
        assert found.lengths.tolist() == [30, 30] and not found.finished.any()
        np.testing.assert_allclose(found.returns, found.trajectories.reward[:, :30].sum(1), rtol=1e-4)


def test_evaluation_counts_repeated_actions_as_simulator_steps(oracle, state):
    env = make(Walk(), action_repeat=2)
    assert isinstance(env, AbstractEnv)
    found = JitEvaluator(oracle, env, num_episodes=1)(state, key=jr.key(1))
    assert found.lengths.tolist() == [7]  # 2, 2, 2 and 1


def test_evaluators_refuse_what_cannot_be(oracle):
    with pytest.raises(ValueError, match="num_episodes=0 must be at least 1"):
        JitEvaluator(oracle, Walk(), num_episodes=0)
    with pytest.raises(ValueError, match="num_episodes=0 must be at least 1"):
        HostEvaluator(oracle, HostedJaxEnv(Walk()), num_episodes=0)


# ---- deadlines


@pytest.fixture(scope="module")
def actor(oracle):
    return Actor(oracle, explore=False, plan_ms=150.0)


def memory_and_obs(agent, state):
    return jax.tree.map(lambda x: x[None], agent.init_memory(state)), jnp.array([[0.8, 0.8]])


def test_deadline_is_used_for_refining_and_then_kept(oracle, state, actor):
    memory, obs = memory_and_obs(oracle, state)
    keys = jr.split(jr.key(0), 1)
    actor.warm_up(state, memory, obs, keys)
    assert actor.latency.summary() == {}
    begun = time.perf_counter()
    for _ in range(5):
        actor(state, memory, obs, keys)
    took = (time.perf_counter() - begun) / 5
    # Generous: the machine may be busy. Without any refining it would take a few milliseconds.
    assert 0.02 < took < 1.5
    summary = actor.latency.summary()
    assert summary["actions"] == 5 and summary["deadline_ms"] == 150.0
    assert summary["p50_ms"] <= summary["p99_ms"] and summary["misses"] <= 5


def test_refinements_are_not_compiled_again(state):
    traced = []

    def reward(obs, action, next_obs):
        traced.append(1)
        return walk_reward(obs, action, next_obs)

    learned = make_agent("random-shooting", given=Given(reward, never_terminates))
    state = learned.init(key=jr.key(0))
    memory, obs = memory_and_obs(learned, state)
    actor = Actor(learned, explore=False, plan_ms=60.0)
    actor.warm_up(state, memory, obs, jr.split(jr.key(0), 1))
    once = len(traced)
    for i in range(3):
        actor(state, memory, obs, jr.split(jr.key(i), 1))
    assert len(traced) == once > 0


def test_more_time_finds_better_actions(oracle, state):
    memory, obs = memory_and_obs(oracle, state)
    values = []
    for plan_ms in (1e-6, 300.0):
        actor = Actor(oracle, explore=False, plan_ms=plan_ms)
        keys = jr.split(jr.key(0), 1)
        actor.warm_up(state, memory, obs, keys)
        _, memory_after, _ = actor(state, memory, obs, keys)
        values.append(float(memory_after.plan.value[0]))
    # One refinement sees 16 random sequences, the other thousands.
    assert values[1] > values[0]


def test_run_with_a_deadline_acts_and_records_latency(oracle):
    driver = StepDriver(oracle, HostedJaxEnv(Walk()), plan_ms=5.0)
    end = run_to(driver, driver.start(empty_data(), seed=0), 8)
    assert int(end.env_steps) == 8 and driver.actor.latency.summary()["actions"] == 8


def test_deadline_is_refused_where_it_has_no_meaning():
    with pytest.raises(UserError, match="Averaging has no search that can be cut short"):
        Actor(Averaging(), explore=True, plan_ms=10.0)
    with pytest.raises(ValueError, match="plan_ms=0 must be above 0"):
        Actor(make_agent("pets"), explore=True, plan_ms=0)
