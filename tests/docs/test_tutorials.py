"""The tutorials and the README's example run as they stand."""

import re
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
MOST_LINES = {"two_rounds": 60}  # others: 40


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    """A working directory of its own, so that runs/ is written there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_short(path):
    assert len(path.read_text().splitlines()) < MOST_LINES.get(path.stem, 40)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_index_names_every_tutorial(path):
    assert f"]({path.name})" in (path.parent / "README.md").read_text()


def test_own_environment_is_trained_in_and_acted_in(somewhere, capsys):
    names = run("own_environment")
    assert names["run"].status == "finished"
    assert names["run"].folder.report.is_file()
    assert names["policy"].predict(names["obs"]).shape == (1,)


def test_own_planner_and_own_agent_beat_random_actions(somewhere, capsys):
    for name in ("own_planner", "own_agent"):
        trained = run(name)["run"]
        random = trained.metrics("episode")[0]["return"]
        assert trained.final_return > random / 2, f"{name}: {trained.final_return} after training, {random} at random"


def test_two_rounds_beat_random_actions_and_are_both_called(somewhere, capsys):
    trained = run("two_rounds")["run"]
    rows = trained.metrics("update")
    assert trained.final_return > -10 and trained.random_return < -100  # planners on the true dynamics: about -6
    assert [row["env_steps"] for row in rows if row["round"] == "model"] == [200, 400, 600, 800, 1000]
    assert max(row["update"] for row in rows if row["round"] == "policy") == 801


def test_own_model_is_the_one_that_is_checked(somewhere, capsys):
    run("own_model")
    # the dynamics are linear, so least squares recovers them to rounding; no network would
    assert re.search(
        r"Trust it to all 25 .* agrees with the real one over 25 steps \(within <0\.01 %",
        capsys.readouterr().out,
    )


def test_own_loop_yields_every_update(somewhere, capsys):
    names = run("own_loop")
    steps = re.findall(r"^step (\d+): model loss", capsys.readouterr().out, re.MULTILINE)
    assert steps == ["100", "200", "300", "400"]
    assert names["evaluation"].returns.shape == (4,)


def test_offline_model_learns_from_the_log(somewhere, capsys):
    names = run("offline_model")
    assert names["fitted"].check.useful_steps == 10
    assert (somewhere / "pendulum-model" / "report.html").is_file()
    # full torque from hanging at rest costs about pi^2 a step at first
    assert -11 < float(names["seen"].rewards[0].mean()) < -7


def test_the_example_in_the_readme_runs(somewhere, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    assert names["run"].status == "finished"
    assert re.search(r"^-\d+\.\d+ \[.+\]$", capsys.readouterr().out, re.MULTILINE)


def run(name: str) -> dict:
    """The names that a tutorial leaves behind."""
    return runpy.run_path(str(ROOT / "docs" / "tutorials" / f"{name}.py"), run_name="__main__")
