"""Receding-horizon iLQR as an agent, and as the ladder's planner."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import GIVEN, ONE_NETWORK, Walk, make_agent, updated

from forethought.agents.planning import PlanningAgent
from forethought.core import Schedule
from forethought.models.simulator import Simulator
from forethought.presets.ilqr import ILQRConfig
from forethought.presets.mpc_ladder import MPCLadderConfig
from forethought.presets.parts import PlannerConfig
from forethought.types import Discrete, EnvSpec, Given

PLANNER = PlannerConfig(kind="ilqr", horizon=3, iterations=1, restarts=1)
CONFIG = ILQRConfig(random_steps=20, update_every=20, model=ONE_NETWORK, planner=PLANNER)
TRUE = Given(GIVEN.reward, GIVEN.termination, Simulator(Walk()))


def test_on_the_true_dynamics_it_learns_nothing_and_plans_as_the_ladder_does_with_its_planner():
    agent = PlanningAgent(Walk().spec, CONFIG, given=TRUE)
    assert agent.schedule == Schedule(0, ())
    state = agent.init(key=jr.key(0))
    assert updated(agent, state, None, key=jr.key(0)) == (state, {})
    ladder = PlanningAgent(Walk().spec, MPCLadderConfig(version="1.5", planner=PLANNER), given=TRUE)
    assert ladder.planner == agent.planner
    obs = jnp.array([0.8, 0.8])
    action, plan, _ = agent.act(state, agent.init_memory(state), obs, key=jr.key(1), explore=False)
    # The best first action of three steps of x' = 0.9 x + 0.2 a, cost |x'|^2 + 0.1 a^2 with both x alike, by hand.
    p, gain = 0.0, 0.0
    for _ in range(3):
        q = 2 + p
        gain = 0.18 * q / (0.04 * q + 0.1)
        p = 0.81 * q - (0.18 * q) ** 2 / (0.04 * q + 0.1)
    np.testing.assert_allclose(action, [max(-gain * 0.8, -1.0)], atol=1e-3)
    assert plan.plan.actions.shape == (3, 1)


def test_with_a_network_it_follows_its_schedule_and_parts_can_be_replaced():
    agent = PlanningAgent(Walk().spec, CONFIG, given=GIVEN)
    assert agent.schedule == Schedule.one_round("model", 20, random_steps=20)
    learner = make_agent("random-shooting").init(key=jr.key(7)).learner
    own = PlanningAgent(Walk().spec, CONFIG, given=GIVEN, learner=learner, planner=agent.planner)
    assert own.init(key=jr.key(0)).learner is learner and own.model(own.init(key=jr.key(0))) is learner.model


def test_discrete_actions_are_refused():
    with pytest.raises(ValueError, match="needs continuous actions"):
        PlanningAgent(EnvSpec("bits", 2, Discrete(2)), CONFIG)
