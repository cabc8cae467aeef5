"""What the commands do, each on one tiny run."""

import dataclasses
import json
import subprocess
import sys

import pytest
from PIL import Image
from toy_world import TINY

import forethought
from forethought.cards import CARDS, ORACLES, Arm, Card
from forethought.cards.marks import median_return
from forethought.catalogue import AGENTS, find
from forethought.cli import check_env, completion
from forethought.cli.main import COMMANDS, main
from forethought.cli.names import GYMNASIUM, OWN_ENVS, newest
from forethought.cli.parse import parse
from forethought.cli.plot import pool
from forethought.cli.train import _help, _kind, _names, _preset
from forethought.envs.make import OWN, make
from forethought.errors import UserError
from forethought.presets.mpc_ladder import PRESETS, MPCLadderConfig
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.run import RunConfig
from forethought.refusals import check_game, check_numbered
from forethought.storage.run_folder import RunFolder
from forethought.types import Box

SMALL_PLANS = TINY[TINY.index("--planner.population") : TINY.index("--random-steps")]


def test_train_puts_every_option_into_the_record(cli, tmp_path):
    argv = ["train", "mpc-ladder", "point-mass", "--version", "1.0", "--preset", "cartpole"]
    argv += ["--steps", "10", "--seed", "3", "--eval-every", "0"]
    said = cli(
        *argv, "--final-episodes", 1, "--no-video", "--quiet", "--model.hidden", 8, 4, *SMALL_PLANS, "--out", "run"
    )
    assert said.code == 0, said.err
    record = RunFolder.open(tmp_path / "run").record
    assert record["config"]["version"] == "1.0" and record["config"]["model"]["hidden"] == [8, 4]
    assert (record["preset"], record["seed"], record["run"]["video"]) == ("cartpole", 3, False)
    assert record["command"].startswith("forethought train mpc-ladder point-mass --version 1.0")
    assert said.err == "" and "final return" in said.out and "report  run/report.html" in said.out


def test_options_may_stand_before_the_names():
    assert _names(["--steps", "3", "pets", "pendulum", "--quiet"]) == ("pets", "pendulum", ["--steps", "3", "--quiet"])
    assert _names(["mod:fn", "Env-v1", "--steps", "3"]) == ("mod:fn", "Env-v1", ["--steps", "3"])
    assert _names(["pets", "--steps", "3"]) == ("pets", None, ["--steps", "3"])


@pytest.mark.slow
def test_a_finished_run_is_trained_on_with_from(cli, trained, tmp_path):
    said = cli(
        *f"train pets point-mass --steps 20 --from {trained} --out more --quiet --eval-every 0 --no-video".split(),
        *TINY,
    )
    assert said.code == 0, said.err
    assert RunFolder.open(tmp_path / "more").record["start_from"] == str(trained)


def test_evaluate_agrees_with_the_final_evaluation_and_with_itself(cli, trained):
    said = cli("evaluate", trained, "--episodes", "1")
    assert said.code == 0 and said.err == ""
    mean = float(said.out.splitlines()[1].split()[2])
    assert mean == pytest.approx(RunFolder.open(trained).metrics("eval")[-1]["mean_return"], rel=1e-2)
    assert cli("evaluate", trained, "--episodes", "1").out == said.out
    assert cli("evaluate", trained, "--episodes", "1", "--start-seed", "9").out != said.out


def test_evaluate_with_a_time_limit_per_action_plays_whole_episodes(cli, trained):
    said = cli("evaluate", trained, "--episodes", "1", "--plan-ms", "2")
    assert said.code == 0, said.err
    assert said.out.splitlines()[1].split()[-1] == "100.0"


