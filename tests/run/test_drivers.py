"""What holds for every agent in both drivers."""

import dataclasses

import gymnasium
import jax
import numpy as np
import pytest
from tiny import (
    Averaging,
    Walk,
    copied,
    empty_data,
    history,
    jit_driver,
    make_agent,
    run_to,
    same_bits,
    step_driver,
)

from forethought.envs.hosted import HostedJaxEnv
from forethought.envs.make import make
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.storage import checkpoint
from forethought.types import Given

# PETS searches at every step, a ladder's 1.0 carries a plan across steps. Their variants run the same code of the
# drivers with other numbers, and are held to be built and to act right in tests/agents.
AGENTS = ["pets", "mpc-ladder-1.0"]
every_agent = pytest.mark.parametrize("name", AGENTS)
one_and_three = pytest.mark.parametrize("num_envs", [1, 3])
alone_and_by_threes = pytest.mark.parametrize("name, num_envs", [*((name, 1) for name in AGENTS), ("pets", 3)])


@pytest.fixture(autouse=True, scope="module")
def starts():
    """What drivers have started, kept for this module: each start is a program of its own."""
    yield
    _starts.clear()


_starts = {}


def started(driver, seed: int = 0):
    if (driver, seed) not in _starts:
        num_envs = driver.num_envs if isinstance(driver, JitDriver) else driver.env.num_envs
        _starts[driver, seed] = driver.start(empty_data(num_envs=num_envs), seed=seed)
    return copied(_starts[driver, seed])


@alone_and_by_threes
def test_jit_run_cut_in_two_and_saved_between_equals_one_that_was_not(name, num_envs, tmp_path):
    driver = jit_driver(name, num_envs)
    whole = run_to(driver, started(driver), 45)
    for cut in (13, 20, 33):
        first = run_to(driver, started(driver), cut)
        checkpoint.save(tmp_path / "cut.npz", first, {})
        loaded, _ = checkpoint.load(tmp_path / "cut.npz", started(driver, seed=9))
        assert same_bits(run_to(driver, loaded, 45), whole), cut
    assert driver.traces == {"collect": 2, "update": 1}


@pytest.mark.parametrize("name", ["pets", "mpc-ladder-1.0"])
def test_fresh_driver_continues_a_saved_run_bit_for_bit(name, tmp_path):
    driver, fresh = jit_driver(name), JitDriver(make_agent(name), Walk())
    checkpoint.save(tmp_path / "cut.npz", run_to(driver, started(driver), 27), {})
    loaded, _ = checkpoint.load(tmp_path / "cut.npz", started(fresh))
    assert same_bits(run_to(fresh, loaded, 45), run_to(driver, started(driver), 45))


@every_agent
def test_same_seed_gives_the_same_bits_and_another_seed_does_not(name):
    driver = jit_driver(name)
    first = run_to(driver, started(driver, seed=3), 25)
    assert same_bits(first, run_to(driver, started(driver, seed=3), 25))
    other = run_to(driver, started(driver, seed=4), 25)
    assert not np.array_equal(first.data["env"].rings.data.obs, other.data["env"].rings.data.obs)


@every_agent
def test_yielding_more_often_changes_nothing(name):
    driver = jit_driver(name)
    whole = run_to(driver, started(driver), 25)
    for progress in driver.train(started(driver), total_steps=25, pause_every=3, seconds_per_yield=0.0):
        last = progress
    assert same_bits(dataclasses.replace(last, metrics={}), whole)


@pytest.mark.parametrize(
    "name, num_envs",
    [*((name, 1) for name in AGENTS), ("pets", 3), pytest.param("random-shooting", 1, marks=pytest.mark.slow)],
)  # random shooting adds noise to what it has planned
def test_jit_driver_equals_step_driver(name, num_envs):
    jit = run_to(jit_driver(name, num_envs), started(jit_driver(name, num_envs)), 30)
    steps = run_to(step_driver(name, num_envs), started(step_driver(name, num_envs)), 30)
    assert int(jit.env_steps) == int(steps.env_steps) == 30
    assert int(jit.updates) == int(steps.updates) == 1
    random = 20 // num_envs * num_envs
    for a, b in zip(jax.tree.leaves(history(jit)), jax.tree.leaves(history(steps))):
        np.testing.assert_allclose(a[:random], b[:random], atol=1e-6)
        np.testing.assert_allclose(a, b, atol=2e-3)
    assert [e[2:] for e in jit.episodes.since(0)] == [e[2:] for e in steps.episodes.since(0)]
    np.testing.assert_allclose(
        [e[1] for e in jit.episodes.since(0)], [e[1] for e in steps.episodes.since(0)], atol=2e-2
    )


