"""Evaluation by matches."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from plain_games import TIC_TAC_TOE

from forethought.core import AbstractAgent, Schedule
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.replay.uniform import UniformReplay
from forethought.run import match_evaluate
from forethought.run.evaluate import Evaluation
from forethought.run.interface import finished
from forethought.run.match_evaluate import MatchEvaluator
from forethought.run.matches import FunctionPlayer
from forethought.types import EnvSpec

GAME = TicTacToe()


def lowest(obs, key):
    """The first free square."""
    return jnp.argmax(GAME.moves(GAME.state_from(obs)).legal).astype(jnp.int32)


def highest(obs, key):
    """The last free square."""
    return (8 - jnp.argmax(GAME.moves(GAME.state_from(obs)).legal[::-1])).astype(jnp.int32)


class Follows(AbstractAgent):
    """Plays by a rule; the state says which."""

    spec: EnvSpec = GAME.spec

    @property
    def schedule(self):
        return Schedule(0, ())

    def data(self, capacity, num_envs):
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key):
        return jnp.zeros((), bool)

    def init_memory(self, state):
        return None

    def act(self, state, memory, obs, *, key, explore):
        assert not explore
        return jnp.where(state, lowest(obs, key), highest(obs, key)), None, None

    def update(self, state, data, *, round, clock, key):
        return state, {}, {}


def by_hand(one, other):
    """The result for `one` of a game that `one` begins, and its length."""
    board, turn = TIC_TAC_TOE.start(), 0
    while actions := TIC_TAC_TOE.legal(board):
        board = TIC_TAC_TOE.play(board, (one, other)[turn % 2](actions))
        turn += 1
    return TIC_TAC_TOE.value(board) * (1 if turn % 2 == 0 else -1), turn


def test_returns_are_results_half_of_them_as_first_player():
    evaluator = MatchEvaluator(Follows(), GAME, FunctionPlayer(lowest), num_games=3)
    for state, rule in ((False, max), (True, min)):
        found = evaluator(jnp.array(state), key=jr.key(0))
        first, second = by_hand(rule, min), by_hand(min, rule)
        np.testing.assert_array_equal(found.returns, [first[0], first[0], -second[0], -second[0]])
        np.testing.assert_array_equal(found.lengths, [first[1], first[1], second[1], second[1]])
        assert found.finished.all() and found.states is None


def test_many_games_are_played_in_parts_and_the_part_done_is_said(monkeypatch):
    monkeypatch.setattr(match_evaluate, "GAMES_AT_ONCE", 4)
    evaluator = MatchEvaluator(Follows(), GAME, FunctionPlayer(lowest), num_games=10)
    parts = list(evaluator.steps(jnp.array(False), key=jr.key(0)))
    assert parts[:-1] == [0.4, 0.8]
    assert isinstance(parts[-1], Evaluation) and parts[-1].returns.shape == (10,)
    whole = finished(evaluator.steps(jnp.array(False), key=jr.key(0)))
    np.testing.assert_array_equal(whole.returns[:5], whole.returns[0])


def test_no_games_are_no_evaluation():
    with pytest.raises(ValueError, match="num_episodes=0 must be at least 1"):
        MatchEvaluator(Follows(), GAME, FunctionPlayer(lowest), num_games=0)