def test_resume_of_a_finished_run_changes_nothing(cli, trained):
    before = (trained / "metrics.jsonl").read_bytes()
    said = cli("resume", trained)
    assert said.code == 0 and "nothing to resume" in said.err
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_report_and_plot_write_where_they_say(cli, trained, tmp_path):
    (trained / "report.html").unlink()
    assert cli("report", trained).out.split() == ["report", str(trained / "report.html")]
    assert (trained / "report.html").stat().st_size > 1000
    said = cli("plot", trained, "--out", "new.svg")
    assert said.code == 0 and (tmp_path / "new.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_a_film_of_several_episodes_goes_where_it_is_asked_to(cli, trained, tmp_path):
    before = (trained / "report.html").stat().st_mtime_ns
    said = cli("video", trained, "--episodes", 2, "--fps", 50, "--out", "two.gif")
    assert said.code == 0 and said.out == "video   two.gif\n", said.err
    with Image.open(tmp_path / "two.gif") as film:
        assert film.n_frames == 2 * 101 and film.info["duration"] == 20
    assert (trained / "report.html").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ("--episodes 0", "episodes=0 must be at least 1"),
        ("--fps nan", "fps=nan must be a finite number"),
        ("--fps 0", "fps=0.0 must be above 0"),
        ("--out film", "has no ending; use .mp4 or .gif"),
    ],
)
def test_a_film_that_cannot_be_is_refused(cli, trained, words, mistake):
    assert mistake in cli("video", trained, *words.split()).mistake


@pytest.mark.slow
def test_a_run_ends_with_whether_it_learned(cli, trained, tmp_path):
    argv = ["train", "pets", "point-mass", "--steps", "40", *TINY, "--eval-every", "0", "--no-video", "--out", "run"]
    said = cli(*argv)
    outcome = RunFolder.open(tmp_path / "run").record["outcome"]
    assert said.out.splitlines()[-1] == f"outcome {outcome}"


def test_steps_that_are_not_given_are_those_of_the_preset():
    steps = lambda agent, preset: _kind(find(agent), preset, agent=agent)[1].run.steps
    assert steps("pets", "default") == 2000 and steps("dreamer-v3", "minatar") == 500_000


def test_video_films_an_episode(cli, trained):
    for old in (trained / "videos").glob("policy.*"):
        old.unlink()
    said = cli("video", trained)
    assert said.code == 0, said.err
    assert list((trained / "videos").glob("policy.*"))


def _like(folder, path, **changes):
    """A copy of a run's record and metrics with changes."""
    path.mkdir()
    record = json.loads((folder / "run.json").read_text())
    for name, value in changes.items():
        if isinstance(value, dict):
            record[name] = {**record[name], **value}
        else:
            record[name] = value
    (path / "run.json").write_text(json.dumps(record))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seed = record["seed"]
    (path / "metrics.jsonl").write_text("".join(json.dumps({**row, "seed": seed}) + "\n" for row in rows))
    return path


def test_plot_pools_seeds_of_the_same_settings_and_compares_others(cli, trained, tmp_path):
    other = _like(trained, tmp_path / "b", seed=1)
    repeat = _like(trained, tmp_path / "c")
    changed = _like(trained, tmp_path / "d", config={"update_every": 30})
    elsewhere = _like(trained, tmp_path / "e", env="pendulum")
    names = lambda *paths: {k: len(v) for k, v in pool([RunFolder.open(p) for p in paths]).items()}
    assert names(trained, other) == {"pets": 2}
    assert names(trained, repeat) == {"pets trained": 1, "pets c": 1}
    assert names(trained, changed) == {"pets update_every=20": 1, "pets update_every=30": 1}
    assert names(trained, elsewhere) == {"pets on point-mass": 1, "pets on pendulum": 1}
    said = cli("plot", trained, other, changed)
    assert said.code == 0 and (tmp_path / "learning-curves.png").is_file()
    assert next(line.split()[1:3] for line in said.out.splitlines()[1:3]) == ["update_every=20", "2"]


