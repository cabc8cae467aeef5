"""What is particular to each agent."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import CONFIGS, NAMES, Walk, make_agent, same_bits

from forethought.agents.planning import PlanningAgent
from forethought.core import Schedule
from forethought.presets.parts import PlannerConfig
from forethought.types import Box, Discrete, EnvSpec

OBS = jnp.array([0.8, 0.8])


def act(agent, memory, obs, seed=0, explore=False):
    state = agent.init(key=jr.key(0))
    return jax.jit(lambda m, o, k: agent.act(state, m, o, key=k, explore=explore)[:2])(memory, obs, jr.key(seed))


@pytest.mark.parametrize("name", NAMES)
def test_oracle_needs_neither_random_steps_nor_updates(name):
    oracle, learning = make_agent(name, oracle=True), make_agent(name)
    assert oracle.schedule == Schedule(0, ())
    every = None if name == "mpc-ladder-0.5" else 20
    assert learning.schedule == Schedule.one_round("model", every, random_steps=20)


@pytest.mark.parametrize("name", ["pets", "random-shooting"])
def test_acting_is_begin_refine_and_best(name):
    agent = make_agent(name, oracle=True)
    state, memory = agent.init(key=jr.key(0)), agent.init_memory(None)
    whole, plan = act(agent, memory, OBS)
    begin_key, refine_key, best_key = jr.split(jr.key(0), 3)
    search = agent.begin(state, memory, OBS, key=begin_key)
    for i in range(agent.planner.iterations):
        search = agent.refine(state, search, key=jr.fold_in(refine_key, i), explore=False)
    action, after, _ = agent.best(state, memory, search, key=best_key, explore=False)
    np.testing.assert_allclose(action, whole, atol=1e-5)
    np.testing.assert_allclose(after.plan.actions, plan.plan.actions, atol=1e-5)


@pytest.mark.parametrize("version", ["0.5", "1.0"])
def test_ladder_executes_a_whole_plan_before_it_looks_again(version):
    agent = make_agent(f"mpc-ladder-{version}", oracle=True)
    memory, taken = agent.init_memory(None), []
    for t in range(5):
        # What it sees in between changes nothing.
        action, memory = act(agent, memory, OBS if t in (0, 4) else -OBS, seed=t)
        taken.append(action)
        if t == 0:
            plan = memory.plan.actions
        elif t < 4:
            np.testing.assert_array_equal(memory.plan.actions, plan)
    np.testing.assert_array_equal(jnp.stack(taken[:4]), plan)
    assert not np.array_equal(memory.plan.actions, plan) and int(memory.position) == 1


def test_ladder_replans_at_every_step_from_version_one_and_a_half():
    agent = make_agent("mpc-ladder-1.5", oracle=True)
    right, memory = act(agent, agent.init_memory(None), OBS)
    left, after = act(agent, memory, -OBS, seed=1)
    assert right[0] < left[0] and right[0] < 0
    assert not np.array_equal(after.plan.actions, memory.plan.actions)


def test_unknown_version_is_refused():
    with pytest.raises(ValueError, match=r"version=.2\.0. must be"):
        PlanningAgent(Walk().spec, dataclasses.replace(CONFIGS["mpc-ladder-1.0"], version="2.0"))


def test_ladder_refuses_a_planner_that_makes_no_sequence():
    config = dataclasses.replace(CONFIGS["mpc-ladder-1.0"], planner=PlannerConfig(kind="tree"))
    with pytest.raises(ValueError, match="no sequence of actions"):
        PlanningAgent(EnvSpec("bits", 2, Discrete(2)), config)


def test_exploration_noise_has_its_size_and_keeps_the_bounds():
    agent = PlanningAgent(Walk().spec, dataclasses.replace(CONFIGS["random-shooting"], action_noise=0.2))
    state, memory = agent.init(key=jr.key(0)), agent.init_memory(None)

    def executed(size, key):
        plan = eqx.tree_at(lambda s: s.inner.actions, begun, jnp.full_like(begun.inner.actions, size))
        return agent.best(state, memory, plan, key=key, explore=True)[0]

    begun = agent.begin(state, memory, OBS, key=jr.key(0))
    noisy = jax.vmap(lambda k: executed(0.0, k))(jr.split(jr.key(0), 4000))
    assert float(noisy.std()) == pytest.approx(0.2, rel=0.05) and abs(float(noisy.mean())) < 0.02
    edge = jax.vmap(lambda k: executed(1.0, k))(jr.split(jr.key(0), 100))
    assert float(edge.max()) == 1.0
    with pytest.raises(ValueError, match="action_noise=-1 must be at least 0"):
        PlanningAgent(Walk().spec, dataclasses.replace(CONFIGS["random-shooting"], action_noise=-1))


def test_exploration_noise_is_left_out_where_none_is_asked_for():
    agent = make_agent("random-shooting", oracle=True)
    memory = agent.init_memory(None)
    assert not np.array_equal(act(agent, memory, OBS)[0], act(agent, memory, OBS, explore=True)[0])


def test_old_data_are_counted_in_transitions_not_in_simulator_steps():
    spec = EnvSpec("slow", 2, Box((-1.0,), (1.0,)), action_repeat=4)
    agent = PlanningAgent(spec, CONFIGS["random-shooting"])
    assert agent.init(key=jr.key(0)).learner.old_rows == 5


@pytest.mark.parametrize("name", NAMES)
def test_own_parts_take_the_place_of_the_configured_ones(name):
    plain = make_agent(name)
    learner = plain.init(key=jr.key(7)).learner
    agent = type(plain)(plain.spec, plain.config, given=plain.given, planner=plain.planner, learner=learner)
    assert agent.planner is plain.planner and same_bits(agent.init(key=jr.key(0)).learner, learner)
