"""What was asked for and makes no sense is refused in one line that names it, before anything is tried."""

import sys

import gymnasium
import numpy as np
import pytest
from tiny import CONFIGS, Walk

import forethought
from forethought.errors import UserError, checked_path, nearest
from forethought.outlook import sources
from forethought.presets.run import RunConfig
from forethought.references import load_object
from forethought.setup import build
from forethought.storage.records import check_outside_runs, make_folder

LONG = "a" * 300


class NoSpaces(gymnasium.Env):
    pass


class NoActions(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def gives_none(*_):
    return None


def raises(*_):
    raise RuntimeError("boom\nand more")


def train(env=Walk, agent="pets", **more):
    return forethought.train(agent, env, quiet=True, **{"config": CONFIGS["pets"] if agent == "pets" else None, **more})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"env": "gymnasium:Env"}, "gymnasium:Env has no observation_space"),
        ({"env": NoSpaces}, "NoSpaces has no observation_space"),
        ({"env": NoSpaces()}, "NoSpaces has no observation_space"),
        ({"env": NoActions}, "NoActions has no action_space"),
        ({"env": None}, "None gives NoneType, wanted a gymnasium.Env"),
        ({"agent": "os:system"}, r"os:system failed when it was called \(TypeError.*wanted a function"),
        ({"agent": raises}, r"RuntimeError: boom and more\); wanted a function \(spec, given\) -> agent"),
        ({"agent": gives_none}, "made NoneType, which is no forethought.AbstractAgent"),
        ({"agent": LONG}, "unknown agent 'aaa"),
        ({"agent": 3}, "3 is no agent"),
        ({"agent": "test_refusals:raises", "config": {"x": 1}}, "config: test_refusals:raises is an agent of your own"),
        ({"learner": raises}, "learner failed when it was called"),
        ({"learner": gives_none}, "learner made NoneType, wanted an AbstractLearner"),
        ({"planner": gives_none}, "planner made NoneType, wanted an AbstractPlanner"),
        ({"planner": 3}, "planner=3 must be one, or a function"),
        ({"reward": 3}, "reward=3 must be a function, or the name of one"),
        ({"reward": "math:pi"}, "reward=math:pi cannot be traced"),
        ({"preset": 3}, "unknown preset 3"),
        ({"config": RunConfig()}, "config=RunConfig must be a PETSConfig, or a dictionary of settings"),
        ({"config": {"model.hiden": [8]}}, "unknown setting model.hiden; did you mean"),
        ({"run": {"step": 3}}, "unknown setting run.step; did you mean steps"),
        ({"run": RunConfig(oracle=True, reward="learned")}, "reward=learned: the oracle learns nothing"),
        ({"run": {"oracle": True, "termination": "learned"}}, "termination=learned: the oracle learns nothing"),
        ({"run": {"opponent": "uct-5"}}, "opponent=uct-5: walk is not a game of two players"),
        ({"out": ""}, "out='' is empty"),
        ({"out": LONG}, "is longer than a path may be"),
        ({"out": "a\0b"}, "holds a null byte"),
        ({"out": 3}, "out=3 must be a path"),
        ({"start_from": LONG}, "is longer than a path may be"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(asked, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        train(**asked)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["os:", ":x", ".x:y", "a:b:c", "os", ""])
def test_a_name_of_an_object_has_a_module_and_an_attribute(name):
    with pytest.raises(UserError, match="must look like package"):
        load_object(name)


@pytest.mark.parametrize("text", ["x = (", "raise RuntimeError('no')", "import sys; sys.exit(3)"])
def test_a_module_that_fails_to_import_is_named(text, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing.py").write_text(text)
    for load in (lambda: load_object("failing:X"), lambda: build("pets", "failing:X", run=RunConfig())):
        with pytest.raises(UserError, match="importing failing raised"):
            load()
        sys.modules.pop("failing", None)


def test_a_long_list_of_names_is_cut():
    assert nearest("?", [f"name-{i}" for i in range(50)]).endswith("name-39 and 10 more")


@pytest.mark.parametrize(
    "path",
    ["", " ", "a\0", LONG, "b/" * 3000, 3, None, b"a"],
    ids=["empty", "blank", "null", "long", "deep", "3", "None", "bytes"],
)
def test_every_function_that_takes_a_path_refuses_what_no_file_system_takes(path):
    for call in (
        checked_path,
        forethought.load_run,
        forethought.resume,
        forethought.doctor,
        forethought.Policy.load,
    ):
        with pytest.raises(UserError):
            call(path)


def test_a_run_inside_another_run_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="lies inside the run"):
        make_folder(tmp_path / "deep" / "inside")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    check_outside_runs(tmp_path / "policy" / "policy.npz", own=tmp_path)
    with pytest.raises(UserError, match="lies inside the run"):
        check_outside_runs(tmp_path / "policy" / "policy.npz", own=tmp_path.parent)


def test_a_file_in_the_place_of_a_run_is_called_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a run folder: it is a file"):
        forethought.load_run(tmp_path / "file")


def test_what_is_learned_is_not_called_given():
    assert sources({"reward": "learned", "termination": "never"}) == "given: termination never; learned: reward"
    assert sources({"reward": "learned", "termination": "learned"}) == "given: nothing; learned: reward, termination"
    oracle = {"reward": "learned", "termination": "env", "model": "true dynamics"}
    assert sources(oracle) == "given: reward env, termination env, model true dynamics"
