"""`train --config`: settings from files; options on the command line win; nothing but plain data is read."""

import json

import pytest

from forethought.catalogue import AGENTS
from forethought.cli.settings_file import read_settings
from forethought.cli.train import _kind, _preset
from forethought.errors import UserError

PETS = AGENTS["pets"]
JSON = '{"steps": 700, "model": {"hidden": [32, 32]}, "planner.horizon": 9, "preset": "cartpole"}'
TOML = 'steps = 700\npreset = "cartpole"\n"planner.horizon" = 9\n[model]\nhidden = [32, 32]\n'
YAML = "steps: 700\npreset: cartpole\nplanner.horizon: 9\nmodel:\n  hidden: [32, 32]\n"


def options(settings, argv=()):
    preset = _preset(list(argv), PETS, settings.preset or "default")
    return _kind(PETS, preset, settings)[1]


@pytest.mark.parametrize(("name", "text"), [("a.json", JSON), ("a.toml", TOML), ("a.yaml", YAML), ("a.yml", YAML)])
def test_settings_of_run_and_agent_stand_side_by_side_nested_or_dotted(tmp_path, name, text):
    if name.startswith("a.y"):
        pytest.importorskip("yaml")
    (tmp_path / name).write_text(text)
    found = options(read_settings(str(tmp_path / name), "pets", PETS))
    assert (found.run.steps, found.config.model.hidden, found.config.planner.horizon) == (700, (32, 32), 9)
    assert found.config.planner.population == PETS.preset("cartpole").planner.population


def test_yaml_numbers_with_an_exponent_are_numbers(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "a.yaml").write_text("steps: 1e3\nmodel.learning_rate: 5e-4\n")
    found = options(read_settings(str(tmp_path / "a.yaml"), "pets", PETS))
    assert (found.run.steps, found.config.model.learning_rate) == (1000, 5e-4)


def test_a_run_json_is_a_file_of_settings_and_so_is_its_folder(tmp_path):
    record = {"format": 1, "agent": "pets", "preset": "cartpole", "run": {"steps": 60}, "config": {"update_every": 7}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    for file in (tmp_path, tmp_path / "run.json"):
        found = options(read_settings(str(file), "pets", PETS))
        assert (found.run.steps, found.config.update_every) == (60, 7)
    with pytest.raises(UserError, match="holds the settings of pets, not of planet"):
        read_settings(str(tmp_path), "planet", AGENTS["planet"])


def test_options_on_the_command_line_win(cli, tmp_path, monkeypatch):
    import forethought.cli.seeds

    seen = {}
    monkeypatch.setattr(forethought.cli.seeds, "train_seeds", lambda *a, **more: seen.update(more) or 0)
    (tmp_path / "a.toml").write_text(TOML)
    said = cli("train", "pets", "pendulum", "--config", "a.toml", "--steps", "5", "--model.hidden", "4")
    assert said.code == 0, said.err
    assert (seen["run"].steps, seen["config"].model.hidden, seen["config"].planner.horizon) == (5, (4,), 9)
    assert seen["preset"] == "cartpole"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", '{"steps": 3, "steps": 4}', "is not JSON: 'steps' stands in it twice"),
        ("a.toml", "stepz = 3", "a.toml: unknown setting 'stepz'; did you mean steps"),
        ("a.toml", "[model]\nhiden = [3]", "unknown setting model.hiden; did you mean model.hidden"),
        ("a.toml", "steps = nan", "steps=nan must be a finite number"),
        ("a.toml", "steps =", "a.toml is not TOML"),
        ("a.json", "{", "a.json is not JSON"),
        ("a.json", "[]", "must hold a table of settings"),
        ("a.json", '{"model": 3}', "model=3 must be a table of settings"),
        ("a.yaml", "x: !!python/object/apply:os.system [ls]", "a.yaml is not YAML|YAML needs PyYAML"),
        ("a.txt", "", "must end in .json, .toml or .yaml"),
        ("a.toml", 'preset = "x"', "unknown preset 'x'"),
    ],
)
def test_what_a_file_cannot_hold_is_one_line(cli, tmp_path, name, text, says):
    import re

    (tmp_path / name).write_text(text)
    said = cli("train", "pets", "pendulum", "--config", name)
    assert re.search(says, said.mistake) and said.code == 2


@pytest.mark.parametrize("name", ["nowhere.toml", "a" * 300, "."])
def test_a_file_that_cannot_be_read_is_one_line(cli, name):
    said = cli("train", "pets", "pendulum", "--config", name)
    assert "cannot be read" in said.mistake or "longer than a path may be" in said.mistake
    assert said.code == 2