@pytest.mark.slow
def test_seeds_on_a_gymnasium_environment_are_trained_one_after_another_as_a_group(cli, tmp_path):
    argv = ["train", "pets", "toy_world:Toy", "--steps", 40, *TINY, "--eval-every", 0, "--no-video", "--out", "group"]
    said = cli(*argv, "--num-seeds", 2, "--seed", 5)
    assert said.code == 0, said.err
    assert "2 seeds are trained one after another" in said.err
    folders = [RunFolder.open(tmp_path / "group" / f"seed-{seed}") for seed in (5, 6)]
    assert [(f.record["seed"], f.record["num_seeds"], f.status) for f in folders] == [
        (5, 1, "finished"),
        (6, 1, "finished"),
    ]
    said = cli("evaluate", "group", "--episodes", 1)
    assert [line.split()[0] for line in said.out.splitlines()[1:3]] == ["5", "6"]
    assert "mean over 2 seeds" in said.out
    assert cli("plot", "group").out.splitlines()[1].split()[:2] == ["pets", "2"]
    # a seed that never began is started with the settings of the others
    second = tmp_path / "group" / "seed-6"
    before = [row["return"] for row in RunFolder.open(second).metrics("episode")]
    second.rename(tmp_path / "away")
    assert cli("resume", "group", "--quiet").code == 0
    assert [row["return"] for row in RunFolder.open(second).metrics("episode")] == before


@pytest.mark.slow
def test_seeds_in_a_jax_environment_are_one_run(cli, tmp_path):
    argv = ["train", "pets", "point-mass", "--steps", 20, *TINY, "--eval-every", 0, "--no-video", "--quiet"]
    said = cli(*argv, "--num-seeds", 2, "--out", "run")
    assert said.code == 0, said.err
    assert RunFolder.open(tmp_path / "run").record["num_seeds"] == 2
    assert "(seed 0)" in said.out and "(seed 1)" in said.out


def test_check_env_says_how_far_it_is_where_it_takes_long(cli, monkeypatch):
    monkeypatch.setattr(check_env, "QUIET", 0.0)
    said = cli("check-env", "toy_world:Toy", "--steps", 20, "--max-seconds", 50)
    assert "making the environment, at most 50 s left" in said.err and "making" not in said.out


def test_check_env_exits_1_on_an_error_and_0_without(cli):
    said = cli("check-env", "pendulum", "--steps", 20)
    assert said.code == 0 and "0 errors" in said.out
    said = cli("check-env", "pendulum", "--steps", 20, "--reward", "toy_world:pendulum_reward")
    assert said.code == 1 and "1 error," in said.out
    assert "got 7" in said.out


def test_lists_name_everything(cli):
    said = cli("list")
    for name in (
        "pets",
        "pets-cartpole",
        "paper-cartpole",
        "pets/cartpole",
        "Pendulum-v1",
        "pendulum-no-velocity",
        "-pixels[-SIZE][-grey]-velocity",
    ):
        assert name in said.out


def test_listed_spaces_are_those_of_the_environments():
    seen = lambda spec: f"{spec.num_states} states" if spec.num_states is not None else f"vector of {spec.obs_dim}"
    image = lambda spec: seen(spec) if spec.image is None else f"picture {'x'.join(map(str, spec.image))}"
    takes = lambda action: f"Box of {len(action.low)}" if isinstance(action, Box) else f"Discrete {action.n}"
    for names, ids in ((OWN_ENVS, OWN_ENVS), (GYMNASIUM, ("CartPole-v1", "Pendulum-v1", "Taxi-v4", "FrozenLake-v1"))):
        for id in ids:
            spec = make(id).spec
            assert names[id] == (image(spec), takes(spec.action)), id


def test_obsolete_ids_are_not_listed():
    ids = ["Ant-v2", "Ant-v5", "Ant-v4", "phys2d/CartPole-v1", "GymV21Environment-v0", "ALE/Pong-v5", "plain"]
    assert newest(ids) == ["ALE/Pong-v5", "Ant-v5", "plain"]


