"""The loop of a run: what its folder holds, and that stopping and resuming leave no trace."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import jax
import numpy as np
import pytest
from tiny import Averaging, Walk, same_bits

from forethought import training
from forethought.display import Display
from forethought.errors import EnvironmentFault, StorageFault, UserError
from forethought.presets.run import RunConfig
from forethought.setup import Setup, build
from forethought.storage import files
from forethought.storage.archive import MANIFEST
from forethought.storage.run_folder import RunFolder

RUN = RunConfig(steps=60, eval_every=25, eval_episodes=2, final_episodes=2, video=False)


class StoppedAt(Display):
    """Does something once so many steps are done: by default what Ctrl-C does."""

    def __init__(self, steps: int = 10**9, action=None):
        super().__init__(quiet=True)
        self.at, self.action, self.notes = steps, action or (lambda: os.kill(os.getpid(), signal.SIGINT)), []

    def update(self, steps, total):
        super().update(steps, total)
        if steps >= self.at:
            self.at = 10**9
            self.action()

    def note(self, text):
        self.notes.append(text)


def setup_of(run: RunConfig = RUN, env=None, **options):
    return build(Averaging(), env or Walk(), run=run, **options)


def folder_at(path, setup) -> RunFolder:
    run = setup.run
    record = {"agent": setup.agent_name, "env": setup.env_name, "seed": run.seed, "num_seeds": run.num_seeds}
    return RunFolder.create(path, record | {"config": {}, "total_steps": run.steps})


def trained(path, setup, display=None):
    folder = folder_at(path, setup)
    return training.train(setup, folder, display or StoppedAt()), folder


def rows_of(folder, seed=None) -> list[dict]:
    """All rows but events, without wall-clock times."""
    rows = [r for r in folder.metrics(seed=seed) if r["kind"] != "event"]
    return [{k: v for k, v in r.items() if k != "wall_s"} for r in rows]


def bits(outcome):
    return dataclasses.replace(outcome.progress, metrics={})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    return trained(tmp_path_factory.mktemp("runs") / "whole", setup_of())


def test_run_folder_holds_what_it_should(whole):
    outcome, folder = whole
    assert outcome.status == folder.record["status"] == "finished"
    kinds = [r["kind"] for r in folder.metrics()]
    assert kinds.count("episode") == 60 // 7 and kinds.count("update") == 3 and kinds.count("eval") == 3
    for row in folder.metrics():
        assert {"kind", "seed", "env_steps", "wall_s"} <= set(row)
    evals = folder.metrics("eval")
    assert [(r["env_steps"], r["final"]) for r in evals] == [(25, False), (50, False), (60, True)]
    for r in evals:
        assert len(r["returns"]) == len(r["lengths"]) == 2
        assert r["mean_return"] == pytest.approx(np.mean(r["returns"]))
    assert len(folder.checkpoints()) == 2 and max(folder.checkpoints()) == 60 and folder.best_path.is_file()
    assert list((folder.tensorboard / "seed-0").iterdir())
    assert not folder.is_locked


def test_rows_tell_the_steps_at_which_things_happened(whole):
    _, folder = whole
    assert [r["env_steps"] for r in folder.metrics("episode")] == [7 * (k + 1) for k in range(8)]
    assert [r["env_steps"] for r in folder.metrics("update")] == [20, 40, 60]
    assert [r["update"] for r in folder.metrics("update")] == [1, 2, 3]


@pytest.mark.parametrize("at", [3, 20, 25, 47, 60])
def test_ctrl_c_saves_and_resuming_ends_as_if_nothing_had_been(whole, at, tmp_path):
    setup = setup_of()
    outcome, folder = trained(tmp_path / "run", setup, StoppedAt(at))
    assert outcome.status == folder.record["status"] == "interrupted"
    assert outcome.message.startswith("stopped by Ctrl-C at step")
    assert max(folder.checkpoints()) == int(outcome.progress.env_steps) >= at
    again = training.resume(setup_of(), RunFolder.open(folder.path), StoppedAt())
    assert again.status == "finished"
    assert same_bits(bits(again), bits(whole[0]))
    assert rows_of(folder) == rows_of(whole[1])


def test_evaluations_come_at_the_same_steps_however_the_environments_count(tmp_path):
    # Three environments never meet a multiple of 25 exactly: 27, 51, and so on.
    run = dataclasses.replace(RUN, num_envs=3, steps=120)
    steps = []
    for name, at in (("whole", 10**9), ("cut", 52)):
        _, folder = trained(tmp_path / name, setup_of(run), StoppedAt(at))
        training.resume(setup_of(run), RunFolder.open(folder.path), StoppedAt())
        steps.append([r["env_steps"] for r in folder.metrics("eval") if not r["final"]])
    assert steps[0] == steps[1] == [27, 51, 75, 102]


def test_sigterm_stops_as_ctrl_c_does(tmp_path):
    stop = StoppedAt(10, lambda: os.kill(os.getpid(), signal.SIGTERM))
    outcome, _ = trained(tmp_path / "run", setup_of(), stop)
    assert outcome.status == "interrupted" and "SIGTERM" in outcome.message


def test_second_ctrl_c_interrupts_at_once_and_leaves_the_run_resumable(tmp_path):
    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    before = signal.getsignal(signal.SIGINT)  # a background job ignores it
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", setup_of(), StoppedAt(30, twice))
    folder = RunFolder.open(tmp_path / "run")
    assert folder.record["status"] == folder.status == "interrupted" and signal.getsignal(signal.SIGINT) is before
    assert training.resume(setup_of(), folder, StoppedAt()).status == "finished"


def test_an_unexpected_error_saves_what_was_yielded_last_and_closes_the_record(tmp_path):
    def broken():
        raise RuntimeError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        trained(tmp_path / "run", setup_of(), StoppedAt(30, broken))
    folder = RunFolder.open(tmp_path / "run")
    assert folder.record["status"] == "failed"
    assert folder.record["message"] == "internal error: RuntimeError: no such thing"
    assert max(folder.checkpoints()) >= 30
    assert training.resume(setup_of(), folder, StoppedAt()).status == "finished"


def test_an_error_before_the_first_step_closes_the_record(tmp_path, monkeypatch):
    def broken(self):
        raise RuntimeError("no such driver")

    monkeypatch.setattr(Setup, "driver", broken)
    with pytest.raises(RuntimeError):
        trained(tmp_path / "run", setup_of())
    assert RunFolder.open(tmp_path / "run").record["status"] == "failed"


def test_checkpoints_before_the_first_evaluation_are_standard_json(tmp_path):
    _, folder = trained(tmp_path / "run", setup_of(), StoppedAt(5))
    (path,) = folder.checkpoints().values()
    with zipfile.ZipFile(path) as archive:
        assert b'"best_return": null' in archive.read(MANIFEST)


def test_damaged_newest_checkpoint_is_passed_over_and_said_so(whole, tmp_path):
    _, folder = trained(tmp_path / "run", setup_of(), StoppedAt(55))
    newest, older = list(folder.checkpoints().items())[:2]
    data = bytearray(newest[1].read_bytes())
    data[len(data) // 2] ^= 1
    newest[1].write_bytes(data)
    display = StoppedAt()
    again = training.resume(setup_of(), RunFolder.open(folder.path), display)
    assert any("damaged" in note and older[1].name in note for note in display.notes)
    assert same_bits(bits(again), bits(whole[0])) and rows_of(folder) == rows_of(whole[1])


def test_run_killed_before_its_first_checkpoint_starts_again(whole, tmp_path):
    _, folder = trained(tmp_path / "run", setup_of(), StoppedAt(10))
    for path in folder.checkpoints().values():
        path.unlink()
    again = training.resume(setup_of(), RunFolder.open(folder.path), StoppedAt())
    assert same_bits(bits(again), bits(whole[0])) and rows_of(folder) == rows_of(whole[1])


def test_full_disk_ends_the_run_with_the_last_checkpoint_whole(whole, tmp_path, monkeypatch):
    def fill():
        def fail(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(files.os, "fsync", fail)

    setup = setup_of()
    folder = folder_at(tmp_path / "run", setup)
    outcome = training.train(setup, folder, StoppedAt(30, fill))
    assert outcome.status == "failed" and isinstance(outcome.error, StorageFault)
    assert "No space left" in outcome.message
    monkeypatch.undo()
    folder = RunFolder.open(tmp_path / "run")
    assert folder.status == "interrupted"
    again = training.resume(setup_of(), folder, StoppedAt())
    assert same_bits(bits(again), bits(whole[0])) and rows_of(folder) == rows_of(whole[1])


def test_environment_that_breaks_leaves_a_failed_run_that_can_go_on(whole, tmp_path):
    outcome, folder = trained(tmp_path / "run", setup_of(env=Walk(limit=7, nan_after=4)))
    assert outcome.status == folder.record["status"] == "failed"
    assert isinstance(outcome.error, EnvironmentFault) and "step 5 of the run" in folder.record["message"]
    assert max(folder.checkpoints()) == 4
    # Mended, it ends as if it had never broken.
    again = training.resume(setup_of(), RunFolder.open(folder.path), StoppedAt())
    assert same_bits(bits(again), bits(whole[0])) and rows_of(folder) == rows_of(whole[1])


def test_max_minutes_finishes_early_with_a_final_evaluation(tmp_path):
    outcome, folder = trained(tmp_path / "run", setup_of(dataclasses.replace(RUN, max_minutes=1e-6)))
    assert outcome.status == "finished" and "minutes are over" in outcome.message
    assert int(outcome.progress.env_steps) < 60 and folder.metrics("eval")[-1]["final"]


def test_reached_return_stops_the_run(tmp_path):
    outcome, folder = trained(tmp_path / "run", setup_of(dataclasses.replace(RUN, stop_at_return=-1e6)))
    assert outcome.status == "finished" and outcome.message == "reached the return of -1e+06 at step 25"
    assert [r["final"] for r in folder.metrics("eval")] == [False, True]


def test_best_checkpoint_is_that_of_the_best_evaluation(whole):
    _, folder = whole
    best = max(folder.metrics("eval"), key=lambda r: r["mean_return"])
    found = folder.load_checkpoint(bits(whole[0]), "best")
    assert found.meta["env_steps"] == best["env_steps"] and found.notes == []


def test_no_evaluation_but_the_last_if_none_is_asked_for(tmp_path):
    _, folder = trained(tmp_path / "run", setup_of(dataclasses.replace(RUN, eval_every=0, steps=30)))
    assert [r["final"] for r in folder.metrics("eval")] == [True]


def test_checkpoints_are_written_as_often_as_asked(tmp_path):
    run = dataclasses.replace(RUN, eval_every=0, checkpoint_seconds=1e-6, steps=30)
    kept = []
    folder = folder_at(tmp_path / "run", setup_of(run))
    display = StoppedAt()
    display.update = lambda steps, total: kept.append(set(folder.checkpoints()))
    training.train(setup_of(run), folder, display)
    assert len(set.union(*kept)) > 3 and max(map(len, kept)) == 2


# ---- several seeds as one program


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    run = dataclasses.replace(RUN, num_seeds=2, seed=5)
    return trained(tmp_path_factory.mktemp("runs") / "two", setup_of(run))


def test_rows_of_several_seeds_differ_in_their_seed(two_seeds, tmp_path):
    outcome, folder = two_seeds
    assert outcome.status == "finished" and len(outcome.evaluations) == 2
    for kind in ("episode", "update", "eval"):
        first, second = folder.metrics(kind, 5), folder.metrics(kind, 6)
        assert len(first) == len(second) > 0 and len(folder.metrics(kind)) == 2 * len(first)
    assert {p.name for p in folder.tensorboard.iterdir()} == {"seed-5", "seed-6"}
    _, alone = trained(tmp_path / "solo", setup_of(dataclasses.replace(RUN, seed=6)))
    both = zip(folder.metrics("episode", 6)[:3], alone.metrics("episode")[:3])
    for a, b in both:
        assert a["return"] == pytest.approx(b["return"], abs=1e-3) and a["env_steps"] == b["env_steps"]


@pytest.mark.slow
def test_several_seeds_are_resumed_exactly(two_seeds, tmp_path):
    run = dataclasses.replace(RUN, num_seeds=2, seed=5)
    _, folder = trained(tmp_path / "run", setup_of(run), StoppedAt(30))
    again = training.resume(setup_of(run), RunFolder.open(folder.path), StoppedAt())
    assert same_bits(bits(again), bits(two_seeds[0]))
    for seed in (5, 6):
        assert rows_of(folder, seed) == rows_of(two_seeds[1], seed)


# ---- what is given


def wrong_reward(obs, action, next_obs):
    return jax.numpy.sum(obs)


def late_mistake(obs, action, next_obs):
    return action[0] > 0.8


def events(folder):
    return [r["message"] for r in folder.metrics("event")]


def test_given_function_that_disagrees_is_noted(tmp_path):
    _, folder = trained(tmp_path / "run", setup_of(dataclasses.replace(RUN, steps=25), reward=wrong_reward))
    assert sum("given reward function wrong_reward differs" in m for m in events(folder)) == 1


def test_given_function_is_held_against_more_than_the_first_step(tmp_path):
    run = dataclasses.replace(RUN, steps=25, seed=2)
    _, folder = trained(tmp_path / "run", setup_of(run, termination=late_mistake))
    assert sum("given termination function late_mistake differs" in m for m in events(folder)) == 1


def test_given_functions_that_agree_are_not_mentioned(whole):
    assert events(whole[1]) == []


# ---- kill -9

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from test_training import *
run = dataclasses.replace(RUN, steps=100000, eval_every=0, checkpoint_seconds=0.2)
trained(sys.argv[1], setup_of(run))
"""