@pytest.mark.parametrize("name", [*AGENTS, "mpc-ladder-0.5"])  # which fits its model once
def test_updates_come_when_they_are_due(name):
    driver = jit_driver(name)
    seen = [(int(p.env_steps), int(p.updates)) for p in driver.train(started(driver), total_steps=45) if p.metrics]
    assert seen == ([(20, 1)] if name == "mpc-ladder-0.5" else [(20, 1), (40, 2)])
    assert driver.agent.schedule.calls(45) == [len(seen)]


@every_agent
def test_zero_budget_learns_nothing(name):
    driver = jit_driver(name)
    start, end = started(driver), run_to(driver, started(driver), 0)
    assert same_bits(start, end)
    assert int(end.data["env"].size) == int(end.env_steps) == int(end.updates) == 0


@pytest.mark.slow
@every_agent
def test_oracle_plans_well_without_any_update(name):
    driver = jit_driver(name, oracle=True)
    end = run_to(driver, started(driver), 28)
    assert int(end.updates) == 0
    rows = history(end)
    # From the second step of an episode on, x is pulled in: the best action undoes 0.9 x as far as it can.
    assert np.mean(rows.action[:, 0] * np.mean(rows.obs, 1) < 0.05) > 0.8


def check_true_successors(rows, num_envs: int):
    """Rows obey the walk's dynamics, and an episode's first observation is not the successor before it."""
    np.testing.assert_allclose(rows.next_obs, 0.9 * rows.obs + 0.2 * rows.action, atol=1e-6)
    follows = np.all(np.isclose(rows.next_obs[:-num_envs], rows.obs[num_envs:], atol=1e-6), axis=1)
    np.testing.assert_array_equal(follows, ~(rows.truncated | rows.terminated)[:-num_envs])
    assert not rows.terminated.any() and rows.truncated.sum() == num_envs * 2


@one_and_three
def test_next_obs_at_an_episodes_end_is_the_true_one(num_envs):
    for driver in (jit_driver("pets", num_envs), step_driver("pets", num_envs)):
        end = run_to(driver, started(driver), 18 * num_envs if num_envs == 1 else 51)
        check_true_successors(history(end), num_envs)


def test_termination_is_stored_as_termination():
    driver = JitDriver(Averaging(), Walk(ends_above=0.5))
    rows = history(run_to(driver, started(driver), 20))
    np.testing.assert_array_equal(rows.terminated, np.abs(rows.next_obs[:, 0]) > 0.5)
    assert rows.terminated.any() and not rows.terminated.all()


def test_action_repeat_counts_simulator_steps():
    env = make(Walk(), action_repeat=2)
    agent = Averaging(env.spec)
    for driver in (JitDriver(agent, env), StepDriver(agent, HostedJaxEnv(env))):
        end = run_to(driver, driver.start(empty_data(64, env.spec), seed=0), 26)
        # Episodes of 7 steps are 2, 2, 2 and 1: three of them are 12 actions, and three more actions pass step 26.
        assert int(end.env_steps) == 27 and int(end.data["env"].size) == 15 and int(end.updates) == 1
        assert [(e[2], e[3]) for e in end.episodes.since(0)][:2] == [(7, 7), (7, 14)]


@pytest.mark.parametrize("name", ["pets", pytest.param("mpc-ladder-1.0", marks=pytest.mark.slow)])
def test_vectorised_seeds_agree_with_solo_runs(name):
    many, solo = jit_driver(name, num_seeds=2), jit_driver(name)
    together = run_to(many, started(many, seed=5), 30)
    for i in range(2):
        alone = run_to(solo, started(solo, seed=5 + i), 30)
        for stacked, single in zip(*(jax.tree.leaves(p.data["env"].rings.data) for p in (together, alone))):
            np.testing.assert_allclose(stacked[i, 0, :30], single[0, :30], atol=1e-4)
    assert many.traces == {"collect": 2, "update": 1}


