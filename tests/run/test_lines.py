"""All lines of play of tic-tac-toe against players whose lines can be counted otherwise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_games import TIC_TAC_TOE, reachable

from forethought.envs.games.connect_four import ConnectFour
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.run.lines import Lines, every_line

GAME = TicTacToe()
POWERS = 3 ** np.arange(9)


def policy_of(choose):
    """The policy `[n, obs] -> [n]` that plays `choose(board)`, by a table."""
    table = np.zeros(3**9, np.int32)
    for board in reachable():
        if TIC_TAC_TOE.legal(board):
            mover = np.array(board) == TIC_TAC_TOE.mover(board)
            other = np.array(board) == 3 - TIC_TAC_TOE.mover(board)
            table[int((mover + 2 * other) @ POWERS)] = choose(board)

    @jax.jit
    def policy(obs):
        planes = obs.reshape(len(obs), 9, 2) > 0
        return jnp.asarray(table)[(planes[..., 0] + 2 * planes[..., 1]) @ POWERS]

    return policy


def counted(choose, player):
    """Won, drawn and lost lines by walking every one of them."""

    @functools.cache
    def below(board):
        if TIC_TAC_TOE.over(board):
            won = TIC_TAC_TOE.won(board, player), TIC_TAC_TOE.won(board, 3 - player)
            return np.array([won[0], not any(won), won[1]], int)
        legal = TIC_TAC_TOE.legal(board)
        mine = TIC_TAC_TOE.mover(board) == player
        return sum(below(TIC_TAC_TOE.play(board, a)) for a in ([choose(board)] if mine else legal))

    return Lines(*below(TIC_TAC_TOE.start()).tolist())


def best(board):
    return max(TIC_TAC_TOE.legal(board), key=lambda a: -TIC_TAC_TOE.value(TIC_TAC_TOE.play(board, a)))


def first_free(board):
    return TIC_TAC_TOE.legal(board)[0]


def test_a_perfect_player_loses_no_line_on_either_side():
    walk = every_line(GAME, policy_of(best))
    assert walk.lost == 0 and walk.first == counted(best, 1) and walk.second == counted(best, 2)
    assert walk.first.won > 0 and walk.first.drawn > 0 and walk.second.drawn > 0


def test_lines_of_an_imperfect_player_are_those_counted_one_by_one():
    walk = every_line(GAME, policy_of(first_free))
    assert walk.first == counted(first_free, 1) and walk.second == counted(first_free, 2)
    assert walk.lost == walk.first.lost + walk.second.lost > 100


def test_one_mistake_in_one_position_is_found():
    corner = (1, 0, 0, 0, 0, 0, 0, 0, 0)  # after a corner only the centre draws
    walk = every_line(GAME, policy_of(lambda board: 1 if board == corner else best(board)))
    assert walk.first.lost == 0 and walk.second.lost > 0


def test_an_illegal_action_loses_its_line():
    walk = every_line(GAME, lambda obs: jnp.zeros(len(obs), jnp.int32))
    assert walk.first == Lines(0, 0, 8)  # the second move is illegal, whatever the eight replies
    assert walk.second == Lines(0, 0, 57)  # the first where the opponent took square 0, else the second: 1 + 8 * 7


def test_a_game_too_large_to_walk_is_refused(monkeypatch):
    monkeypatch.setattr("forethought.run.lines.LARGEST", 100)
    with pytest.raises(ValueError, match="connect-four has more than 100 positions"):
        every_line(ConnectFour(), lambda obs: jnp.full(len(obs), 3, jnp.int32))
