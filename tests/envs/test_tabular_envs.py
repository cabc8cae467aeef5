"""Tasks of numbered states: their tables, their mazes, and Gymnasium's."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium import spaces

from forethought.envs.gridworld import GridWorld
from forethought.envs.make import make
from forethought.envs.maze_picture import draw_maze
from forethought.envs.tabular import BLOCKED, SHORTCUT, TABULAR, Tabular, TabularState, chain, maze, random_mdp
from forethought.errors import EnvironmentFault, UserError
from forethought.types import EnvSpec

UP, RIGHT, DOWN, LEFT = range(4)


def shortest(env: Tabular, phase: int = 0) -> int:
    """Steps from the start to the goal, breadth first in the tables."""
    going = np.diff(np.asarray(env.cumulative[phase]), axis=-1, prepend=0).any(1)
    here, steps = np.asarray(jnp.diff(env.start, prepend=0.0)) > 0, 0
    while not (here & np.asarray(env.terminal)).any():
        here, steps = here | (here @ going), steps + 1
    return steps


def test_the_mazes_are_as_long_as_the_book_says():
    assert shortest(TABULAR["dyna-maze"]()) == 14
    blocking, shortcut = TABULAR["blocking-maze"](), TABULAR["shortcut-maze"]()
    assert (shortest(blocking), shortest(blocking, 1)) == (10, 16)
    assert (shortest(shortcut), shortest(shortcut, 1)) == (16, 10)
    assert blocking.changes == (1000,) and shortcut.changes == (3000,)
    assert blocking.mazes == BLOCKED and shortcut.mazes == SHORTCUT


@pytest.fixture(scope="module")
def changing():
    """Two squares and a goal in a row; from step 10 of the run on the middle one is free."""
    return maze("S.G\n.#.\n...", (10, "S#G\n.#.\n..."), name="changing")


def test_walls_hold_and_the_clock_of_the_run_moves_them(changing):
    step = jax.jit(lambda s, a: changing.step(s, a, key=jr.key(0)))
    start = lambda clock: changing.reset(key=jr.key(0), clock=clock)[0]
    for clock, place in ((0, 1), (9, 1), (10, 0)):
        state, obs, reward, terminated, truncated = step(start(clock), RIGHT)
        assert (int(state.place), float(obs[0]), int(state.clock)) == (place, place, clock + 1)
        assert not reward and not terminated and not truncated
    state, *_ = step(start(8), RIGHT)  # it stands where the wall comes, and may still leave
    state, _, reward, terminated, _ = step(state, RIGHT)
    assert (float(reward), bool(terminated), int(state.place)) == (1.0, True, 2)
    state, *_ = step(start(0), UP)
    assert int(state.place) == 0


def test_the_state_comes_from_the_observation_and_the_picture_shows_the_maze_of_the_time(changing):
    assert int(changing.state_from(jnp.array([7.0])).place) == 7
    zero = jnp.zeros((), jnp.int32)
    frames = [changing.render(TabularState(zero, zero, jnp.int32(clock))) for clock in (0, 10)]
    assert frames[0].shape == (320, 480, 3) and (frames[0] != frames[1]).any()
    assert random_mdp(3, 2, branching=2).render(TabularState(zero, zero, zero)) is None


def test_worth_is_told_by_colour_and_equal_actions_draw_no_way():
    from forethought.envs.gridworld import read

    text = "S.G"
    plain, flat = draw_maze(read(text)), draw_maze(read(text), action_values=np.zeros((3, 4)))
    np.testing.assert_array_equal(plain, flat)
    values = np.zeros((3, 4))
    values[1, RIGHT] = 1.0
    shown = draw_maze(read(text), action_values=values)
    assert (shown != plain).any()
    thick = (shown[:, 160:320] < 80).all(-1).sum(0)  # of the arrow, along its way
    assert np.argmax(thick) > 80 and thick.max() > 2 * np.median(thick[thick > 0])


def test_the_gridworld_by_numbers_is_the_gridworld():
    numbered, drawn = TABULAR["gridworld-numbered"](), GridWorld()
    move = jax.jit(lambda s, a: numbered.step(s, a, key=jr.key(0))[0].place)
    advance = jax.jit(drawn.advance)
    for place in np.flatnonzero(~np.isin(np.arange(25), [2, 4, 7, 17, 18])):
        for action in range(4):
            after = advance(jnp.array(divmod(int(place), 5), jnp.float32), action)
            state = numbered.state_from(jnp.array([float(place)]))
            assert int(move(state, action)) == int(after[0] * 5 + after[1])


def test_the_noisy_chain_jumps_as_often_as_it_says_and_rewards_the_end():
    env = chain(10, noise=0.3)
    assert env.spec.num_states == 10 and env.spec.max_episode_steps == 400
    at = lambda place: dataclasses.replace(env.state_from(jnp.zeros(1)), place=jnp.int32(place))
    walk = jax.jit(jax.vmap(lambda s, k: env.step(s, 1, key=k), (None, 0)))
    state, _, reward, terminated, _ = walk(at(8), jr.split(jr.key(0), 4000))
    reached = np.asarray(state.place) == 9
    assert reached.mean() == pytest.approx(0.7, abs=0.03)
    np.testing.assert_array_equal(terminated, reached)
    np.testing.assert_array_equal(reward, np.where(reached, 99.0, -1.0))
    assert np.bincount(np.asarray(state.place)[~reached]).min() > 80


def test_tables_and_mazes_that_are_none_are_refused():
    walk, never = np.eye(2)[:, None], np.zeros(2, bool)
    flat = np.zeros((2, 1, 2))
    for make_it, match in (
        (lambda: Tabular("t", np.zeros((0, 0, 0)), np.zeros((0, 0, 0)), np.zeros(0), np.zeros(0)), "tables are empty"),
        (lambda: Tabular("t", 2 * walk, flat, never, [1, 0]), r"transition\[0, 0, 0\] is no distribution .*sums to 2"),
        (lambda: Tabular("t", walk, flat, never, [0, 0]), "start is no distribution"),
        (lambda: Tabular("t", walk, flat[:1], never, [1, 0]), r"reward has shape \(1, 1, 2\), wanted \(2, 1, 2\)"),
        (lambda: Tabular("t", np.stack([walk] * 2), flat, never, [1, 0], changes=[0]), r"changes=\(0,\) must be steps"),
        (lambda: maze("S#G"), "no way leads from the start in line 1, column 1 to a goal"),
        (lambda: maze("S.G", (5, "S#G")), "no way leads from the start"),
        (lambda: maze("S.G", (5, "S..G")), "maze 2 has the size"),
        (lambda: chain(1), "num_states=1"),
        (lambda: random_mdp(3, branching=4), "branching=4"),
    ):
        with pytest.raises(UserError, match=match):
            make_it()


def test_numbered_states_are_seen_one_hot_and_have_no_difference():
    spec = EnvSpec("three", 1, make("FrozenLake-v1", host=True).spec.action, num_states=3)
    np.testing.assert_array_equal(spec.features(jnp.array([[2.0], [0.0]])), [[0, 0, 1], [1, 0, 0]])
    assert spec.feature_dim == 3
    with pytest.raises(ValueError, match="whose difference means nothing"):
        spec.difference(jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(ValueError, match="num_states=3 wants obs_dim=1"):
        dataclasses.replace(spec, obs_dim=2)
    with pytest.raises(ValueError, match="num_states=0 must lie in"):
        dataclasses.replace(spec, num_states=0)


@pytest.mark.parametrize(("name", "states", "actions"), [("FrozenLake-v1", 16, 4), ("Taxi-v4", 500, 6)])
def test_gymnasiums_discrete_tasks_have_numbered_states(name, states, actions):
    host = make(name, host=True)
    assert (host.spec.num_states, host.spec.obs_dim, host.spec.action.n) == (states, 1, actions)
    obs = host.start([jr.key(0)])
    raw, _ = gymnasium.make(name).reset(seed=0)
    assert obs.shape == (1, 1) and obs.dtype == np.float32 and isinstance(raw, int | np.integer)
    step = host.step(np.array([0]), step_key=jr.key(0), reset_key=lambda i: jr.key(1))
    assert 0 <= step.next_obs[0, 0] < states
    host.close()


class Shifted(gymnasium.Env):
    """Counts from 5; its third observation is outside of what it declares."""

    observation_space, action_space = spaces.Discrete(3, start=5), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.at = 5
        return 5, {}

    def step(self, action):
        self.at += 1 if self.at < 6 else 10
        return self.at, 0.0, False, False, {}


def test_numbers_are_counted_from_the_spaces_start_and_held_against_it():
    host = make(Shifted, host=True)
    act = lambda: host.step(np.array([0]), step_key=jr.key(0), reset_key=lambda i: jr.key(1))
    assert host.start([jr.key(0)])[0, 0] == 0 and act().next_obs[0, 0] == 1
    with pytest.raises(EnvironmentFault, match=r"observation 16 outside Discrete\(3, start=5\)"):
        act()
