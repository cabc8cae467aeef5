"""Random actions are played in the programs that a run has compiled already, and change nothing of it."""

import dataclasses

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Averaging, Walk, copied, empty_data, run_to, same_bits

from forethought import baseline
from forethought.catalogue import AGENTS
from forethought.envs.host import GymnasiumEnv
from forethought.presets.run import RunConfig
from forethought.presets.steps import USUAL, usual_steps
from forethought.run.host_evaluate import HostEvaluator
from forethought.run.jit import JitDriver
from forethought.setup import build


@pytest.fixture(scope="module")
def driver():
    return JitDriver(Averaging(), Walk())


@pytest.fixture(scope="module")
def progress(driver):
    return run_to(driver, driver.start(empty_data(), seed=0), 40)


def test_a_copy_of_the_run_goes_on_without_a_new_program(driver, progress):
    before, traces = copied(progress), dict(driver.traces)
    *_, found = baseline._continued(driver, progress)
    assert driver.traces == traces and same_bits(progress, before)
    assert len(found.returns) >= baseline.EPISODES and found.source == "episodes of random actions"
    # 40 steps are 5 episodes of 7 and 5 steps more: what was under way was no random episode.
    assert all(-30 < x < 0 for x in found.returns)


def test_a_run_on_the_device_compares_itself_in_its_own_programs(driver, progress):
    setup = build(Averaging(), Walk(), run=RunConfig(steps=40))
    *parts, found = baseline.played(setup, driver, progress)
    assert all(0 < part < 1 for part in parts) and len(found.returns) >= baseline.EPISODES


class Slow(gymnasium.Env):
    """Ten steps an episode, each worth 1."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.made = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.made += 1
        return np.zeros(2, np.float32), 1.0, False, self.made == 10, {}


def test_no_further_episode_begins_once_there_are_enough():
    asked = []
    evaluator = HostEvaluator(Averaging(), GymnasiumEnv([Slow()]), num_episodes=5)
    *_, found = evaluator.steps(jnp.zeros(2), key=baseline.jr.key(0), enough=lambda: asked.append(1) or len(asked) == 2)
    assert found.returns.tolist() == [10.0, 10.0] and found.lengths.tolist() == [10, 10]


def test_a_slow_environment_is_not_played_for_long(monkeypatch):
    monkeypatch.setattr(baseline, "SECONDS", -1.0)
    setup = build(Averaging(), Slow, run=RunConfig(steps=40))
    *_, found = baseline.played(setup, None, None)
    assert found.returns == (10.0,)


def test_a_game_against_random_moves_is_even_and_need_not_be_played():
    setup = build("alphazero", "tic-tac-toe", run=RunConfig(steps=40))
    (found,) = baseline.played(setup, None, None)
    assert found.mean == 0 and found.exact


def test_every_preset_has_a_number_of_steps_that_holds_updates():
    for name, entry in AGENTS.items():
        for preset, config in entry.presets.items():
            first = getattr(config, "random_steps", 0)
            assert usual_steps(name, preset) >= max(2 * first, 100), f"{name} {preset}"


def test_steps_of_presets_are_those_of_their_cards():
    from forethought.cards import CARDS

    for card in CARDS.values():
        for arm in card.arms:
            if not arm.run.oracle:
                assert usual_steps(card.agent, arm.preset) >= arm.run.steps, f"{card.name} {arm.preset}"


def test_an_agent_of_the_users_own_trains_for_the_usual_steps():
    assert usual_steps("own_agent:Mine") == usual_steps("") == USUAL == 2000


@pytest.mark.parametrize(
    ("run", "updates", "steps", "words"),
    [
        (RunConfig(steps=1000), 3, 1000, "3 updates are few, try `--steps 2000`"),
        (RunConfig(steps=1000), 1, 1000, "one update is little, try `--steps 2000`"),
        (RunConfig(steps=1000), 3, 300, "3 updates are few, let it make all 1,000 steps"),
        (RunConfig(steps=3000), 50, 3000, "50 updates are few, try `--steps 12000`, or another preset"),
        (RunConfig(steps=10), 0, 10, "nothing was learned in 10 steps, try `--steps 2000`"),
        (RunConfig(steps=1000), 0, 10, "nothing was learned in 10 steps, let it make all 1,000 steps"),
        (
            RunConfig(steps=1000, max_minutes=1.5),
            0,
            10,
            "nothing was learned in 10 steps, let it make all 1,000 steps: allow more than `--max-minutes 1.5`",
        ),
    ],
)
def test_what_to_try_is_more_than_was_tried(run, updates, steps, words):
    setup = build(Averaging(), Walk(), run=run)
    assert baseline.advice(setup, updates=updates, steps=steps).startswith(words)


def test_advice_for_a_planner_on_the_true_dynamics_is_to_search_more():
    setup = dataclasses.replace(
        build(Averaging(), Walk(), run=RunConfig(steps=10)), run=RunConfig(steps=10, oracle=True)
    )
    assert "search more" in baseline.advice(setup, updates=0, steps=10)
