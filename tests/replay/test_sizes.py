"""How large the replay of a run is."""

import dataclasses

import pytest
from test_training_on_disk import Recalling
from tiny import Averaging, Walk, run_to

from forethought.envs.repeat import ActionRepeat
from forethought.errors import UserError
from forethought.presets.run import RunConfig
from forethought.replay import machine, sizes
from forethought.replay.sequence import SequenceReplay
from forethought.run.jit import JitDriver

RUN = RunConfig(steps=60)
ROW = 19  # bytes of a step of Walk: 2 observations, action, reward, 3 flags


@pytest.mark.parametrize("env", [Walk(), Walk(limit=3), Walk(limit=None, ends_above=0.2)])
@pytest.mark.parametrize("num_envs", [1, 4])
def test_replay_of_a_run_holds_all_its_steps(env, num_envs):
    agent = Recalling(random_steps=1000)
    run = dataclasses.replace(RUN, num_envs=num_envs)
    driver = JitDriver(agent, env, num_envs=num_envs)
    capacity = sizes.run_steps(agent, env, run)
    progress = run_to(driver, driver.start({"env": SequenceReplay.empty(env.spec, capacity, num_envs)}, seed=0), 60)
    assert int(progress.data["env"].size) == 60


@pytest.mark.parametrize(
    ("env", "repeat", "rows"),
    [
        (Walk(limit=8), 4, 15),
        (Walk(limit=7), 3, 27),  # nine episodes of three actions: 3, 3 and 1 steps
        (Walk(limit=None, ends_above=0.2), 4, 60),  # any action may be cut short after one step
    ],
)
def test_actions_that_an_episodes_end_cuts_short_have_room_too(env, repeat, rows):
    assert sizes.run_steps(Averaging(), ActionRepeat(env, repeat), RUN) == rows


def test_room_is_as_little_as_the_task_allows():
    assert sizes.run_steps(Averaging(), Walk(), RUN) == 60
    assert sizes.run_steps(Recalling(), Walk(), RUN) == 60 + 9 + 1
    assert sizes.run_steps(Recalling(), Walk(ends_above=0.2), RUN) == 60 + 60 + 1
    assert sizes.likely_steps(Walk().spec, dataclasses.replace(RUN, num_envs=2)) == 2 * (30 + 5)


def test_default_is_a_quarter_of_the_memory_and_says_so(monkeypatch):
    monkeypatch.setattr(sizes, "device_bytes", lambda: 4 * 50 * ROW)
    run, notes = sizes.agreed_capacity(Recalling(), Walk(), RUN)
    assert run.replay_capacity == 50
    assert "keeps the last 50 of up to 70 steps" in notes[0] and "--replay-gb" in notes[0]
    both, _ = sizes.agreed_capacity(Recalling(), Walk(), dataclasses.replace(RUN, num_seeds=2))
    assert both.replay_capacity == 25
    run, notes = sizes.agreed_capacity(Averaging(), Walk(), RUN)
    assert "--replay-capacity" in notes[0] and run.replay_capacity == 4 * 50 * ROW // 4 // 26
    monkeypatch.setattr(sizes, "device_bytes", lambda: 4 * 70 * ROW)
    assert sizes.agreed_capacity(Recalling(), Walk(), RUN) == (RUN, [])


def test_capacity_beyond_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(sizes, "device_bytes", lambda: 10**6)
    asked = dataclasses.replace(RUN, replay_capacity=10**5)
    with pytest.raises(UserError, match=r"replay_capacity=100000 takes 0.0019 GB.*--replay-gb keeps them on disk"):
        sizes.agreed_capacity(Recalling(), Walk(), asked)


def test_memory_is_that_of_the_container_where_it_has_less(monkeypatch, tmp_path):
    whole = machine.host_bytes()
    (tmp_path / "limit").write_text("1000\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(machine, "CGROUP_LIMITS", (str(tmp_path / "limit"), str(tmp_path / "none"), "/nowhere"))
    assert machine.host_bytes() == 1000 < whole
