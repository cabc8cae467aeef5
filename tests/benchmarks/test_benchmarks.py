"""The benchmarks run, at sizes of no interest, and count what they say they count; no test looks at a time."""

import argparse
import dataclasses
import json
import sys
import types

import jax.random as jr
import numpy as np
import pytest

from benchmarks import (
    arms,
    fitting,
    latency,
    options,
    ours,
    planning,
    record,
    tables,
    time_per_action,
    time_to_oracle,
    work,
)
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PRESETS, PETSConfig
from forethought.presets.run import RunConfig
from forethought.setup import build

pytestmark = pytest.mark.slow

TINY = work.Networks(hidden=(8, 8), members=3, elites=2)
SMALL = PETSConfig(
    random_steps=200,
    update_every=200,
    model=EnsembleConfig(num_members=2, particles=2, hidden=(8,), epochs=1, min_steps=0),
    planner=PlannerConfig(horizon=3, population=8, elites=2, iterations=2),
)


def test_flop_of_a_network_by_hand():
    assert work.forward((3, 5, 2)) == 2 * (15 + 10)
    # Backward: both weights' gradients, and the second layer's input; the first layer's input has none.
    assert work.forward_and_backward((3, 5, 2)) == 2 * (15 + 10) + 2 * (15 + 10) + 2 * 10


def test_flop_of_the_default_tasks_are_those_of_the_known_sizes():
    row = 2 * (5 * 200 + 3 * 200 * 200 + 200 * 8)
    assert work.Planning().flop == 350 * 20 * 15 * row
    assert work.FITTING["batch 256"].flop == 7 * 256 * 40 * (3 * row - 2 * 5 * 200)


def test_work_survives_json():
    task = work.Planning(TINY, particles=4)
    assert work.from_dict(work.Planning, json.loads(json.dumps(dataclasses.asdict(task)))) == task


def test_mbrl_libs_sizes_are_counted_with_the_angles_sine_and_cosine():
    task = time_per_action.work_of(time_per_action.THEIRS)
    assert task.networks.sizes == (6, 200, 200, 200, 200, 8)
    assert task.flop == 5 * 500 * 20 * 30 * work.forward(task.networks.sizes)


@pytest.mark.parametrize("propagation", ["TSinf", "TS1"])
def test_an_iteration_of_planning_answers_with_an_action_and_a_plan(propagation):
    task = dataclasses.asdict(work.Planning(TINY, 4, 6, 3))
    action, plan = ours.planning(task, {"propagation": propagation, "common_noise": True})()
    assert action.shape == (1,) and plan.actions.shape == (3, 1) and np.isfinite(plan.value)


def test_a_pass_of_fitting_takes_the_steps_that_are_counted():
    _, metrics = ours.fitting(dataclasses.asdict(work.Fitting(TINY, 4, 3)), {})()
    assert metrics["model/steps"] == 3 and np.isfinite(metrics["model/loss"])


def test_every_arm_of_planning_is_the_same_work():
    found = planning.own_arms(work.Planning())
    assert len({arm.name for arm in found}) == len({arm.process for arm in found}) == 5
    assert {arm.flop for arm in found} == {work.Planning().flop}


def test_planning_alternates_its_arms_and_its_table_names_them(monkeypatch, tmp_path):
    out, real = tmp_path / "planning.json", arms.peak_arms
    numpy_only = lambda venv: [arm for arm in real(venv, (16,)) if "NumPy" in arm.name]
    monkeypatch.setattr(arms, "peak_arms", numpy_only)
    one = planning.own_arms(work.Planning(TINY, 4, 6, 2))[:1]
    monkeypatch.setattr(planning, "own_arms", lambda task: one)
    planning.main(["--no-peers", "--rounds", "2", "--out", str(out), "--quiet"])
    raw = json.loads(out.read_text())
    assert [len(arm["timings"]) for arm in raw["arms"].values()] == [2, 2]
    assert raw["arms"]["ours, TS-infinity"]["compile_s"] > 0 and raw["machine"]["wall_s"] > 0
    rows = [line.split(" | ")[0] for line in tables.speeds(raw).splitlines() if line.startswith("| ")]
    assert rows == ["| arm", "| ---", "| ours, TS-infinity"]


def test_fitting_has_both_batch_sizes_and_both_settings_of_the_peer(tmp_path):
    given = argparse.Namespace(no_peers=False, venv=tmp_path)
    names = [arm.name for arm in fitting.all_arms(given, work.FITTING) if not arm.name.startswith("peak")]
    kinds = ("ours", "mbrl-lib", "mbrl-lib, malloc tuned")
    assert names == [f"{kind}, {batch}" for batch in work.FITTING for kind in kinds]