@pytest.mark.slow
def test_run_killed_outright_resumes_from_its_checkpoint(tmp_path):
    path = tmp_path / "run"
    program = PROGRAM.format(tests=os.path.dirname(__file__))
    child = subprocess.Popen([sys.executable, "-c", program, str(path)])
    try:
        deadline = time.monotonic() + 120
        while len(list(path.glob("checkpoints/step-*.npz"))) < 2 and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
    folder = RunFolder.open(path)
    assert json.loads((path / "run.json").read_text())["status"] == "running" and folder.status == "interrupted"
    steps = max(folder.checkpoints())
    run = dataclasses.replace(RUN, steps=100000, eval_every=0)
    outcome = training.resume(setup_of(run), folder, StoppedAt(steps + 1))
    assert outcome.status == "interrupted" and int(outcome.progress.env_steps) > steps
    assert f"resumed at step {steps}" in events(folder)


def test_resume_refused_for_a_run_in_use_leaves_its_metrics_as_they_are(tmp_path):
    _, folder = trained(tmp_path / "run", setup_of(), StoppedAt(30))
    before = folder.metrics_path.read_bytes()
    with folder.locked(), pytest.raises(UserError, match="in use"):
        training.resume(setup_of(), RunFolder.open(folder.path), StoppedAt())
    assert folder.metrics_path.read_bytes() == before
