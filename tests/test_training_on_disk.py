"""Runs whose replay is on disk: stopped, killed, out of space, looked at."""

import dataclasses
import errno
import os
import subprocess
import sys
import time
import zipfile

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from test_training import StoppedAt, bits, folder_at, rows_of
from tiny import Walk, same_bits

import forethought
from forethought import checkup, training
from forethought.core import AbstractAgent, Schedule
from forethought.errors import StorageFault, UserError
from forethought.learners.schedule import GradientSteps
from forethought.models.simulator import Simulator
from forethought.outlook import plan_lines
from forethought.presets.run import RunConfig
from forethought.replay.chunks import ChunkStore
from forethought.replay.sequence import SequenceReplay
from forethought.setup import build
from forethought.storage.files import faults
from forethought.storage.run_folder import RunFolder
from forethought.types import Box, EnvSpec, Transition

RUN = RunConfig(steps=60, eval_every=25, eval_episodes=1, final_episodes=1, video=False, replay_gb=0.01)
LENGTH = 4


class Recalling(AbstractAgent):
    """Pushes against the mean observation of sequences that it has drawn."""

    spec: EnvSpec = Walk().spec
    random_steps: int = 20
    update_every: int | None = 10
    batches: int = 1  # in a round

    @property
    def schedule(self):
        return Schedule.one_round("model", self.update_every, random_steps=self.random_steps)

    @property
    def sequence_length(self):
        return LENGTH

    def data(self, capacity, num_envs):
        return {"env": SequenceReplay.empty(self.spec, max(capacity, 2 * num_envs), num_envs)}

    def init(self, *, key):
        return jr.normal(key, (self.spec.obs_dim,))

    def init_memory(self, state):
        return None

    def act(self, state, memory, obs, *, key, explore):
        return jnp.clip(0.1 * jr.normal(key, (1,)) - jnp.mean(obs - state), -1, 1), memory, None

    def update(self, state, data, *, round, clock, key):
        def one(state, key):
            mean = jnp.mean(data["env"].sequences(3, LENGTH, key=key).obs, (0, 1))
            return 0.9 * state + 0.1 * mean, {"model/loss": jnp.sum(mean**2)}

        state, metrics = GradientSteps(1, self.batches).repeat(one, state, key=key)
        return state, {}, metrics

    def model(self, state):
        return Simulator(Walk())


def setup_of(run=RUN, agent=None, env=None):
    return build(agent or Recalling(), env or Walk(), run=run)


def trained(path, run=RUN, display=None, agent=None):
    setup = setup_of(run, agent)
    folder = folder_at(path, setup)
    return training.train(setup, folder, display or StoppedAt()), folder


def stored(outcome):
    return outcome.progress.data["env"].rows()[0]


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 3])
def test_run_that_is_stopped_and_resumed_ends_as_if_nothing_had_been(tmp_path, batches):
    agent = Recalling(batches=batches)
    whole, folder = trained(tmp_path / "whole", agent=agent)
    for at in (20, 33, 47):
        _, cut = trained(tmp_path / f"{at}", display=StoppedAt(at), agent=agent)
        display = StoppedAt()
        again = training.resume(setup_of(agent=agent), RunFolder.open(cut.path), display)
        assert again.status == "finished" and display.notes == [f"resumed at step {at}"]
        assert same_bits(bits(again), bits(whole)) and same_bits(stored(again), stored(whole))
        assert rows_of(cut) == rows_of(folder)


def test_checkpoint_does_not_hold_the_replay(tmp_path):
    outcome, folder = trained(tmp_path / "run", display=StoppedAt(50))
    with zipfile.ZipFile(next(iter(folder.checkpoints().values()))) as archive:
        names = {name for name in archive.namelist() if ".data" in name}
        assert names == {f".data['env'].{part}.npy" for part in ("end", "before", "open")}
    assert outcome.progress.data["env"].size == 50


