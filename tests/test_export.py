"""A policy that was exported runs without the run it came from."""

import importlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import forethought
from forethought.errors import StorageFault
from forethought.export import _loop, export_policy
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PETSConfig
from forethought.presets.run import RunConfig

pytestmark = pytest.mark.slow  # a run is trained for them

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


OWN = """import gymnasium
import numpy as np
from gymnasium import spaces
from forethought.core import AbstractAgent, Schedule
from forethought.replay.uniform import UniformReplay


class Robot(gymnasium.Env):
    def __init__(self, length=8):
        self.observation_space = spaces.Dict({"x": spaces.Box(-1, 1, (2,), np.float32), "at": spaces.Discrete(9)})
        self.action_space, self.length = spaces.Discrete(3, start=1), length

    def seen(self):
        return {"x": np.zeros(2, np.float32), "at": self.t % 9}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.seen(), {}

    def step(self, action):
        self.t += 1
        return self.seen(), float(action), False, self.t >= self.length, {}


class Last(AbstractAgent):
    spec: object
    traceable: bool = True

    @property
    def schedule(self):
        return Schedule.one_round("model", 5, random_steps=5)

    def data(self, capacity, num_envs):
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key):
        return np.zeros(1)

    def init_memory(self, state):
        return np.zeros(1)

    def act(self, state, memory, obs, *, key, explore):
        return self.spec.action.sample(key=key) * 0 + 2, memory, None

    def update(self, state, data, *, round, clock, key):
        return state, {}, {}


def make_last(spec, given):
    return Last(spec)


gymnasium.register("Robot-v0", entry_point=Robot, max_episode_steps=6)
"""


@pytest.mark.parametrize(("env", "steps"), [("own_robot:Robot", 4), ("Robot-v0", 4)])
def test_the_loop_is_a_gymnasium_loop_that_runs_in_another_folder(env, steps, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own_robot.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "mine")
    monkeypatch.delitem(sys.modules, "own_robot", raising=False)
    own = importlib.import_module("own_robot")
    options = RunConfig(steps=10, eval_every=0, final_episodes=1, video=False)
    more = {"run": options, "env_kwargs": {"length": 4}, "quiet": True}
    run = forethought.train(own.make_last, env, out=tmp_path / "run", **more)
    *_, loop = export_policy(run, tmp_path / "policy")
    text = loop.read_text()
    assert "env.reset(seed=" in text and "obs, reward, terminated, truncated, info = env.step(" in text
    (tmp_path / "other").mkdir()
    shutil.move(tmp_path / "policy", tmp_path / "other" / "policy")
    done = subprocess.run(
        [sys.executable, "policy/run_policy.py"], capture_output=True, text=True, cwd=tmp_path / "other"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"return {3 * steps:.2f} after {steps} actions\n"


def test_the_loop_of_an_environment_that_was_an_object_says_where_to_make_it(run, monkeypatch):
    monkeypatch.setattr(run.setup, "own", ["env"])
    text = _loop(run)
    assert "make it in this file" in text and "forethought.make_gym(made)" in text
    compile(text, "run_policy.py", "exec")


def test_a_folder_that_cannot_be_made_is_a_storage_fault(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageFault, match="cannot write"):
        export_policy(run, tmp_path / "file" / "policy")