@pytest.mark.parametrize("agent", AGENTS)
def test_the_example_of_every_agent_is_one_that_it_can_run(agent):
    env, *options = AGENTS[agent].example.split()
    kind, default = _kind(AGENTS[agent], _preset(options, AGENTS[agent], "default"))
    run = parse(kind, options, command="train", help="", default=default).run
    world = make(env)
    check_game(agent, AGENTS[agent], world, run)
    check_numbered(agent, AGENTS[agent], world)
    assert AGENTS[agent].example in _help(agent)


def test_completion_offers_the_presets_of_the_agent_alone(tmp_path):
    script = completion.bash() + (
        "\nCOMP_WORDS=(forethought train pilco pendulum --preset '') COMP_CWORD=5; _forethought; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == list(AGENTS["pilco"].presets)
    assert "presets=(default pendulum cartpole paper-pendulum paper-cartpole)" in completion.zsh()
    assert "__fish_seen_subcommand_from pilco' -l preset -a 'default pendulum" in completion.fish()


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--lr", "--model.learning-rate"),
        ("--hidden", "--model.hidden"),
        ("--learning_rate", "--model.learning-rate"),
        ("--gamma", "--planner.discount"),
        ("--bs", "--model.batch-size"),
    ],
)
def test_an_option_by_its_usual_name_is_pointed_at(cli, option, meant):
    assert f"unknown option {option}; did you mean {meant}" in cli("train", "pets", "pendulum", option, "3").mistake


def test_help_keeps_sentences_together(cli):
    text = " ".join(cli("doctor", "--help").out.replace("│", " ").split())
    assert "is found by making one from half of them and judging it on the others." in text
    assert "or your `pkg.mod:fn`; `auto` takes" in " ".join(cli("train", "--help").out.replace("│", " ").split())


def test_evaluate_and_report_agree_on_the_deviation(cli, trained):
    said = cli("evaluate", trained, "--episodes", "2")
    row = said.out.splitlines()[1].split()
    low, high = float(row[4]), float(row[5])
    assert float(row[3]) == pytest.approx((high - low) / 2**0.5, rel=0.02)
    assert "start where the run's own evaluations do" in " ".join(cli("evaluate", "--help").out.split())


def test_help_teaches_with_an_example_and_groups(cli):
    overview = cli("--help").out
    assert all(f"  {name} " in overview for name in COMMANDS) and "Examples:" in overview
    for name in COMMANDS:
        said = cli(name, "--help")
        assert said.code == 0 and "Example:" in said.out and f"forethought {name}" in said.out


def test_completion_knows_the_options_that_the_parser_knows(cli):
    words = completion.words()
    assert set(OWN_ENVS) == set(OWN)
    for name in COMMANDS:
        shown = (
            cli(name, "--help").out
            if name != "train"
            else "".join(cli("train", agent, "--help").out for agent in words.first["train"])
        )
        missing = [option for option in words.options[name] if option not in shown]
        assert not missing, (name, missing)
    for expected in ("--model.hidden", "--no-video", "--model.no-bootstrap", "--version", "--from", "--preset"):
        assert expected in words.options["train"]