@pytest.mark.slow
def test_every_yield_of_vectorised_seeds_can_be_saved_and_continued(tmp_path):
    driver = jit_driver("pets", num_seeds=2)
    whole = run_to(driver, started(driver), 30)
    for progress in driver.train(started(driver), total_steps=30):
        if int(progress.env_steps) > 20:
            checkpoint.save(tmp_path / "cut.npz", dataclasses.replace(progress, metrics={}), {})
            break
    loaded, _ = checkpoint.load(tmp_path / "cut.npz", started(driver))
    assert same_bits(run_to(driver, loaded, 30), whole)


# ---- step driver: resuming


def make_pendulum():
    return make(lambda: gymnasium.make("Pendulum-v1", max_episode_steps=11), host=True)


@pytest.fixture(scope="module")
def pendulum_agent():
    spec = make_pendulum().spec
    return make_agent("random-shooting", spec, given=Given())


@pytest.mark.parametrize("cut", [22, 27, 15], ids=["at an episode's end", "in mid-episode", "in the random phase"])
def test_step_run_on_gymnasium_resumes_exactly(pendulum_agent, cut, tmp_path):
    driver = StepDriver(pendulum_agent, make_pendulum())
    replay = lambda: empty_data(64, pendulum_agent.spec)
    whole = run_to(driver, driver.start(replay(), seed=1), 34)
    checkpoint.save(tmp_path / "cut.npz", run_to(driver, driver.start(replay(), seed=1), cut), {})
    fresh = StepDriver(pendulum_agent, make_pendulum()) if cut == 27 else driver
    loaded, _ = checkpoint.load(tmp_path / "cut.npz", fresh.start(replay(), seed=7))
    notes = []
    *_, last = fresh.train(loaded, total_steps=34, notes=notes)
    assert notes == []
    assert same_bits(dataclasses.replace(last, metrics={}), whole)


@every_agent
def test_step_run_resumes_exactly_in_mid_episode(name, tmp_path):
    driver = step_driver(name)
    whole = run_to(driver, started(driver), 30)
    checkpoint.save(tmp_path / "cut.npz", run_to(driver, started(driver), 25), {})
    loaded, _ = checkpoint.load(tmp_path / "cut.npz", started(driver))
    assert same_bits(run_to(driver, loaded, 30), whole)


def test_episode_that_cannot_be_played_back_is_begun_anew_and_said_so():
    driver = step_driver("random-shooting")
    cut = run_to(driver, started(driver), 25)
    other = dataclasses.replace(cut, env=dataclasses.replace(cut.env, obs=cut.env.obs + 1))
    notes = []
    *_, progress = driver.train(other, total_steps=30, notes=notes)
    assert len(notes) == 1 and "new one was started" in notes[0]
    rows = history(progress)
    # The unfinished episode is cut at row 24; the new one takes its own reset and lasts its full length.
    assert rows.truncated[24] and not rows.terminated[24] and int(progress.env.lengths[0]) == 5


@pytest.mark.slow
def test_three_hosted_environments_resume_at_their_common_end():
    driver = step_driver("random-shooting", 3)
    whole = run_to(driver, started(driver), 63)
    cut = copied(run_to(driver, started(driver), 42))
    assert not np.any(np.asarray(cut.env.lengths))
    assert same_bits(run_to(driver, cut, 63), whole)


def test_uniform_actions_are_held_as_long_as_the_agent_says():
    agent = make_agent("pets")
    agent = type(agent)(
        agent.spec, dataclasses.replace(agent.config, random_steps=20, random_hold=3), given=agent.given
    )
    drawn = []
    for driver in (JitDriver(agent, Walk()), StepDriver(agent, HostedJaxEnv(Walk(), 1))):
        progress = run_to(driver, driver.start(empty_data(), seed=0), 20)
        drawn.append(np.asarray(progress.data["env"].latest(20).action)[:, 0])
    blocks = drawn[0][:18].reshape(6, 3)
    assert np.all(blocks == blocks[:, :1]) and len(np.unique(blocks[:, 0])) == 6
    np.testing.assert_array_equal(drawn[0], drawn[1])
    with pytest.raises(ValueError, match="random_hold=0 must be at least 1"):
        type(agent)(agent.spec, dataclasses.replace(agent.config, random_hold=0))
