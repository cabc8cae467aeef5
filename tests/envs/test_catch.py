"""Catch against the rules that it is told by."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.catch import COLUMNS, ROWS, Catch
from forethought.envs.task import TaskState

STEP = jax.jit(lambda state, action: Catch().step(state, action, key=jr.key(0)))


def played(column, actions):
    """Boards, rewards and ends of one episode."""
    start = TaskState(jnp.array([column, 0.0, 2.0]), jnp.int32(0))
    state, obs = Catch().reset(key=jr.key(0), start=start)
    boards, rewards, ends = [obs], [], []
    for action in actions:
        state, obs, reward, terminated, _ = STEP(state, jnp.array(action))
        boards.append(obs)
        rewards.append(float(reward))
        ends.append(bool(terminated))
    return np.asarray(boards).reshape(-1, ROWS, COLUMNS), rewards, ends


@pytest.mark.parametrize("column", range(COLUMNS))
@pytest.mark.parametrize("place", range(COLUMNS))
def test_return_is_one_where_the_paddle_ends_under_the_ball_and_minus_one_elsewhere(column, place):
    towards = [1 + int(np.sign(place - 2))] * abs(place - 2)
    actions = towards + [1] * (ROWS - 1 - len(towards))
    boards, rewards, ends = played(column, actions)
    assert rewards == [0.0] * (ROWS - 2) + [1.0 if place == column else -1.0]
    assert ends == [False] * (ROWS - 2) + [True]
    for row, board in enumerate(boards[:-1]):
        assert np.argwhere(board[:-1] == 255).tolist() == [[row, column]]
        assert (board[-1] == 255).sum() == 1
    assert set(np.unique(boards)) == {0.0, 255.0}


def test_paddle_stays_on_the_board():
    boards, *_ = played(0, [0] * 9)
    assert boards[-2][-1].argmax() == 0
    boards, *_ = played(0, [2] * 9)
    assert boards[-2][-1].argmax() == COLUMNS - 1


def test_ball_starts_in_every_column_equally_often():
    first = jax.vmap(Catch().first)(jr.split(jr.key(0), 5000))
    np.testing.assert_allclose(np.bincount(np.asarray(first[:, 0], int)), 1000, rtol=0.1)
    assert (first[:, 1] == 0).all() and (first[:, 2] == COLUMNS // 2).all()
