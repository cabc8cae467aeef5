"""Expert iteration: the expert's search, its apprentice's part in it, and what is learned."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from plain_games import TIC_TAC_TOE
from tiny import copied, run_to, same_bits, updated

from forethought.agents.expert_iteration import ExpertIteration
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.envs.gridworld import GridWorld
from forethought.models.simulator import Simulator
from forethought.planners.tree_rules import UCB
from forethought.presets.expert_iteration import ExpertIterationConfig
from forethought.presets.search import OpeningConfig, PolicyValueConfig
from forethought.replay.games import GameReplay
from forethought.run.jit import JitDriver
from forethought.storage import checkpoint

GAME = TicTacToe()
MODEL = Simulator(GAME)
KEY = jr.key(0)
TINY = ExpertIterationConfig(
    update_every=24,
    updates=2,
    simulations=12,
    network=PolicyValueConfig(units=16, layers=1, batch_size=8),
)


def agent(env=GAME, **changes):
    return ExpertIteration(env.spec, dataclasses.replace(TINY, **changes), rules=Simulator(env))


def empty(env=GAME):
    return {"env": GameReplay.empty(env.spec, 60, 3)}


@eqx.filter_jit
def _acted(agent, state, memory, obs, keys, explore):
    return jax.vmap(lambda k: agent.act(state, memory, obs, key=k, explore=explore))(keys)


def acted(agent, state, obs, count, explore, memory=0):
    """Actions and weights of `count` calls with keys of their own."""
    action, after, extras = _acted(agent, state, jnp.int32(memory), obs, jr.split(KEY, count), explore)
    assert (after == memory + 1).all()
    return action, extras.weights


@pytest.mark.slow
def test_run_cut_in_two_and_saved_between_equals_one_that_was_not(tmp_path):
    driver = JitDriver(agent(), GAME, num_envs=3)
    start = driver.start(empty(), seed=0)
    whole = run_to(driver, copied(start), 60)
    for cut in (24, 33):
        checkpoint.save(tmp_path / "cut.npz", run_to(driver, copied(start), cut), {})
        loaded, _ = checkpoint.load(tmp_path / "cut.npz", driver.start(empty(), seed=9))
        assert same_bits(run_to(driver, loaded, 60), whole), cut
    rows, _ = whole.data["env"].rows()
    legal = np.asarray(jax.vmap(lambda obs: GAME.moves(GAME.state_from(obs)).legal)(rows.obs))
    assert legal[np.arange(60), rows.action].all() and not np.any(np.asarray(rows.extras.weights)[~legal])


class Wants(eqx.Module):
    """A network that wants one action and finds every position worth the same."""

    wanted: int = eqx.field(static=True)
    worth: float = 0.0

    def __call__(self, obs):
        logits = jnp.zeros((*obs.shape[:-1], 9)).at[..., self.wanted].set(50.0)
        return logits, jnp.full(obs.shape[:-1], self.worth)

    def value(self, score):
        return score


def wanting(one, wanted, worth=0.0):
    return eqx.tree_at(lambda s: s.network, one.init(key=KEY), Wants(wanted, worth))


@pytest.mark.slow
def test_targets_are_shares_of_visits_and_the_apprentices_wish_is_tried_more_often():
    shares = []
    for weight in (0.0, 100.0):
        one = agent(simulations=40, prior_weight=weight)
        _, weights = acted(one, wanting(one, 1), jnp.zeros(18), 8, False)
        np.testing.assert_allclose(weights * 40, np.round(weights * 40), atol=1e-4)
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
        shares.append(float(weights[:, 1].mean()))
    assert shares[0] < 0.3 and shares[1] > 0.7


@pytest.mark.slow
def test_in_apprentice_play_the_apprentice_moves_and_in_expert_play_the_search():
    board = jnp.asarray(TIC_TAC_TOE.obs((1, 1, 0, 2, 2, 0, 0, 0, 0)))  # square 2 wins
    opening = OpeningConfig(moves=1, chance=1.0)
    for play in ("apprentice", "expert"):
        one = agent(simulations=40, play=play, opening=opening)
        state = wanting(one, 8)
        action, _ = acted(one, state, board, 100, True, memory=1)
        assert (action == 8).all() if play == "apprentice" else np.mean(action == 2) > 0.5
        first, _ = acted(one, state, board, 100, True, memory=0)
        np.testing.assert_allclose(np.bincount(first, minlength=9)[[2, 5, 6, 7, 8]] / 100, 1 / 5, atol=0.13)
    assert (acted(one, state, board, 100, False)[0] == 2).all()


def test_a_leaf_is_worth_random_play_and_the_apprentices_value_by_their_weights():
    over_next = (1, 2, 1, 1, 2, 2, 2, 1, 0)  # one square left, with no row to be made: a draw whatever is played
    assert TIC_TAC_TOE.value(over_next) == 0
    belief = MODEL.init(jnp.asarray(TIC_TAC_TOE.obs(over_next)), key=KEY)
    for weight, wanted in ((0.0, 0.0), (0.75, 0.75 * 0.5 / 1.75), (1.0, 0.25)):
        one = agent(value_weight=weight)
        _, value = one._guided(wanting(one, 8, worth=0.5), belief, key=KEY)
        np.testing.assert_allclose(value, [wanted], rtol=1e-5)


def test_the_order_of_actions_is_that_of_the_papers_sum():
    one = agent(exploration=0.5, prior_weight=7.0, value_weight=0.75)
    assert one.planner.rule == UCB(0.5 / 1.75, 7.0 / 1.75)


def test_without_a_value_weight_there_is_no_value_to_learn():
    losses = {}
    for weight in (0.0, 0.75):
        one = agent(value_weight=weight)
        update = lambda one=one: updated(one, one.init(key=KEY), empty()["env"], key=KEY)[1]
        losses[weight] = set(eqx.filter_eval_shape(update))
    assert "value/loss" not in losses[0.0] and "value/loss" in losses[0.75]


@pytest.mark.slow
def test_one_player_is_searched_and_learned_from_too():
    env = GridWorld()
    one = agent(env, discount=0.9, play_out=20)
    assert one.value_loss == "squared" and not one.init(key=KEY).network.bounded
    driver = JitDriver(one, env, num_envs=3)
    end = run_to(driver, driver.start(empty(env), seed=0), 48)
    assert int(end.updates) == 2 and not end.data["env"].rows()[0].extras.player.any()


def test_without_simulations_the_apprentice_alone_plays_and_learns_nothing():
    alone = agent(simulations=0)
    state = wanting(alone, 8)
    action, weights = acted(alone, state, jnp.zeros(18), 2, False)
    assert (action == 8).all() and np.all(weights[:, 8] > 0.99)
    with pytest.raises(ValueError, match="simulations=0 plays by the apprentice alone"):
        updated(alone, state, empty()["env"], key=KEY)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"play_out": 0}, "play_out=0 must be a whole number"),
        ({"value_weight": -1.0}, "value_weight=-1.0 must be"),
        ({"prior_weight": -1.0}, "must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        agent(**changes)
