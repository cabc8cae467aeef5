"""A policy that was exported runs without the run it came from."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import forethought
from forethought.errors import StorageFault
from forethought.export import export_policy
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PETSConfig
from forethought.presets.run import RunConfig

CONFIG = PETSConfig(
    random_steps=20,
    update_every=20,
    model=EnsembleConfig(num_members=2, particles=2, hidden=(8,), epochs=1, min_steps=5),
    planner=PlannerConfig(horizon=3, population=8, elites=2, iterations=1),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    options = RunConfig(steps=40, eval_every=0, final_episodes=1, video=False)
    out = tmp_path_factory.mktemp("export") / "run"
    return forethought.train("pets", "point-mass", config=CONFIG, run=options, out=out, quiet=True)


def test_the_exported_policy_acts_as_the_runs_own(run, tmp_path):
    arrays, described, loop = export_policy(run, tmp_path / "policy")
    obs = np.array([0.1, -0.2, 0.3, 0.0], np.float32)[: run.setup.env.spec.obs_dim]
    own, exported = run.policy(), forethought.Policy.load(arrays)
    for _ in range(3):  # the plan is carried from step to step
        np.testing.assert_array_equal(exported.predict(obs), own.predict(obs))
    text = json.loads(described.read_text())
    assert (text["agent"], text["env"], text["config"]["model"]["hidden"]) == ("pets", "point-mass", [8])
    assert text["action"]["kind"] == "box" and text["observation"]["shape"] == [run.setup.env.spec.obs_dim]
    assert 15 <= len(loop.read_text().splitlines()) <= 30


def test_the_loop_runs_on_its_own_when_the_run_is_gone(run, tmp_path):
    *_, loop = export_policy(run, tmp_path / "policy", which="best")
    moved = shutil.move(loop.parent, tmp_path / "moved")
    done = subprocess.run([sys.executable, f"{moved}/run_policy.py", "3"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("return -") and done.stdout.endswith("after 100 actions\n")


def test_a_folder_that_cannot_be_made_is_a_storage_fault(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageFault, match="cannot write"):
        export_policy(run, tmp_path / "file" / "policy")