def test_a_worker_that_fails_says_why():
    from benchmarks.workers import Worker, WorkerDied

    with Worker("numpy", "benchmarks.numpy_worker") as worker, pytest.raises(WorkerDied, match="KeyError: 'size'"):
        worker.call("prepare", name="x", kind="peak", task={}, options={})


@pytest.fixture
def small_preset(monkeypatch):
    """A preset at sizes of no interest, and no other."""
    monkeypatch.setattr(latency, "PRESET", {"cartpole": "our preset"})
    monkeypatch.setitem(PRESETS, "cartpole", SMALL)


def test_latency_keeps_what_is_done_and_goes_on(small_preset, tmp_path, monkeypatch):
    out = tmp_path / "latency.json"
    setup = build("pets", "pets-cartpole", config=SMALL, run=RunConfig())
    untrained = types.SimpleNamespace(setup=setup, agent_state=lambda: setup.agent.init(key=jr.key(0)))
    monkeypatch.setattr(latency, "trained", lambda path, preset, steps: untrained)
    common = ["--out", str(out), "--quiet", "--actions", "3"]
    latency.main([*common, "--parts", "actions", "deadline", "--plan-ms", "50"])
    first = json.loads(out.read_text())["parts"]
    assert [part["actions"] for part in first.values()] == [3, 3]
    latency.main([*common, "--budgets", "5", "--episodes", "1"])
    parts = json.loads(out.read_text())["parts"]
    assert {name: parts[name] for name in first} == first
    assert parts["returns, 5 ms"]["latency"]["actions"] == 200
    assert "| our preset | 50 ms | 3 |" in tables.latency(json.loads(out.read_text()))


REDO = "--redo-busy"


@pytest.mark.parametrize(
    ("words", "busy", "skipped"),
    [([], True, True), ([REDO], True, False), ([REDO], False, True), (["--again"], False, False)],
)
def test_what_is_kept_is_skipped_unless_asked_for_or_taken_on_a_busy_machine(words, busy, skipped):
    given = options.with_skipping(argparse.ArgumentParser()).parse_args(words)
    assert options.skips(given, {"machine": {"busy": busy}}) == skipped


def test_percentiles_are_values_that_were_measured():
    times = [float(i) for i in range(1, 101)]
    assert (latency.percentile(times, 0.5), latency.percentile(times, 0.99)) == (51.0, 100.0)


EPISODES = """
import json, sys, time
for steps, value in [(200, 1.0), (400, 7.0), (600, 9.0)]:
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps({"kind": "episode", "env_steps": steps, "return": value}) + "\\n")
    time.sleep(0.1)
time.sleep(60)
"""


def follow(path, **limits):
    words = [sys.executable, "-c", EPISODES, str(path)]
    limits = {"mark": 100.0, "max_minutes": 1.0, **limits}
    return time_to_oracle.follow(words, {}, path, **limits)


def test_following_a_run_stops_at_the_first_episode_above_the_mark(tmp_path):
    found = follow(tmp_path / "rows.jsonl", mark=5.0)
    assert [trial["return"] for trial in found["trials"]] == [1.0, 7.0]
    assert found["reached"] == found["trials"][1] and found["stopped"] == "reached"


def test_following_a_run_stops_when_time_is_up(tmp_path):
    found = follow(tmp_path / "rows.jsonl", max_minutes=0.01)
    assert found["stopped"] == "out of time" and found["reached"] is None


def test_time_to_oracle_writes_every_trial_and_skips_what_is_done(small_preset, tmp_path, monkeypatch):
    out = tmp_path / "time_to_oracle.json"

    def command(arm, seed, given, folder):
        return [sys.executable, "-c", EPISODES, str(folder / "rows.jsonl")], {}, folder / "rows.jsonl"

    monkeypatch.setattr(time_to_oracle, "command", command)
    monkeypatch.setattr(time_to_oracle, "oracle_return", lambda env: 8.0)
    words = ["--arms", "ours", "mbrl-lib", "--seeds", "3", "--out", str(out), "--quiet"]
    time_to_oracle.main(words)
    raw = json.loads(out.read_text())
    assert {run["reached"]["env_steps"] for run in raw["runs"].values()} == {600}
    assert "| ours | 1 of 1 | 600 |" in tables.time_to_oracle(raw)
    monkeypatch.setattr(time_to_oracle, "command", None)  # nothing is run again
    time_to_oracle.main(words)
    assert json.loads(out.read_text())["runs"] == raw["runs"]


def test_summaries_by_hand():
    found = record.summary([4.0, 1.0, 2.0, 3.0, 10.0])
    assert found == {"n": 5, "median": 3.0, "q25": 2.0, "q75": 4.0, "min": 1.0, "max": 10.0}
