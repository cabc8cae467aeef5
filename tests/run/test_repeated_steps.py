"""Simulator steps under action repeat, and rewards whose sum is more than float32 holds, in drivers and evaluators."""

import functools

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import Averaging, Walk, copied, empty_data, history, run_to, same_bits

from forethought.core import AbstractHostEnv, HostStep, Round, Schedule
from forethought.envs.hosted import HostedJaxEnv
from forethought.envs.repeat import ActionRepeat
from forethought.errors import EnvironmentFault
from forethought.run.evaluate import JitEvaluator
from forethought.run.host_evaluate import HostEvaluator
from forethought.run.host_step import stepped
from forethought.run.jit import JitDriver
from forethought.run.progress import sound_step
from forethought.run.steps import StepDriver

WALK = ActionRepeat(Walk(), 3)  # 7 simulator steps: three, three and one
AGENT = Averaging(spec=WALK.spec)


@functools.cache
def driver_of(kind: str):
    return JitDriver(AGENT, WALK) if kind == "jit" else StepDriver(AGENT, HostedJaxEnv(WALK))


@functools.cache
def ran(kind: str):
    driver = driver_of(kind)
    return run_to(driver, driver.start(empty_data(spec=WALK.spec), seed=0), 40)


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_steps_of_the_run_and_lengths_of_episodes_are_those_of_the_simulator(kind):
    last = ran(kind)
    assert [(length, end) for _, _, length, end in last.episodes.since(0)] == [(7, 7 * k) for k in range(1, 6)]
    # Five episodes of three actions are 35 steps; two more actions pass 40.
    assert int(last.env_steps) == 41 and int(last.data["env"].size) == 17
    assert int(last.updates) == 2  # at 20 and at 40


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_a_run_that_is_cut_in_mid_episode_goes_on_as_if_it_had_not_been(kind):
    driver = driver_of(kind)
    cut = copied(run_to(driver, driver.start(empty_data(spec=WALK.spec), seed=0), 10))
    assert int(cut.env_steps) == 10
    assert same_bits(run_to(driver, cut, 40), ran(kind))


def test_both_drivers_agree_under_action_repeat():
    assert same_bits(history(ran("jit")), history(ran("steps")))


class Online(Averaging):
    """Learns from each action as it comes."""

    @property
    def schedule(self):
        return Schedule(0, (Round("values", 0, inline=True),), single_env=True)


def test_an_agent_that_learns_online_learns_from_every_action_in_both_drivers():
    agent = Online(spec=WALK.spec)
    drivers = JitDriver(agent, WALK), StepDriver(agent, HostedJaxEnv(WALK))
    ends = [run_to(driver, driver.start(empty_data(spec=WALK.spec), seed=0), 16) for driver in drivers]
    assert [(int(e.env_steps), int(e.updates), int(e.data["env"].size)) for e in ends] == [(17, 7, 7)] * 2
    assert same_bits(*map(history, ends))


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_evaluations_count_simulator_steps(kind):
    state = AGENT.init(key=jr.key(0))
    evaluator = JitEvaluator(AGENT, WALK, num_episodes=2)
    if kind == "steps":
        evaluator = HostEvaluator(AGENT, HostedJaxEnv(WALK), num_episodes=2)
    found = evaluator(state, key=jr.key(1))
    assert found.lengths.tolist() == [7, 7] and found.finished.all()


def test_seeds_side_by_side_share_one_count_of_steps():
    driver = JitDriver(AGENT, WALK, num_seeds=2)
    last = run_to(driver, driver.start(empty_data(spec=WALK.spec), seed=0), 20)
    assert int(last.env_steps) == 20 and last.env.lengths.ravel().tolist() == [6, 6]


