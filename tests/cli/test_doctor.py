"""`forethought doctor` on a tiny run, its report, and what it refuses."""

import json
import shutil

import equinox as eqx
import imageio
import jax.numpy as jnp
import pytest
from tiny import Averaging

from forethought.api import load_run
from forethought.checkup import plan_recalibrated
from forethought.diagnostics.calibration import GRID, Recalibration
from forethought.diagnostics.origin import origin
from forethought.models.recalibrated import Recalibrated
from forethought.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow  # a run is trained for them


def test_the_doctor_looks_at_a_run_and_says_where_it_wrote(cli, trained):
    said = cli("doctor", trained, "--episodes", 3, "--horizon", 6)
    assert said.code == 0, said.err
    folder = trained / "doctor"
    summary = json.loads((folder / "doctor.json").read_text())
    assert summary["verdict"].split()[0] in said.out and "verdict" in said.out
    for finding in summary["findings"]:
        assert f"{finding['severity']}: {finding['name']}" in said.out
        assert " ".join(finding["remedy"].split()[:4]) in " ".join(said.out.split())
    assert summary["episodes"]["fresh"] == 3 and len(summary["examination"]["overall"]) == 6
    page = (folder / "doctor.html").read_text()
    assert "data:video/mp4" in page and "<script" not in page
    frames = imageio.mimread(folder / "imagined.mp4", memtest=False)
    assert len(frames) == 3 * 7 and frames[0].shape[1] > 900  # three stretches, two pictures side by side
    again = cli("doctor", trained, "--episodes", 3, "--horizon", 6)
    assert again.code == 0 and again.out == said.out  # the same episodes, the same figures, over the old ones


def test_evaluate_plans_in_the_recalibrated_model(cli, trained):
    said = cli("evaluate", trained, "--recalibrated")
    assert said.code == 2 and "make it with: forethought doctor" in said.mistake
    assert cli("doctor", trained, "--episodes", 2, "--horizon", 4).code == 0
    plain, better = (cli("evaluate", trained, "--episodes", 2, *more) for more in ((), ("--recalibrated",)))
    assert plain.code == better.code == 0, better.err
    assert plain.out != better.out
    moved = load_run(trained.rename(trained.with_name("moved")))  # it is the model that counts, not where it lies
    setup, state = plan_recalibrated(moved.setup, moved.agent_state(), moved.path / "doctor" / "recalibration.npz")
    assert isinstance(setup.agent.model(state), Recalibrated)


def test_a_recalibration_of_another_model_is_refused_in_one_line(cli, trained):
    run = load_run(trained)
    state = run.agent_state()
    other = eqx.tree_at(lambda s: s.learner.model.networks[0].biases[0], state, replace_fn=lambda x: x + 1)
    table = jnp.broadcast_to(jnp.asarray(GRID, jnp.float32), (1, run.setup.env.spec.obs_dim, len(GRID)))
    made = Recalibration(table, jnp.ones(table.shape[:2]), jnp.ones(1, jnp.int32), 2)
    (trained / "doctor").mkdir()
    file = trained / "doctor" / "recalibration.npz"
    made.save(file, origin(run.setup.agent.model(other), source="runs/other", seed=7))
    said = cli("evaluate", trained, "--recalibrated")
    wanted = origin(run.setup.agent.model(state), source=str(trained), seed=0)["model"]
    assert said.code == 2 and f"{file} is of runs/other, seed 7, model" in said.mistake
    assert f"wanted {trained}, seed 0, model {wanted}; make it with: forethought doctor {trained}" in said.mistake
    assert said.mistake.endswith(str(trained)) and not said.out
    best = cli("evaluate", trained, "--recalibrated", "--best")
    assert best.code == 2 and best.mistake.endswith(f"forethought doctor {trained} --best")
    made.save(file, {})
    assert "does not say which model it is of, wanted" in cli("evaluate", trained, "--recalibrated").mistake


def test_the_report_of_a_run_holds_verdict_and_findings(trained):
    record, text = RunFolder.open(trained).record, (trained / "report.html").read_text()
    assert record["verdict"].replace("'", "&#x27;").replace("<", "&lt;") in text
    assert isinstance(record["findings"], list)
    findings = [{"name": "made-up", "severity": "warning", "sentence": "so it is", "remedy": "do this", "numbers": {}}]
    RunFolder.open(trained).update_record(findings=findings)
    again = load_run(trained).report().read_text()
    assert "made-up" in again and "so it is" in again and "Remedy: do this" in again


def test_a_group_is_looked_at_run_by_run(cli, trained, tmp_path):
    (tmp_path / "group").mkdir()
    trained.rename(tmp_path / "group" / "seed-0")
    (tmp_path / "group" / "group.json").write_text(json.dumps({"format": 1, "runs": ["seed-0"]}))
    said = cli("doctor", "group", "--episodes", 2, "--horizon", 2, "--out", "elsewhere")
    assert said.code == 0, said.err
    assert (tmp_path / "elsewhere" / "doctor.json").is_file()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("doctor", "RUN|MODEL is missing"),
        ("doctor nothing", "nothing does not exist; give the folder of a run, or a model"),
        ("doctor RUN --episodes 0", "episodes=0 must be at least 1"),
        ("doctor RUN --horizon 0", "horizon=0 must be at least 1"),
        ("doctor RUN --data log.npz", "--data is for fitted models"),
        ("doctor RUN --seed 7", "seed=7 is not in this run"),
        ("doctor nothing --best", "--best is for runs, and nothing is none"),
        ("doctor RUN/run.json", "run.json"),
    ],
)
def test_mistakes_are_told_in_one_line(cli, trained, argv, says):
    said = cli(*argv.replace("RUN", str(trained)).split())
    assert said.code == 2
    assert says in said.mistake


def test_a_run_of_a_group_that_cannot_be_looked_at_costs_no_other_and_the_command_ends_with_2(cli, trained, tmp_path):
    names = ["seed-0", "seed-1", "seed-2", "seed-3"]
    for name in names:
        shutil.copytree(trained, tmp_path / "group" / name)
    (tmp_path / "group" / "group.json").write_text(json.dumps({"format": 1, "runs": names}))
    shutil.rmtree(tmp_path / "group" / "seed-0" / "checkpoints")
    (tmp_path / "group" / "seed-2" / "run.json").write_text("{}")
    said = cli("doctor", "group", "--episodes", 2, "--horizon", 2)
    assert said.code == 2 and "Traceback" not in said.err
    looked_at = [(tmp_path / "group" / name / "doctor" / "doctor.json").is_file() for name in names]
    assert looked_at == [False, True, False, True]
    for name in ("seed-0", "seed-2"):
        assert f"note: group/{name} could not be looked at: " in said.err
    assert said.err.splitlines()[-1].endswith(
        "2 of 4 runs could not be looked at: group/seed-0, group/seed-2; see the notes"
    )


def modelless(spec, given):
    """An agent that plans in nothing."""
    return Averaging(spec)


def test_an_agent_without_a_model_has_none_to_look_at(cli, tmp_path):
    argv = "train test_doctor:modelless point-mass --steps 30 --quiet --no-video --final-episodes 1 --eval-every 0"
    said = cli(*argv.split(), "--out", "run")
    assert said.code == 0, said.err
    said = cli("doctor", "run")
    assert said.code == 2 and "has no model to look at" in said.mistake
