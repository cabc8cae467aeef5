"""Every mistake is one line that says what, got, wanted and remedy, with an exit code and without a traceback."""

import json
import shutil

import jax
import pytest
import toy_world
from toy_world import TINY

from forethought.storage.run_folder import RunFolder


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("train petz pendulum", "unknown agent 'petz'; did you mean pets or planet?"),
        ("train pets pendulun --quiet", "unknown environment 'pendulun'; did you mean pendulum"),
        ("train pets pendulum --step 3", "unknown option --step; did you mean --steps"),
        ("train pets pendulum --planer.kind cem", "did you mean --planner.kind"),
        ("train pets pendulum --preset cartpol", "unknown preset 'cartpol'; did you mean cartpole or"),
        ("train pets pendulum --preset", "unknown preset ''"),
        ("train pets pendulum extra", "unexpected argument 'extra'"),
        ("train pets", "ENV is missing"),
        ("train", "AGENT and ENV are missing"),
        ("train pets pendulum --steps many", "--steps: wanted a whole number, got 'many'"),
        ("train pets pendulum --model.learning-rate big", "--model.learning-rate: wanted a number, got 'big'"),
        ("train pets pendulum --steps", "--steps needs a value"),
        ("train pets pendulum --planner.kind magic", "--planner.kind: got 'magic', wanted one of 'cem'"),
        ("train mpc-ladder pendulum --version 3", "--version: got '3', wanted one of '0.5', '1.0', '1.5'"),
        ("train pets pendulum --reward nowhere:fn", "'nowhere:fn' cannot be imported"),
        ("train pets pendulum --reward guess", "reward='guess' must be env, learned or pkg.mod:fn"),
        ("trian pets pendulum", "unknown command 'trian'; did you mean train?"),
        ("--verison", "unknown option '--verison'"),
        ("reproduce pets/cartpol", "unknown card 'pets/cartpol'; did you mean pets/cartpole"),
        ("reproduce pets/cartpole --num-seeds 0", "num_seeds=0 must be at least 1"),
        ("list agent", "did you mean agents?"),
        ("completion tcsh", "there is no completion for 'tcsh'"),
        ("evaluate", "RUN is missing"),
        ("evaluate nowhere", "nowhere is not a run folder: it does not exist"),
        ("resume .", "is not a run folder: it holds no run.json"),
        ("plot", "RUN is missing"),
        ("fit nowhere.npz", "there is no dataset at nowhere.npz"),
        ("check-env pendulum --steps 0", "steps=0 must be at least 1"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy_and_exit_code_2(cli, argv, says):
    said = cli(*argv.split())
    assert says in said.mistake
    assert said.code == 2


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--steps 0", "steps=0 must be at least 1"),
        ("--steps -5", "steps=-5 must be at least 1"),
        ("--seed -1", "seed=-1 must be at least 0"),
        ("--num-seeds 0", "num_seeds=0 must be at least 1"),
        ("--num-envs 0", "num_envs=0 must be at least 1"),
        ("--max-minutes 0", "max_minutes=0.0 must be above 0"),
        ("--threads 0", "threads=0 must be at least 1"),
        ("--model.hidden 0", "hidden"),
        ("--model.num-members 0", "num_members=0"),
        ("--model.batch-size -3", "batch_size=-3"),
        ("--model.particles 7", "particles=7 must be a multiple of"),
        ("--planner.population 0", "population=0"),
        ("--planner.horizon -2", "horizon=-2"),
        ("--random-steps -1", "random_steps=-1"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_written(cli, tmp_path, option, says):
    said = cli("train", "pets", "point-mass", "--quiet", *option.split())
    assert says in said.mistake
    assert said.code == 2
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["nan", *(pytest.param(what, marks=pytest.mark.slow) for what in ("shape", "raise"))])
def test_an_environment_that_breaks_is_named_with_step_and_action_and_the_run_can_be_resumed(cli, tmp_path, fault):
    toy_world.fault = fault
    run = tmp_path / "run"
    train = ["train", "pets", "toy_world:Toy", "--steps", "60", *TINY, "--eval-every", "0", "--no-video", "--out", run]
    said = cli(*train, "--quiet")
    assert said.code == 3
    assert "step" in said.mistake and "action" in said.mistake
    assert "resume with: forethought resume" in said.mistake
    assert {"nan": "not finite", "shape": "(3,)", "raise": "the motor is on fire"}[fault] in said.mistake
    folder = RunFolder.open(run)
    assert folder.status == "failed" and folder.checkpoints()
    assert [row["episode"] for row in folder.metrics("episode")] == [0, 1]
    toy_world.fault = None
    said = cli("resume", run, "--quiet")
    assert said.code == 0, said.err
    assert RunFolder.open(run).status == "finished"
    assert [row["episode"] for row in RunFolder.open(run).metrics("episode")] == list(range(6))


def test_a_fault_of_a_watched_run_is_told_once(cli, tmp_path):
    toy_world.fault = "raise"
    said = cli("train", "pets", "toy_world:Toy", "--steps", "60", *TINY, "--no-video", "--out", tmp_path / "run")
    assert said.code == 3
    assert said.err.count("the motor is on fire") == 1


def test_a_run_of_a_newer_format_is_refused_and_left_alone(cli, trained):
    record = json.loads((trained / "run.json").read_text())
    text = json.dumps({**record, "format": 99})
    (trained / "run.json").write_text(text)
    for command in ("evaluate", "resume", "report", "plot", "export"):
        said = cli(command, trained)
        assert "written by a newer Forethought" in said.mistake
        assert said.code == 2
    assert (trained / "run.json").read_text() == text


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', ""])
def test_a_damaged_record_is_named(cli, trained, text):
    (trained / "run.json").write_text(text)
    said = cli("evaluate", trained)
    assert "run.json is damaged" in said.mistake
    assert said.code == 2


def test_a_damaged_checkpoint_is_passed_over_and_said(cli, trained):
    newest = next(iter(RunFolder.open(trained).checkpoints().values()))
    newest.write_bytes(newest.read_bytes()[:-100])
    said = cli("evaluate", trained, "--episodes", "1")
    assert said.code == 0
    assert f"{newest.name} is" in said.err and "instead" in said.err


def test_a_run_without_a_whole_checkpoint_is_one_line(cli, trained):
    for path in (trained / "checkpoints").glob("step-*.npz"):
        path.write_bytes(b"nothing")
    said = cli("evaluate", trained)
    assert "has no whole checkpoint" in said.mistake
    assert said.code == 2


def test_damaged_metrics_are_named_with_their_line(cli, trained):
    path = trained / "metrics.jsonl"
    path.write_text("nonsense\n" + path.read_text())
    assert "metrics.jsonl is damaged in line 1" in cli("plot", trained).mistake


def test_a_folder_in_use_is_not_overwritten(cli, trained):
    before = (trained / "run.json").read_text()
    said = cli("train", "pets", "point-mass", "--quiet", *TINY, "--out", trained)
    assert "exists and is not empty" in said.mistake
    assert said.code == 2
    assert (trained / "run.json").read_text() == before


@pytest.mark.parametrize("command", ["train", "export", "plot", "reproduce"])
def test_a_place_that_cannot_be_written_is_one_line(cli, tmp_path, trained, command):
    (tmp_path / "file").write_text("kept")
    out = tmp_path / "file" / "below"
    argv = {
        "train": ["train", "pets", "point-mass", "--quiet", *TINY, "--out", out],
        "export": ["export", trained, "--out", out],
        "plot": ["plot", trained, "--out", out / "curve.png"],
        "reproduce": ["reproduce", "pets/cartpole", "--quiet", "--out", out],
    }[command]
    said = cli(*argv)
    assert "file" in said.mistake
    assert said.code in (2, 4)
    assert (tmp_path / "file").read_text() == "kept"


def test_fit_finds_its_folder_in_use_before_it_works(cli, tmp_path, trained):
    (tmp_path / "log.npz").write_bytes(b"not looked at")
    assert "exists and is not empty" in cli("fit", "log.npz", "--out", trained).mistake


def test_a_group_that_has_not_begun_and_a_seed_that_is_not_there_are_one_line(cli, tmp_path, trained):
    group = tmp_path / "group"
    group.mkdir()
    (group / "group.json").write_text('{"format": 1, "runs": ["seed-0"]}')
    assert "no run has begun" in cli("resume", group).mistake
    assert "no run has begun" in cli("evaluate", group).mistake
    assert "seed=7" in cli("evaluate", trained, "--seed", "7").mistake


def test_a_missing_gpu_is_one_line(cli, monkeypatch):
    def none(*_):
        raise RuntimeError("Unknown backend cuda")

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(jax, "devices", none)
    said = cli("train", "pets", "point-mass", "--device", "gpu")
    assert "JAX finds no GPU" in said.mistake
    assert said.code == 2


def test_an_error_of_ours_is_one_line_unless_debug(cli, monkeypatch, trained):
    import forethought.reporting

    def broken(folder):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(forethought.reporting, "write", broken)
    said = cli("report", trained)
    assert said.mistake == (
        "forethought: internal error: ZeroDivisionError: oops; run again with --debug for the traceback"
    )
    assert said.code == 70
    with pytest.raises(ZeroDivisionError):
        cli("report", trained, "--debug")


def test_an_interrupt_outside_training_is_one_line(cli, monkeypatch, trained):
    import forethought.reporting

    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(forethought.reporting, "write", interrupted)
    said = cli("report", trained)
    assert said.mistake == "forethought: interrupted" and said.code == 130


def test_a_video_of_what_has_no_picture_is_one_line(cli, tmp_path):
    run = tmp_path / "run"
    cli("train", "pets", "toy_world:Toy", "--steps", "20", *TINY, "--eval-every", "0", "--quiet", "--out", run)
    assert "draws no picture" in cli("video", run).mistake
    shutil.rmtree(run)