class Rich(Walk):
    """Pays so much that two rewards sum up to more than float32 holds."""

    def step(self, state, action, *, key):
        state, obs, _, *over = super().step(state, action, key=key)
        return state, obs, jnp.float32(2e38), *over


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_a_return_that_overflows_ends_the_run_before_it_is_stored(kind):
    agent, env = Averaging(), Rich()
    driver = JitDriver(agent, env) if kind == "jit" else StepDriver(agent, HostedJaxEnv(env))
    with pytest.raises(
        EnvironmentFault, match=r"walk: the sum of an episode's rewards overflows.*at step 2 of the run"
    ):
        for last in driver.train(driver.start(empty_data(), seed=0), total_steps=20):
            kept = int(last.env_steps), int(last.data["env"].size), float(last.env.returns[0])
    assert kept == (1, 1, pytest.approx(2e38))


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_a_return_that_overflows_ends_an_evaluation(kind):
    agent = Averaging()
    evaluator = JitEvaluator(agent, Rich(), num_episodes=1)
    if kind == "steps":
        evaluator = HostEvaluator(agent, HostedJaxEnv(Rich()), num_episodes=1)
    with pytest.raises(EnvironmentFault, match="evaluation episode 0: the sum of an episode's rewards overflows"):
        evaluator(agent.init(key=jr.key(0)), key=jr.key(1))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((3, 0.0), r"terminated as float32 of shape \(\), wanted bool"),
        ((4, jnp.zeros(1, bool)), r"truncated as bool of shape \(1,\)"),
        ((2, jnp.zeros(1)), r"reward as float32 of shape \(1,\), wanted float32 of shape \(\)"),
        ((1, jnp.zeros(3)), r"observation as float32 of shape \(3,\), wanted float32 of shape \(2,\)"),
    ],
)
def test_a_jax_environment_that_answers_wrongly_is_named(answer, words):
    said = [None, jnp.zeros(2), jnp.zeros(()), jnp.zeros((), bool), jnp.zeros((), bool)]
    said[answer[0]] = answer[1]
    with pytest.raises(EnvironmentFault, match=f"walk: step returned {words}"):
        sound_step(Walk(), tuple(said), jnp.int32(1))


class Own(AbstractHostEnv):
    """A user's own host environment, some of whose answers can be chosen."""

    spec, num_envs = Walk().spec, 1

    def __init__(self, **said):
        self.said = said

    def start(self, keys):
        return np.zeros((1, 2), np.float32)

    def step(self, actions, *, step_key, reset_key):
        actions *= 2
        if self.said.get("raises"):
            raise RuntimeError("the motor is on fire")
        no = np.zeros(1, bool)
        return HostStep(np.zeros((1, 2)), np.zeros(1), no, no, np.zeros((1, 2)), no, ~no)._replace(
            **{k: v for k, v in self.said.items() if k != "raises"}
        )

    def render(self):
        return None

    def copy(self, num_envs=1):
        return Own(**self.said)


STEP = {"step_key": jr.key(0), "reset_key": lambda i: jr.key(0)}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"raises": True}, r"step raised RuntimeError: the motor is on fire after action \[\[0.5\]\]"),
        ({"reward": np.array([1e39])}, "reward is not finite in float32"),
        ({"next_obs": np.full((1, 2), np.nan)}, "next_obs is not finite"),
        ({"terminated": np.array(["False"])}, "terminated is <U5"),
        ({"terminated": np.array([np.nan])}, "terminated is float64"),
        ({"truncated": None}, "truncated is object"),
        ({"obs": np.zeros(2)}, r"obs is float64 of shape \(2,\), wanted float32 of shape \(1, 2\)"),
    ],
)
def test_a_host_environment_of_ones_own_that_breaks_is_named(said, words):
    with pytest.raises(EnvironmentFault, match=f"environment walk: {words}"):
        stepped(Own(**{"raises": False, **said}), np.array([[0.5]], np.float32), **STEP)


def test_a_host_environment_of_ones_own_gets_a_copy_of_the_actions():
    actions = np.array([[0.5]], np.float32)
    out = stepped(Own(), actions, **STEP)
    assert actions[0, 0] == 0.5 and out.steps.tolist() == [1] and out.next_obs.dtype == np.float32