@pytest.mark.slow
def test_all_steps_of_a_run_are_there_with_several_environments_too(tmp_path):
    run = dataclasses.replace(RUN, num_envs=3, steps=60)
    outcome, _ = trained(tmp_path / "run", run)
    assert outcome.progress.data["env"].size == 60


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from test_training_on_disk import *
run = dataclasses.replace(RUN, steps=100000, eval_every=0, checkpoint_seconds=0.2)
trained(sys.argv[1], run)
"""


@pytest.mark.slow
def test_run_killed_outright_goes_on_exactly(tmp_path):
    path = tmp_path / "run"
    program = PROGRAM.format(tests=os.path.dirname(__file__))
    child = subprocess.Popen([sys.executable, "-c", program, str(path)])
    try:
        deadline = time.monotonic() + 240
        while len(list(path.glob("checkpoints/step-*.npz"))) < 2 and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(0.1)  # steps that no checkpoint knows of
    finally:
        child.kill()
        child.wait()
    folder = RunFolder.open(path)
    steps = max(folder.checkpoints())
    run = dataclasses.replace(RUN, steps=steps + 25, eval_every=0)
    again = training.resume(setup_of(run), folder, StoppedAt())
    whole, _ = trained(tmp_path / "whole", run)
    assert again.status == "finished" and same_bits(stored(again), stored(whole))
    assert same_bits(again.progress.agent_state, whole.progress.agent_state)


def test_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(tmp_path, monkeypatch):
    whole, _ = trained(tmp_path / "whole")

    def write(store, env, chunk, steps):
        with faults(store._path(env, chunk)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    display = StoppedAt(33, lambda: monkeypatch.setattr(ChunkStore, "_write", write))
    outcome, folder = trained(tmp_path / "run", display=display)
    assert outcome.status == "failed" and isinstance(outcome.error, StorageFault)
    assert "No space left" in outcome.message and ".steps" in outcome.message and "\n" not in outcome.message
    assert outcome.progress.data["env"].size == 33
    monkeypatch.undo()
    again = training.resume(setup_of(), RunFolder.open(folder.path), StoppedAt())
    assert same_bits(bits(again), bits(whole)) and same_bits(stored(again), stored(whole))


def test_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    _, folder = trained(tmp_path / "run", display=StoppedAt(15))
    for path in folder.checkpoints().values():
        path.unlink()
    again = training.resume(setup_of(), RunFolder.open(folder.path), StoppedAt())
    assert same_bits(stored(again), stored(whole))


def test_resuming_without_the_replay_is_refused_and_evaluating_is_not(tmp_path):
    run = forethought.train(Recalling(), Walk(), run=RUN, out=tmp_path / "run", quiet=True)
    handed = {"agent": Recalling(), "env": Walk()}
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "replay").iterdir()}
    loaded = forethought.load_run(tmp_path / "run", **handed)
    returns = loaded.evaluate(episodes=2).returns
    found = loaded.doctor(episodes=2, horizon=3, out=tmp_path / "doctor")
    assert found.episodes["training"] == 9 and {path: path.read_bytes() for path in before} == before
    for path in before:
        path.unlink()
    loaded = forethought.load_run(tmp_path / "run", **handed)
    np.testing.assert_array_equal(loaded.evaluate(episodes=2).returns, returns)
    run.folder.update_record(status="interrupted")
    with pytest.raises(UserError, match="put the folder back"):
        training.resume(setup_of(), RunFolder.open(tmp_path / "run"), StoppedAt())


def test_plan_says_how_large_the_replay_gets_and_what_it_drops(tmp_path):
    def said(gigabytes, agent=None):
        setup = setup_of(dataclasses.replace(RUN, replay_gb=gigabytes, steps=70), agent)
        progress = setup.driver().start(setup.data(tmp_path / "replay"), seed=0)
        return plan_lines(setup, progress)

    lines = said(0.01)
    assert any(line.startswith("replay on disk: about 80 steps of 23 bytes are 1.84e-06 GB") for line in lines)
    assert not any("warning" in line or "spans several" in line for line in lines)
    assert any("warning: the replay will drop its oldest steps, it keeps the last 40" in x for x in said(0.0000011))
    assert not (tmp_path / "replay").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"replay_gb": -1.0}, "replay_gb=-1.0 must be above 0"),
        ({"replay_gb": 1e-6, "num_envs": 2}, "give it at least 1.48e-06 GB"),
        ({"replay_capacity": 50}, "replay_capacity=50 and replay_gb=0.01 exclude each other"),
        ({"num_seeds": 2}, "no replay-gb"),
    ],
)
def test_options_that_cannot_be_are_one_line(options, says):
    with pytest.raises(UserError, match=says):
        setup_of(dataclasses.replace(RUN, **options))


def test_agent_of_single_transitions_takes_no_replay_on_disk():
    with pytest.raises(UserError, match=r"replay_gb=0\.01: this agent learns from single transitions"):
        build("pets", Walk(), run=RUN)


@pytest.mark.parametrize("stored", [3, 40])
def test_doctor_takes_no_more_of_a_replay_than_it_asks_for(stored):
    spec = EnvSpec("picture", 4, Box((-1.0,), (1.0,)), image=(2, 2, 1))
    replay, example = SequenceReplay.empty(spec, 200), jax.tree.map(lambda x: x[None], Transition.example(spec))
    assert checkup._latest(replay, 10) is None
    for k in range(stored):
        replay = replay.add(dataclasses.replace(example, reward=jnp.full(1, float(k))))
    rows = checkup._latest(replay, 10)
    np.testing.assert_array_equal(rows.reward, np.arange(stored)[-10:])
