"""UCT against hand-worked bounds, plain UCB1, and games solved by brute force."""

import functools
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from plain_games import TIC_TAC_TOE, reachable
from planner_toys import BOX

from forethought.core import AbstractModel
from forethought.envs.games.connect_four import ConnectFour
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.envs.gridworld import GridWorld
from forethought.errors import UserError
from forethought.models.simulator import Simulator
from forethought.planners.uct import UCT, ucb
from forethought.types import Discrete, Prediction


class Arms(AbstractModel):
    """One step, and then it is over; action i pays `pays[i]`, and after the end nonsense."""

    pays: tuple[float, ...] = (0.2, 1.0, 0.5)

    def init(self, obs, *, key):
        return jnp.zeros((1,))

    def step(self, belief, action, *, key):
        reward = jnp.where(belief > 0, jnp.nan, jnp.array(self.pays)[action])
        return belief + 1, Prediction(reward, jnp.zeros_like(reward))

    def observation(self, belief):
        return None


@functools.cache
def search(env, rollouts, **options):
    """A compiled search over a batch of observations."""
    model, planner = Simulator(env), UCT(env.spec.action, rollouts, **options)

    def one(obs, key):
        return planner(model, model.init(obs, key=key), planner.init(), key=key)

    return jax.jit(jax.vmap(one))


def played(env, actions):
    state, obs = env.reset(key=jr.key(0))
    for action in actions:
        state, obs, *_ = env.step(state, jnp.int32(action), key=jr.key(0))
    return obs


def keys(n, seed=0):
    return jr.split(jr.key(seed), n)


def test_bounds_equal_those_worked_out_by_hand():
    total, visits = jnp.array([1.0, -1.0, 2.0]), jnp.array([2, 1, 3])
    np.testing.assert_allclose(ucb(total, visits), [1.838566, 0.893018, 1.759602], atol=1e-5)
    np.testing.assert_allclose(ucb(total, visits, 1e-9), [0.5, -1.0, 2 / 3], atol=1e-6)


@pytest.mark.parametrize("exploration", [math.sqrt(2), 0.3])
def test_visits_at_the_root_are_those_of_plain_ucb1(exploration):
    model, planner = Arms(), UCT(Discrete(3), 40, exploration)
    action, plan = planner(model, model.init(jnp.zeros(1), key=jr.key(0)), planner.init(), key=jr.key(3))
    visits = [1, 1, 1]
    while sum(visits) < 40:
        bounds = [p + exploration * math.sqrt(math.log(sum(visits)) / n) for p, n in zip(model.pays, visits)]
        visits[bounds.index(max(bounds))] += 1
    assert plan.visits.tolist() == visits and action == 1
    np.testing.assert_allclose(plan.values, model.pays, rtol=1e-5)


def test_random_play_is_worth_what_counting_all_games_says():
    # 58.5 % wins of the first player of tic-tac-toe, 28.8 % of the second
    _, plan = search(TicTacToe(), 1)(jnp.zeros((6000, 18)), keys(6000))
    np.testing.assert_allclose(plan.values.sum(1).mean(), 0.585 - 0.288, atol=0.04)


@pytest.mark.parametrize(
    ("env", "actions", "wanted"),
    [
        (TicTacToe(), [0, 3, 1, 4], 2),  # wins at once, though it could also block
        pytest.param(TicTacToe(), [0, 3, 8, 4], 5, marks=pytest.mark.slow),  # blocks
        (TicTacToe(), [0, 4, 1], 2),  # the second player blocks
        pytest.param(ConnectFour(), [0, 6, 1, 6, 2, 6], 3, marks=pytest.mark.slow),  # wins at once
        pytest.param(ConnectFour(), [0, 1, 0, 1, 5, 1], 1, marks=pytest.mark.slow),  # blocks a column
        # The second player blocks a column, though it may lose all the same.
        pytest.param(ConnectFour(), [3, 0, 3, 0, 3], 3, marks=pytest.mark.slow),
    ],
)
def test_finds_a_win_in_one_and_blocks_a_loss_in_one(env, actions, wanted):
    obs = jnp.broadcast_to(played(env, actions), (20, env.spec.obs_dim))
    action, _ = search(env, 800)(obs, keys(20))
    assert (action == wanted).all()


