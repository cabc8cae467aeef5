"""Which agents may play games, on what, and against whom they are judged."""

import dataclasses

import pytest

from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.errors import UserError
from forethought.models.simulator import Simulator
from forethought.planners.uct import UCT
from forethought.presets.run import RunConfig
from forethought.refusals import NOWHERE
from forethought.replay.games import GameReplay
from forethought.run.evaluate import JitEvaluator
from forethought.run.match_evaluate import MatchEvaluator
from forethought.run.matches import PlannerPlayer, RandomPlayer
from forethought.setup import build, opponent

RUN = RunConfig(steps=50, num_envs=2)


def test_the_true_rules_are_handed_over_and_recorded():
    setup = build("alphazero", "tic-tac-toe", run=RUN)
    assert isinstance(setup.agent.rules, Simulator)
    assert setup.given == {"reward": "env", "termination": "env", "model": "true dynamics"}
    again = build("alphazero", "tic-tac-toe", run=dataclasses.replace(RUN, reward="env", termination="env"))
    assert again.given == setup.given
    replay = setup.data(NOWHERE)["env"]
    assert isinstance(replay, GameReplay) and replay.num_envs == 2 and replay.capacity == 50


def test_games_of_two_are_judged_by_matches_and_others_by_returns():
    setup = build("alphazero", "tic-tac-toe", run=RUN)
    assert isinstance(setup.evaluator(4), MatchEvaluator)
    assert isinstance(build("alphazero", "catch", run=RUN).evaluator(4), JitEvaluator)
    hurried = dataclasses.replace(RUN, plan_ms=50.0)
    assert build("alphazero", "catch", run=hurried).evaluator(4).actor.plan_ms == 50.0
    with pytest.raises(UserError, match=r"plan_ms=50: the games of an evaluation .* with --simulations"):
        build("alphazero", "tic-tac-toe", run=hurried).evaluator(4)


def test_opponents_by_name():
    assert isinstance(opponent(TicTacToe(), "random"), RandomPlayer)
    player = opponent(TicTacToe(), "uct-30")
    assert isinstance(player, PlannerPlayer) and isinstance(player.planner, UCT) and player.planner.rollouts == 30
    for name in ("uct", "uct-0", "uct-x", "minimax"):
        with pytest.raises(UserError, match=f"opponent='{name}' must be random, or uct-N"):
            opponent(TicTacToe(), name)


@pytest.mark.parametrize(
    ("agent", "env", "changes", "says"),
    [
        ("pets", "tic-tac-toe", {}, "tic-tac-toe is a game of two players .* take alphazero"),
        ("dreamer-v3", "connect-four", {}, "connect-four is a game of two players"),
        ("alphazero", "tic-tac-toe", {"action_repeat": 2}, "action_repeat=2: in tic-tac-toe a move is made once"),
        ("alphazero", "tic-tac-toe", {"oracle": True}, "plans on the true dynamics anyway; leave it out"),
        ("alphazero", "tic-tac-toe", {"reward": "learned"}, "alphazero plans on the true rules, which say the reward"),
        ("alphazero", "tic-tac-toe", {"opponent": "me"}, "opponent='me' must be random"),
        ("alphazero", "pendulum", {}, "alphazero: tree search needs discrete actions"),
        ("alphazero", "CartPole-v1", {}, "alphazero: CartPole-v1 is stepped from Python"),
    ],
)
def test_what_does_not_go_together_is_refused(agent, env, changes, says):
    with pytest.raises(UserError, match=says):
        build(agent, env, run=dataclasses.replace(RUN, **changes)).prepare()
