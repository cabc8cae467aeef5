"""The maze of text against a hand-drawn one."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.gridworld import GridWorld
from forethought.envs.task import TaskState
from forethought.errors import UserError

ROOM = GridWorld("S.#\n .G\n")
UP, RIGHT, DOWN, LEFT = range(4)


def walk(env, actions):
    """Squares, rewards and ends along `actions`, from the only start."""
    state, _ = env.reset(key=jr.key(0))
    places, rewards, ends = [], [], []
    for action in actions:
        state, _, reward, terminated, _ = env.step(state, jnp.int32(action), key=jr.key(0))
        places.append(tuple(np.asarray(state.physics, int).tolist()))
        rewards.append(float(reward))
        ends.append(bool(terminated))
    return places, rewards, ends


def test_walls_and_edges_hold_and_the_goal_pays_once_and_ends():
    places, rewards, ends = walk(ROOM, [UP, LEFT, RIGHT, RIGHT, DOWN, DOWN, LEFT, RIGHT, RIGHT])
    assert places == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1), (1, 1), (1, 0), (1, 1), (1, 2)]
    assert rewards == [0.0] * 8 + [1.0] and ends == [False] * 8 + [True]


def test_picture_shows_walker_walls_and_goals_and_gives_every_square_back():
    env = ROOM
    _, obs = env.reset(key=jr.key(0))
    planes = np.asarray(env.spec.pixels(obs))
    assert env.spec.image == (2, 3, 3) and [np.argwhere(planes[..., i] == 255).tolist() for i in range(3)] == [
        [[0, 0]],
        [[0, 2]],
        [[1, 2]],
    ]
    for square in ([0, 0], [0, 1], [1, 0], [1, 1], [1, 2]):
        physics = jnp.array(square, jnp.float32)
        np.testing.assert_array_equal(env.state_from(env.observe(physics)).physics, physics)


def test_each_of_several_starts_is_drawn_equally_often():
    env = GridWorld("SS\nSG")
    first = np.asarray(jax.vmap(env.first)(jr.split(jr.key(0), 3000)))
    np.testing.assert_allclose(np.unique(first, axis=0, return_counts=True)[1], 1000, rtol=0.1)
    assert not (first == 1).all(axis=1).any()


def test_default_maze_can_be_walked_through_in_time():
    env = GridWorld()
    start = TaskState(jnp.array([0.0, 0.0]), jnp.int32(0))
    state, _ = env.reset(key=jr.key(0), start=start)
    for action in [DOWN, DOWN, RIGHT, RIGHT, RIGHT, RIGHT, UP, UP]:
        state, _, reward, terminated, truncated = env.step(state, jnp.int32(action), key=jr.key(0))
    assert reward == 1 and terminated and not truncated


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("..\n.G", "no start; write 'S'"),
        ("S.\n..", "no goal; write 'G'"),
        ("S..\n.G", "line 2 has 2 squares, line 1 has 3"),
        ("S.\nxG", "line 2 holds 'x', wanted '#'"),
        ("", "no start"),
    ],
)
def test_a_text_that_is_no_maze_is_refused(text, why):
    with pytest.raises(UserError, match=why):
        GridWorld(text)


def test_a_time_limit_below_one_is_refused():
    with pytest.raises(UserError, match="max_steps=0"):
        GridWorld(max_steps=0)