def test_the_bash_script_completes_names_and_options(tmp_path):
    (tmp_path / "script").write_text(completion.bash())

    def complete(*typed: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in typed)
        program = f"source {tmp_path}/script; COMP_WORDS=({line}); COMP_CWORD={len(typed) - 1}; _forethought; "
        done = subprocess.run(
            ["bash", "-c", program + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert complete("forethought", "re") == ["resume", "report", "reproduce"]
    assert complete("forethought", "train", "pe") == ["pets"]
    assert "pendulum" in complete("forethought", "train", "pets", "pend")
    assert complete("forethought", "train", "pets", "pendulum", "--preset", "paper-c") == ["paper-cartpole"]
    assert complete("forethought", "reproduce", "pets/p") == ["pets/pendulum"]
    assert complete("forethought", "evaluate", "scr") == ["script"]
    assert complete("forethought", "evaluate", "x", "--plan") == ["--plan-ms"]


TINY_AGENT = MPCLadderConfig(
    random_steps=20,
    model=EnsembleConfig(num_members=1, particles=1, hidden=(8,), bootstrap=False),
    planner=PlannerConfig(horizon=3, population=8, elites=2, iterations=1),
)
TINY_CARD = Card(
    name="tiny/card",
    agent="mpc-ladder",
    env="point-mass",
    env_version="",
    arms=(Arm("", "tiny", RunConfig(steps=10, eval_every=0, final_episodes=1, video=False)),),
    seeds=3,
    given="",
    marks=(median_return(-1e6, "anything"),),
    published="",
    raw="",
)


@pytest.fixture
def tiny_card(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", TINY_AGENT)
    monkeypatch.setitem(CARDS, "tiny/card", TINY_CARD)


@pytest.mark.slow
def test_reproduce_writes_raw_curves_judges_the_median_and_runs_nothing_twice(cli, monkeypatch, tmp_path, tiny_card):
    argv = ["reproduce", "tiny/card", "--num-seeds", 2, "--out", "out", "--quiet"]
    said = cli(*argv)
    assert said.code == 0, said.err
    assert "passed over 2 seeds, fewer than the card's 3" in said.out
    raw = json.loads((tmp_path / "out" / "seed-1.json").read_text())
    assert raw["seed"] == 1 and raw["card"] == "tiny/card"
    assert {row["kind"] for row in raw["rows"]} <= {"episode", "update", "eval"} and raw["rows"]
    assert all(raw[name] for name in ("config", "run", "hardware", "versions", "wall_s"))
    assert raw["final_return"] == raw["rows"][-1]["mean_return"]
    stamp = (tmp_path / "out" / "runs" / "seed-0" / "metrics.jsonl").stat().st_mtime_ns
    monkeypatch.setitem(CARDS, "tiny/card", dataclasses.replace(TINY_CARD, marks=(median_return(1e6, "too much"),)))
    said = cli(*argv)
    assert said.code == 1 and "not passed over 2 seeds" in said.out
    assert (tmp_path / "out" / "runs" / "seed-0" / "metrics.jsonl").stat().st_mtime_ns == stamp
    longer = (Arm("", "tiny", RunConfig(steps=11, video=False)),)
    monkeypatch.setitem(CARDS, "tiny/card", dataclasses.replace(TINY_CARD, arms=longer))
    assert "other settings" in cli(*argv).mistake


@pytest.mark.slow
def test_demo_ends_with_the_score_beside_the_oracle_and_the_paths(cli, monkeypatch, tiny_card):
    import forethought.cli.demo as demo

    monkeypatch.setattr(demo, "CARD", "tiny/card")
    monkeypatch.setitem(CARDS, "tiny/card", dataclasses.replace(TINY_CARD, env="pets-cartpole"))
    said = cli("demo", "--steps", 10, "--quiet", "--out", "run")
    assert said.code == 0, said.err
    assert (
        f"oracle {ORACLES['pets-cartpole'].mean_return:.1f}" in said.out
        and "median of 3 seeds" in said.out
        and "5 episodes" in said.out
    )
    for line in ("report  run/report.html", "curve   run/figures/", "video   run/videos/", "forethought evaluate run"):
        assert line in said.out


def test_main_answers_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "forethought", "--version"], capture_output=True, text=True)
    assert done.stdout == f"forethought {forethought.__version__}\n" and main(["--version"]) == 0


def test_a_run_says_what_it_is_and_plots_and_exports_itself(trained, tmp_path):
    run = forethought.load_run(trained)
    assert repr(run) == f"Run({str(trained)!r}: pets on point-mass, finished, final return {run.final_return:.4g})"
    assert run.plot(tmp_path / "new.svg").read_text().startswith("<?xml")
    assert run.plot() == trained / "figures" / "learning_curve.png"
    with pytest.raises(UserError, match=r"must end in \.png or \.svg"):
        run.plot(tmp_path / "new.txt")
    assert [path.name for path in run.export()] == ["policy.npz", "policy.json", "run_policy.py"]
    assert run.export(tmp_path / "policy")[0].parent == tmp_path / "policy"
