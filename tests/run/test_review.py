"""Evaluation in vector environments, faults in evaluation, noise under a deadline, and memory after resuming."""

import dataclasses
import time

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tiny import CONFIGS, GIVEN, Averaging, Walk, empty_data, run_to, walk_reward

from forethought.agents.planning import PlanningAgent
from forethought.envs.host import GymnasiumVectorEnv, HostedJaxEnv
from forethought.errors import EnvironmentFault, TrainingFault
from forethought.models.simulator import Simulator
from forethought.run.actor import Actor
from forethought.run.evaluate import JitEvaluator
from forethought.run.host_evaluate import HostEvaluator
from forethought.run.steps import StepDriver
from forethought.types import Given, never_terminates

KEY = jr.key(1)
MODES = pytest.mark.parametrize("mode", list(AutoresetMode))


class Pushed(gymnasium.Env):
    """x' = 0.9 x + 0.2 a from a random start; the higher its start, the shorter the episode (3 to 6 steps)."""

    observation_space = gymnasium.spaces.Box(-5, 5, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.left = 3 if self.x[0] > 0 else 6
        return self.x.copy(), {}

    def step(self, action):
        self.x = (0.9 * self.x + 0.2 * action).astype(np.float32)
        self.left -= 1
        return self.x.copy(), -float(np.sum(self.x**2)), self.left == 0, False, {}


def vector(count: int, mode: AutoresetMode) -> GymnasiumVectorEnv:
    return GymnasiumVectorEnv(SyncVectorEnv([Pushed] * count, autoreset_mode=mode))


def evaluate(env, **more):
    agent = Averaging()
    return HostEvaluator(agent, env, num_episodes=4, **more)(agent.init(key=jr.key(0)), key=KEY)


@MODES
def test_episodes_side_by_side_are_those_of_one_after_another(mode):
    alone, among = evaluate(vector(1, mode)), evaluate(vector(3, mode))
    assert set(alone.lengths.tolist()) == {3, 6} and among.finished.all()
    np.testing.assert_allclose(among.returns, alone.returns, rtol=1e-5)
    np.testing.assert_array_equal(among.lengths, alone.lengths)
    np.testing.assert_allclose(among.trajectories.obs, alone.trajectories.obs, rtol=1e-5)


def test_episodes_side_by_side_take_as_many_steps_as_the_longest():
    steps = []
    for count in (1, 3):
        env = vector(count, AutoresetMode.DISABLED)
        taken = env.env.step
        env.env.step = lambda actions, taken=taken, count=count: (steps.append(count), taken(actions))[1]
        lengths = evaluate(env).lengths
        waves = [lengths[i : i + count].max() for i in range(0, 4, count)]
        assert sum(waves) <= steps.count(count) <= sum(waves) + 6  # the last wave holds episodes that nobody asked for
    assert steps.count(3) < steps.count(1)


def test_actions_with_a_deadline_are_taken_one_after_another():
    agent = PlanningAgent(Walk().spec, CONFIGS["random-shooting"], given=GIVEN)
    evaluator = HostEvaluator(agent, HostedJaxEnv(Walk(), 3), num_episodes=2, plan_ms=1e-6)
    found = evaluator(agent.init(key=jr.key(0)), key=KEY)
    assert len(evaluator.actor.latency.taken) == found.lengths.sum()


def test_evaluation_in_hosted_environments_side_by_side():
    alone, among = evaluate(HostedJaxEnv(Walk())), evaluate(HostedJaxEnv(Walk(), 2))
    np.testing.assert_array_equal(among.trajectories.obs[:, 0], alone.trajectories.obs[:, 0])
    np.testing.assert_allclose(among.returns, alone.returns, rtol=1e-5)


# ---- faults


class Breaking(Averaging):
    """Chooses NaN from its sixth action on."""

    def init(self, *, key):
        return jnp.zeros(2)

    def init_memory(self, state):
        return jnp.zeros(())

    def act(self, state, memory, obs, *, key, explore):
        return jnp.where(memory >= 5, jnp.nan, jnp.full(1, 0.25)), memory + 1, None


def test_non_finite_action_in_evaluation_is_the_agents_fault():
    agent = Breaking()
    words = r"non-finite action \[nan\] at step 6 of evaluation episode 0 on walk"
    for evaluator in (
        JitEvaluator(agent, Walk(), num_episodes=2),
        HostEvaluator(agent, HostedJaxEnv(Walk()), num_episodes=2),
    ):
        with pytest.raises(TrainingFault, match=words):
            evaluator(agent.init(key=KEY), key=KEY)


class Bad(Walk):
    """Not finite in one place."""

    where: str = eqx.field(static=True, default="reward")

    def reset(self, *, key, start=None, clock=0):
        state, obs = Walk.reset(self, key=key, start=start, clock=clock)
        return state, jnp.full(2, jnp.inf) if self.where == "reset" else obs

    def step(self, state, action, *, key):
        state, obs, reward, ended, over = Walk.step(self, state, action, key=key)
        return state, obs, jnp.where(state.steps >= 4, jnp.nan, reward), ended, over


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (Walk(limit=40, nan_after=28), r"step 29: the observation is not finite after action \["),
        (Bad(), r"step 4: the reward is not finite after action \["),
        (Bad(where="reset"), "step 0: the observation is not finite at reset"),
    ],
)
def test_non_finite_number_in_evaluation_is_the_environments_fault(env, words):
    agent = Averaging()
    with pytest.raises(EnvironmentFault, match="environment walk, evaluation episode 0, " + words):
        JitEvaluator(agent, env, num_episodes=2)(agent.init(key=KEY), key=KEY)


