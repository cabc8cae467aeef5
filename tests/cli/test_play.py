"""Playing against a trained agent in the terminal."""

import io
import json
import re
import shutil

import pytest

from forethought.cli.main import main
from forethought.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow  # a run is trained for them

TINY = [
    *("--num-envs", "4", "--steps", "40", "--simulations", "8", "--update-every", "20", "--updates", "1"),
    *("--network.units", "8", "--network.layers", "1", "--network.batch-size", "4", "--quiet", "--no-video"),
    *("--eval-every", "20", "--final-episodes", "2"),
]


@pytest.fixture(scope="module")
def game_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("games") / "run"
    assert main(["train", "alphazero", "tic-tac-toe", *TINY, "--out", str(path)]) == 0
    return path


@pytest.fixture
def play(cli, monkeypatch, game_run):
    """A game in which these lines are typed."""

    def run(typed, *options, path=game_run):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return cli("play", path, *options)

    return run


def boards(out):
    """The boards that were drawn, as strings of nine marks."""
    return ["".join(lines).replace(" ", "") for lines in re.findall(r"((?:(?:[XO1-9] ){2}[XO1-9]\n){3})", out)]


def test_a_game_is_played_to_its_end_by_piped_moves(play):
    # Whatever the agent does, some of these are legal until the board is full or somebody has a row.
    said = play("".join(f"{move}\n" for move in range(1, 10)) * 9)
    assert said.code == 0 and said.err == ""
    assert "tic-tac-toe: you move first" in said.out
    assert re.search(r"(you win|you lose|a draw)\n$", said.out)
    drawn = [b.replace("\n", "") for b in boards(said.out)]
    stones = [sum(mark in "XO" for mark in board) for board in drawn]
    assert stones[0] == 0 and stones[:-1] == list(range(0, 2 * len(stones) - 2, 2)) and drawn[0] == "123456789"
    assert said.out.count("the agent plays") == stones[-1] // 2


def test_the_agent_begins_if_asked(play):
    said = play("q\n", "--second")
    assert said.code == 0 and "you move second" in said.out
    assert said.out.index("the agent plays") < said.out.index("your move")
    assert said.out.endswith("stopped\n")


def test_a_move_that_is_not_legal_is_named_and_asked_for_again(play):
    said = play("5\n5\nx\n99\n\n")
    assert said.code == 0
    for wrong in ("'5' is not legal here", "'x' is not legal here", "'99' is not legal here", "'' is not legal here"):
        assert wrong in said.out
    asked = re.findall(r"legal: ([\d ]+) \(q quits\)", said.out)
    assert asked[0] == "1 2 3 4 5 6 7 8 9" and len(set(asked[1:])) == 1
    assert "5" not in asked[1].split() and len(asked[1].split()) == 7


def test_the_end_of_the_input_ends_the_game(play):
    assert play("").out.endswith("stopped\n")


def test_the_network_alone_can_be_played_against(play):
    for simulations in ("0", "3"):
        said = play("q\n", "--second", "--simulations", simulations)
        assert said.code == 0 and "the agent plays" in said.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--first", "--second"], "--first and --second exclude each other"),
        (["--simulations", "-1"], "simulations=-1 must be at least 0"),
        (["--seed", "5"], "seed=5 is not in this run"),
        (["--third"], "unknown option --third"),
    ],
)
def test_mistakes_are_one_line(play, options, says):
    said = play("", *options)
    assert said.code == 2 and says in said.mistake


def test_runs_that_are_no_games_are_refused(play, trained):
    said = play("", path=trained)
    assert said.code == 2 and "was trained on point-mass, which is no game of two players" in said.mistake


def test_a_game_is_evaluated_against_an_opponent_of_ones_choice(cli, game_run):
    said = cli("evaluate", game_run, "--episodes", "4", "--opponent", "uct-5", "--simulations", "0")
    assert said.code == 0 and said.err == ""
    assert said.out.splitlines()[1].split()[1] == "4"
    assert "opponent='nobody' must be random" in cli("evaluate", game_run, "--opponent", "nobody").mistake