def test_visits_sum_to_the_rollouts_and_no_illegal_action_has_any():
    env = ConnectFour()
    obs = jnp.stack([played(env, [0] * 6), played(env, []), played(env, [3, 3, 3, 3, 3, 3, 2])])
    action, plan = search(env, 200)(obs, keys(3))
    assert plan.visits.sum(1).tolist() == [200] * 3
    assert plan.visits[0, 0] == 0 and plan.visits[2, 3] == 0 and plan.visits[1].min() > 0
    np.testing.assert_array_equal(plan.visits[jnp.arange(3), action], plan.visits.max(1))
    assert (jnp.abs(plan.values) <= 1).all() and plan.values[0, 0] == 0


@pytest.mark.slow
def test_a_batch_of_searches_equals_one_after_another():
    env = TicTacToe()
    obs = jnp.stack([played(env, a) for a in ([], [4], [0, 4, 8])])
    together = search(env, 60)(obs, keys(3))
    for i in range(3):
        alone = search(env, 60)(obs[i : i + 1], keys(3)[i : i + 1])
        for one, all in zip(jax.tree.leaves(alone), jax.tree.leaves(together)):
            np.testing.assert_allclose(one[0], all[i], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stones", [6, 7])
def test_plays_endings_of_tic_tac_toe_as_brute_force_does(stones):
    boards = [b for b in reachable() if sum(x > 0 for x in b) == stones and not TIC_TAC_TOE.over(b)][:150]
    obs = jnp.asarray(np.stack([TIC_TAC_TOE.obs(b) for b in boards]))
    action, plan = search(TicTacToe(), 400)(obs, keys(150))
    for board, chosen, values in zip(boards, np.asarray(action), np.asarray(plan.values)):
        wanted = TIC_TAC_TOE.value(board)
        assert -TIC_TAC_TOE.value(TIC_TAC_TOE.play(board, chosen)) == wanted
        assert abs(values[chosen] - wanted) < 0.35


@pytest.mark.slow
def test_walks_a_gridworld_by_the_shortest_way():
    env = GridWorld("S..G\n....\n....")
    state, obs = env.reset(key=jr.key(0))
    for step in range(3):
        action, plan = search(env, 300, discount=0.8, max_steps=30)(obs[None], keys(1, seed=step))
        state, obs, reward, terminated, _ = env.step(state, action[0], key=jr.key(0))
    assert reward == 1 and terminated and plan.values[0, 1] == 1


def test_a_rollout_is_cut_off_after_so_many_steps():
    env = GridWorld("S" + 12 * "." + "G")
    _, obs = env.reset(key=jr.key(0))
    _, plan = search(env, 30, max_steps=3)(obs[None], keys(1))
    assert (plan.values == 0).all() and plan.visits.sum() == 30


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="continuous; take CEM"):
        UCT(BOX)
    with pytest.raises(ValueError, match="rollouts=0"):
        UCT(Discrete(2), 0)
    model = Simulator(TicTacToe(), particles=3)
    belief, planner = model.init(jnp.zeros(18), key=jr.key(0)), UCT(Discrete(9), 2)
    with pytest.raises(ValueError, match="3 particles, wanted 1"):
        planner(model, belief, planner.init(), key=jr.key(0))


def test_of_equally_visited_actions_the_best_is_played_and_of_equal_ones_any():
    planner = UCT(Discrete(4), 4)
    one = lambda key, pays: planner(Arms(pays), jnp.zeros((1,)), planner.init(), key=key)
    best, plan = jax.jit(jax.vmap(lambda key: one(key, (0.0, 0.0, 1.0, 0.0))))(keys(50))
    assert np.all(plan.visits == 1) and set(best.tolist()) == {2}
    tied, _ = jax.jit(jax.vmap(lambda key: one(key, (0.5, 0.0, 0.5, -1.0))))(keys(50))
    assert set(tied.tolist()) == {0, 2}