# ---- deadlines


def shooting(noise: float) -> PlanningAgent:
    config = dataclasses.replace(CONFIGS["random-shooting"], action_noise=noise)
    return PlanningAgent(Walk().spec, config, given=Given(walk_reward, GIVEN.termination, Simulator(Walk())))


def test_noise_of_exploration_is_added_under_a_deadline_too():
    found = {}
    for noise, explore in [(0.0, True), (0.3, True), (0.3, False)]:
        agent = shooting(noise)
        state = agent.init(key=KEY)
        memory = jax.tree.map(lambda x: x[None], agent.init_memory(state))
        actor = Actor(agent, explore=explore, plan_ms=1e-6)  # time for one refinement only, so it can be repeated
        found[noise, explore], *_ = actor(state, memory, jnp.array([[0.1, 0.1]]), jr.split(jr.key(5), 1))
    assert found[0.3, False] == found[0.0, True]
    assert 0 < abs(found[0.3, True] - found[0.0, True]).item() < 2


def test_evaluation_compiles_before_the_first_timed_action():
    traced = []

    def reward(obs, action, next_obs):
        time.sleep(0.3)  # tracing is slow, running is not
        traced.append(1)
        return walk_reward(obs, action, next_obs)

    agent = PlanningAgent(Walk().spec, CONFIGS["random-shooting"], given=Given(reward, never_terminates))
    evaluator = HostEvaluator(agent, HostedJaxEnv(Walk()), num_episodes=1, plan_ms=1e-6)
    evaluator(agent.init(key=KEY), key=KEY)
    assert traced and len(evaluator.actor.latency.taken) == 7
    assert max(evaluator.actor.latency.taken) < 300


# ---- the rest


def test_run_saved_at_an_episodes_end_goes_on_with_fresh_memory():
    env = GymnasiumVectorEnv(SyncVectorEnv([Pushed] * 2, autoreset_mode=AutoresetMode.NEXT_STEP))
    driver = StepDriver(Averaging(random_steps=0), env)
    progress = run_to(driver, driver.start(empty_data(), seed=0), 4)
    # Both episodes have just ended, and the resets of the next step are still to come.
    ended = dataclasses.replace(progress.env, lengths=jnp.zeros(2, jnp.int32))
    assert np.asarray(ended.memory).tolist() == [2, 2]
    resumed = next(driver.train(dataclasses.replace(progress, env=ended), total_steps=8))
    assert np.asarray(resumed.env.memory).tolist() == [0, 0]


def test_closing_evaluator_and_driver_closes_their_environment():
    for make in (lambda env: StepDriver(Averaging(), env), lambda env: HostEvaluator(Averaging(), env, num_episodes=1)):
        env = vector(1, AutoresetMode.DISABLED)
        make(env).close()
        assert env.env.closed
