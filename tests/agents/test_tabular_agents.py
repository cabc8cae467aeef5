"""Agents with tables: Dyna-Q, Dyna-Q+, prioritised sweeping, planning from model samples."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import history, run_to, same_bits, updated

from forethought.agents.dyna_q import DynaQ, disagreement
from forethought.agents.model_samples import ModelSamples
from forethought.agents.prioritised_sweeping import PrioritisedSweeping
from forethought.core import AbstractEnv, programs
from forethought.envs.hosted import HostedJaxEnv
from forethought.envs.tabular import maze
from forethought.errors import EnvironmentFault
from forethought.learners.tabular import best_action
from forethought.models.tabular import CountTable, LatestOutcome, WrongTable
from forethought.planners.exact import value_iteration
from forethought.presets.dyna_q import DynaQConfig, TrustConfig
from forethought.presets.model_samples import ModelSamplesConfig
from forethought.presets.prioritised_sweeping import PrioritisedSweepingConfig
from forethought.replay.uniform import UniformReplay
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.types import Box, Discrete, EnvSpec

MAZE = maze("S.G\n.#.\n...", (40, "S#G\n.#.\n..."), name="corner", max_episode_steps=30)
STEPS, BROKEN_AT = 60, 75


class Corner(AbstractEnv):
    """A maze that changes, and whose reward is NaN at a later step of the run."""

    spec: EnvSpec = MAZE.spec

    def reset(self, *, key, start=None, clock=0):
        return MAZE.reset(key=key, start=start, clock=clock)

    def step(self, state, action, *, key):
        state, obs, reward, terminated, truncated = MAZE.step(state, action, key=key)
        return state, obs, jnp.where(state.clock == BROKEN_AT, jnp.nan, reward), terminated, truncated


ENV = Corner()
CONFIG = DynaQConfig(planning_steps=4, step_size=0.5, discount=0.9, bonus=0.01, plan_untried=True)
replay = lambda: UniformReplay.empty(ENV.spec, STEPS)


@functools.cache
def driver(num_seeds=None):
    programs.forget()  # so that it counts every trace of its own
    return JitDriver(DynaQ(ENV.spec, CONFIG), ENV, num_seeds=num_seeds)


@functools.cache
def finished():
    return run_to(driver(), driver().start({"env": replay()}, seed=3), STEPS)


@pytest.mark.slow
def test_learning_inside_the_loop_is_learning_step_by_step():
    """The maze changes on the way, so both drivers also tell the clock alike."""
    stepped = StepDriver(DynaQ(ENV.spec, CONFIG), HostedJaxEnv(ENV))
    by_steps = run_to(stepped, stepped.start({"env": replay()}, seed=3), STEPS)
    assert same_bits(by_steps.agent_state, finished().agent_state)
    assert same_bits(history(by_steps), history(finished()))
    assert int(finished().updates) == STEPS
    assert driver().traces == {"collect": 1, "update": 0}


def test_a_run_cut_in_two_and_seeds_side_by_side_learn_the_same():
    halfway = run_to(driver(), driver().start({"env": replay()}, seed=3), 23)
    assert same_bits(run_to(driver(), halfway, STEPS), finished())
    several = run_to(driver(2), driver(2).start({"env": replay()}, seed=2), STEPS)
    second = jax.tree.map(lambda x: x[1] if x.ndim else x, several.agent_state)
    np.testing.assert_allclose(second.q, finished().agent_state.q, atol=1e-6)
    np.testing.assert_array_equal(second.model.outcome, finished().agent_state.model.outcome)


def test_what_was_learned_before_a_fault_is_whole():
    kept, before = [], BROKEN_AT - 1
    with pytest.raises(EnvironmentFault, match=f"step {BROKEN_AT} of the run"):
        kept.extend(driver().train(driver().start({"env": replay()}, seed=3), total_steps=100))
    last = kept[-1]
    assert (int(last.env_steps), int(last.updates)) == (before, before)
    assert same_bits(last.agent_state, run_to(driver(), driver().start({"env": replay()}, seed=3), before).agent_state)


def numpy_dyna(rows, config):
    """Q-learning from real steps, the model and the clock of Dyna-Q, in plain NumPy; no planning."""
    q, model = np.zeros((9, 4)), {}
    for t in range(STEPS):
        s, a, r = int(rows.obs[t, 0]), int(rows.action[t]), float(rows.reward[t])
        after = 9 if rows.terminated[t] else int(rows.next_obs[t, 0])
        future = 0.0 if after == 9 else q[after].max()
        q[s, a] += config.step_size * (r + config.discount * future - q[s, a])
        model[s, a] = (r, after, t + 1)
    return q, model


def learned_from(config, model=None):
    """What an agent makes of the recorded steps, one after another."""
    agent, rows = DynaQ(ENV.spec, config, model=model), history(finished())
    one = lambda state, row: updated(
        agent, state, replay().add(jax.tree.map(lambda x: x[None], row)), key=jr.fold_in(jr.key(0), state.clock)
    )
    return jax.jit(lambda rows: jax.lax.scan(one, agent.init(key=jr.key(0)), rows))(jax.tree.map(jnp.asarray, rows))


def test_without_planning_it_is_q_learning_and_the_model_holds_the_latest_outcomes():
    """Bonus and untried actions belong to planning alone, so they change nothing here; the clock counts real steps."""
    config = dataclasses.replace(CONFIG, planning_steps=0)
    state, metrics = learned_from(config)
    q, model = numpy_dyna(history(finished()), config)
    np.testing.assert_allclose(state.q, q, atol=1e-6)
    for (s, a), (reward, after, at) in model.items():
        assert (int(state.model.outcome[s, a]), float(state.model.reward[s, a])) == (after, reward)
        assert int(state.tried_at[s, a]) == at
    assert int(state.clock) == STEPS and int(state.met.visited) == len({s for s, _ in model})
    assert float(metrics["model/pairs"][-1]) == len(model) == int(state.model.known().sum())


def test_planning_comes_to_what_the_model_is_worth_and_the_bonus_makes_untried_actions_attractive():
    plain = dataclasses.replace(CONFIG, planning_steps=400, bonus=0.0, plan_untried=False)
    state, _ = learned_from(plain)
    best = value_iteration(state.model.tables(), discount=0.9).action_values
    assert float(best.max()) == 1.0
    np.testing.assert_allclose(state.q, jnp.where(state.model.known(), best, 0.0), atol=1e-3)
    curious, _ = learned_from(dataclasses.replace(plain, bonus=0.5, plan_untried=True))
    untried = ~np.asarray(curious.model.known()) & (np.asarray(curious.met.tries).sum(-1, keepdims=True) > 0)
    assert untried.any() and (np.asarray(curious.q)[untried] > 1.0).all()
    never_there = np.asarray(curious.met.tries).sum(-1) == 0
    assert not np.asarray(curious.q)[never_there].any()


def test_a_wrong_model_is_left_aside_where_it_disagrees():
    wrong = WrongTable(ENV.spec, LatestOutcome.empty(ENV.spec), jnp.ones((9, 4), bool), jnp.full((9, 4), 4))
    config = dataclasses.replace(CONFIG, bonus=0.0, plan_untried=False, trust=TrustConfig(max_error=0.5))
    q, _ = numpy_dyna(history(finished()), config)
    careful, _ = learned_from(config, wrong)
    np.testing.assert_allclose(careful.q, q, atol=1e-6)
    assert not careful.trusted.any()
    sound, metrics = learned_from(config)
    known = np.asarray(sound.model.known())
    changed = np.asarray(sound.met.tries) > 1  # the maze changed, so some latest outcomes differ from those before
    assert np.asarray(sound.trusted)[known & ~changed].all() and float(metrics["model/trusted"][-1]) > 0


def test_disagreement_is_the_total_variation_and_counts_other_rewards():
    spec = EnvSpec("two", 1, Discrete(1), num_states=2)
    seen = CountTable.empty(spec)
    for outcome in (0, 0, 0, 1):
        seen = seen.add(0, 0, 1.0, outcome)
    model = lambda outcome, reward: LatestOutcome.empty(spec).add(0, 0, reward, outcome)
    assert float(disagreement(seen, seen, 0, 0, 0.1)) == pytest.approx(0.0)
    assert float(disagreement(model(0, 1.0), seen, 0, 0, 0.1)) == pytest.approx(0.25)
    assert float(disagreement(model(1, 1.0), seen, 0, 0, 0.1)) == pytest.approx(0.75)
    assert float(disagreement(model(0, 2.0), seen, 0, 0, 0.1)) == pytest.approx(1.0)


def test_ties_are_broken_at_random():
    drawn = jax.jit(jax.vmap(lambda key: best_action(jnp.array([1.0, 0.0, 1.0]), key=key)))(jr.split(jr.key(0), 1000))
    counts = np.bincount(drawn, minlength=3)
    assert counts[1] == 0 and counts.min(initial=1000, where=[True, False, True]) > 400


def test_prioritised_sweeping_comes_to_what_its_model_is_worth_with_few_updates():
    agent = PrioritisedSweeping(ENV.spec, PrioritisedSweepingConfig(planning_steps=20, discount=0.9, model="counts"))
    rows = jax.tree.map(jnp.asarray, history(finished()))
    one = lambda state, row: updated(agent, state, replay().add(jax.tree.map(lambda x: x[None], row)), key=jr.key(0))
    state, metrics = jax.jit(lambda rows: jax.lax.scan(one, agent.init(key=jr.key(0)), rows))(rows)
    best = value_iteration(state.model.tables(), discount=0.9).action_values
    np.testing.assert_allclose(state.q, jnp.where(state.model.known(), best, 0.0), atol=5e-3)
    updates = np.asarray(metrics["plan/updates"])
    assert updates[0] == 0 and updates.max() > 3  # nothing is queued before a reward is met; then it goes backwards


def test_model_samples_learn_from_the_model_alone():
    rows = history(finished())
    full = UniformReplay.empty(ENV.spec, STEPS).add(jax.tree.map(jnp.asarray, rows))
    agent = ModelSamples(ENV.spec, ModelSamplesConfig(method="policy-iteration", discount=0.9))
    state, metrics = jax.jit(lambda full: updated(agent, agent.init(key=jr.key(0)), full, key=jr.key(0)))(full)
    counts = np.zeros((9, 4, 10))
    outcome = np.where(rows.terminated, 9, rows.next_obs[:, 0].astype(int))
    np.add.at(counts, (rows.obs[:, 0].astype(int), rows.action, outcome), 1)
    np.testing.assert_array_equal(state.model.count, counts)
    best = value_iteration(state.model.tables(), discount=0.9).action_values
    np.testing.assert_allclose(state.q, best, atol=1e-4)
    assert float(metrics["model/pairs"]) == counts.any(-1).sum()


def test_numbers_and_tasks_that_cannot_be_are_refused():
    for make_it, match in (
        (lambda: DynaQ(ENV.spec, DynaQConfig(planning_steps=-1)), "planning_steps=-1"),
        (lambda: DynaQ(ENV.spec, DynaQConfig(discount=1.5)), "discount=1.5"),
        (lambda: DynaQ(ENV.spec, DynaQConfig(trust=TrustConfig(max_error=2))), "trust.max_error=2"),
        (lambda: DynaQ(ENV.spec, DynaQConfig(model="other")), "model='other' must be latest or counts"),
        (lambda: DynaQ(EnvSpec("v", 2, Discrete(2))), "an observation is a vector of 2"),
        (lambda: PrioritisedSweeping(ENV.spec, PrioritisedSweepingConfig(threshold=0.0)), "threshold=0.0"),
        (
            lambda: PrioritisedSweeping(EnvSpec("v", 1, Box((0.0,), (1.0,)), num_states=2)),
            "numbered states and actions",
        ),
        (lambda: ModelSamples(ENV.spec, ModelSamplesConfig(method="dp")), "method='dp' must be one of q-learning"),
        (lambda: ModelSamples(ENV.spec, ModelSamplesConfig(walkers=0)), "walkers=0"),
        (lambda: JitDriver(DynaQ(ENV.spec), ENV, num_envs=2), "wants num_envs=1 .got 2."),
    ):
        with pytest.raises(ValueError, match=match):
            make_it()