def test_a_run_keeps_its_stages_and_they_are_rated_on_a_ladder(cli, game_run):
    from forethought import api

    run = api.load_run(game_run)
    assert list(run.folder.stages()) == [0, 20, 40]
    first, last = (run.stage(steps).network.policy_head.weight for steps in (0, 40))
    assert (first != last).any() and (run.agent_state().network.policy_head.weight == last).all()

    said = cli("ladder", game_run, "--games", "4", "--stages", "2", "--opponent", "uct-2", "--simulations", "2")
    assert said.code == 0, said.err
    assert said.err.count(" against ") == 6 and "6 of 6: step 0 against step 40" in said.err
    ladder = json.loads((game_run / "ladder.json").read_text())
    assert ladder["stages"] == {"step 0": 0, "step 40": 40} and ladder["simulations"] == 2
    elo = {rating["name"]: rating["elo"] for rating in ladder["ratings"]}
    assert set(elo) == {"random", "uct-2", "step 0", "step 40"} and elo["random"] == 0
    assert all(wins + draws + losses == 4 for _, _, wins, draws, losses in ladder["results"])
    assert "Ladder: strength by stage" in (game_run / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--stages", "1"], "stages=1 must be at least 2"),
        (["--games", "3"], "games=3 must be even, half for each side"),
        (["--out", "ladder.txt"], "must end in .json"),
    ],
)
def test_mistakes_about_a_ladder_are_one_line(cli, game_run, options, says):
    said = cli("ladder", game_run, *options)
    assert said.code == 2 and says in said.mistake


def test_a_ladder_needs_a_game_and_stages(cli, game_run, trained, tmp_path):
    assert "is no game of two players" in cli("ladder", trained).mistake
    shutil.copytree(game_run, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "stages")
    assert "has 0 stages, a ladder needs 2" in cli("ladder", tmp_path / "bare").mistake


def test_simulations_belong_to_agents_that_search(cli, trained):
    said = cli("evaluate", trained, "--simulations", "4")
    assert said.code == 2 and "pets searches no trees on the true rules" in said.mistake


def test_a_game_run_has_its_record_resumes_and_is_trained_on(cli, game_run):
    record = RunFolder.open(game_run).record
    assert record["given"] == {"reward": "env", "termination": "env", "model": "true dynamics"}
    rows = [json.loads(line) for line in (game_run / "metrics.jsonl").read_text().splitlines()]
    final = [row for row in rows if row["kind"] == "eval"][-1]
    assert set(final["returns"]) <= {-1.0, 0.0, 1.0} and len(final["returns"]) == 2
    assert "finished; nothing to resume" in cli("resume", game_run).err
    more = cli("train", "alphazero", "tic-tac-toe", *TINY, "--out", "more", "--from", game_run)
    assert more.code == 0, more.err
    nothing = cli("train", "alphazero", "tic-tac-toe", *TINY, "--out", "none", "--simulations", "0")
    assert nothing.code == 2 and "simulations=0 plays by the network alone" in nothing.mistake


def test_what_cards_of_games_measure_besides(game_run):
    from forethought import api
    from forethought.cli.measured_play import measured_play

    found = measured_play(api.load_run(game_run), ("lines", "alone"), games=4)
    assert set(found) == {"lines_lost", "lines_lost_alone", "alone_return", "alone_against_start"}
    # What has hardly learned anything loses hundreds of lines without a search, and many with a small one.
    assert found["lines_lost_alone"] > 50 and found["lines_lost"] > 0
    assert -1 <= found["alone_return"] <= 1 and 0 <= found["alone_against_start"] <= 1


def test_the_doctor_has_nothing_to_examine_in_a_game_run(cli, game_run):
    said = cli("doctor", game_run)
    assert said.code == 2 and "has no model" in said.mistake


def test_a_policy_that_plans_on_the_rules_is_taken_away_and_used_again(game_run, tmp_path):
    import numpy as np

    from forethought import api
    from forethought.policy import Policy

    policy = api.load_run(game_run).policy()
    obs = np.zeros((2, 18), np.float32)
    again = Policy.load(policy.save(tmp_path / "policy"))
    np.testing.assert_array_equal(policy.predict(obs), again.predict(obs))
