"""AlphaZero: how it plays, what it keeps, and what it learns from."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from plain_games import TIC_TAC_TOE
from tiny import copied, run_to, same_bits, updated

from forethought.agents.alphazero import AlphaZero
from forethought.core import AbstractGame, programs
from forethought.envs.catch import Catch
from forethought.envs.games.connect_four import ConnectFour
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.envs.hosted import HostedJaxEnv
from forethought.envs.pendulum import Pendulum
from forethought.learners.search_imitation import mirrored, search_loss
from forethought.models.simulator import Simulator
from forethought.networks.policy_value import PolicyValue
from forethought.presets.alphazero import AlphaZeroConfig
from forethought.presets.search import OpeningConfig, PolicyValueConfig
from forethought.replay.games import GameReplay, Position
from forethought.run.actor import Actor
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.storage import checkpoint

GAME = TicTacToe()
TINY = AlphaZeroConfig(
    update_every=24,
    updates=2,
    simulations=12,
    opening=OpeningConfig(moves=2),
    network=PolicyValueConfig(units=16, layers=1, batch_size=8),
)
KEY = jr.key(0)


def agent(env=GAME, **changes):
    return AlphaZero(env.spec, dataclasses.replace(TINY, **changes), rules=Simulator(env))


def empty(env=GAME, num_envs=3, capacity=60):
    return {"env": GameReplay.empty(env.spec, capacity, num_envs)}


def acted(agent, obs, *, explore, memory=0, count=40, state=None):
    """Actions and extras of `count` calls with keys of their own."""
    state = agent.init(key=KEY) if state is None else state
    action, after, extras = _acted(
        agent, state, jnp.int32(memory), jnp.asarray(obs), jr.split(jr.key(1), count), explore
    )
    assert (after == memory + 1).all()
    return action, extras


@eqx.filter_jit
def _acted(agent, state, memory, obs, keys, explore):
    return jax.vmap(lambda k: agent.act(state, memory, obs, key=k, explore=explore))(keys)


@pytest.mark.parametrize("rule", ["puct", pytest.param("gumbel", marks=pytest.mark.slow)])
def test_games_are_legal_end_to_end_and_targets_are_the_searches(rule):
    driver = JitDriver(agent(rule=rule), GAME, num_envs=3)
    end = run_to(driver, driver.start(empty(), seed=0), 60)
    rows, _ = end.data["env"].rows()
    legal = np.asarray(jax.vmap(lambda obs: GAME.moves(GAME.state_from(obs)).legal)(rows.obs))
    assert legal[np.arange(60), rows.action].all() and not np.any(np.asarray(rows.extras.weights)[~legal] > 1e-6)
    np.testing.assert_allclose(rows.extras.weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows.extras.player, (rows.obs > 127).sum(-1) % 2)
    assert int(end.updates) == 2 and (end.data["env"].outcomes().known.sum() > 20)


@pytest.mark.slow
def test_run_cut_in_two_and_saved_between_equals_one_that_was_not(tmp_path):
    programs.forget()  # so that the driver counts every trace
    driver = JitDriver(agent(), GAME, num_envs=3)
    start = driver.start(empty(), seed=0)
    whole = run_to(driver, copied(start), 60)
    for cut in (12, 24, 33):
        checkpoint.save(tmp_path / "cut.npz", run_to(driver, copied(start), cut), {})
        loaded, _ = checkpoint.load(tmp_path / "cut.npz", driver.start(empty(), seed=9))
        assert same_bits(run_to(driver, loaded, 60), whole), cut
    assert driver.traces == {"collect": 1, "update": 1}


@pytest.mark.slow
def test_jit_driver_equals_step_driver():
    one = agent(rule="gumbel", opening=OpeningConfig())
    jit, steps = JitDriver(one, GAME, num_envs=3), StepDriver(one, HostedJaxEnv(GAME, 3))
    left, right = (run_to(d, d.start(empty(), seed=0), 24) for d in (jit, steps))
    for a, b in zip(jax.tree.leaves(left.data["env"].rows()), jax.tree.leaves(right.data["env"].rows())):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_first_moves_are_random_the_next_by_temperature_and_later_ones_greedy():
    board = TIC_TAC_TOE.obs((1, 1, 0, 2, 2, 0, 0, 0, 0))  # square 2 wins
    one = agent(simulations=30, temperature_moves=3, opening=OpeningConfig(moves=2, chance=0.5))
    drawn, warm, greedy = (acted(one, board, explore=True, memory=m, count=200)[0] for m in (1, 2, 3))
    # Noise at the root now and then brings most visits to another square.
    assert np.mean(greedy == 2) > 0.95 and 0.3 < np.mean(warm == 2) < 0.9
    share = np.bincount(warm, minlength=9) / 200
    expected = 0.5 * np.array([0, 0, 1, 0, 0, 1, 1, 1, 1]) / 5 + 0.5 * share
    np.testing.assert_allclose(np.bincount(drawn, minlength=9) / 200, expected, atol=0.09)


@pytest.mark.slow
def test_nothing_is_left_to_chance_without_exploration():
    board = TIC_TAC_TOE.obs((1, 1, 0, 2, 2, 0, 0, 0, 0))
    always = agent(simulations=30, opening=OpeningConfig(moves=2, chance=1.0))
    assert (acted(always, board, explore=False, memory=0, count=5)[0] == 2).all()


@pytest.mark.slow
def test_with_a_deadline_it_searches_again_and_again_and_the_visits_add_up():
    one = agent(simulations=4)
    state, board = one.init(key=KEY), jnp.asarray(TIC_TAC_TOE.obs((1, 0, 0, 0, 2, 0, 0, 0, 0)))
    act = Actor(one, explore=True, plan_ms=1e-6)  # one search
    memory, keys = jnp.zeros(2, jnp.int32), jr.split(KEY, 2)
    action, after, extras = act(state, memory, jnp.stack([board, board]), keys)
    assert (after == 1).all() and (extras.player == 0).all() and (board.reshape(9, 2)[action].sum(-1) == 0).all()
    search = one.begin(state, memory[0], board, key=KEY)
    for i in range(3):
        search = one.refine(state, search, key=jr.fold_in(KEY, i), explore=True)
    assert float(search.found.count) == 3 and float(search.found.visits.sum()) == 12
    _, _, extras = one.best(state, memory[0], search, key=KEY, explore=True)
    np.testing.assert_allclose(extras.weights.sum(), 1, rtol=1e-5)


def test_without_simulations_the_network_alone_plays_and_learns_nothing():
    alone = agent(simulations=0)
    state = alone.init(key=KEY)
    board = TIC_TAC_TOE.obs((1, 0, 0, 0, 2, 0, 0, 0, 0))
    action, extras = acted(alone, board, explore=False, state=state, count=3)
    logits = np.array(state.network(jnp.asarray(board))[0])
    logits[[0, 4]] = -np.inf
    assert (action == np.argmax(logits)).all()
    np.testing.assert_allclose(extras.weights[0], jax.nn.softmax(logits), rtol=1e-4)
    with pytest.raises(ValueError, match="simulations=0 plays by the network alone"):
        updated(alone, state, empty()["env"], key=KEY)


@pytest.mark.slow
def test_one_player_is_searched_and_learned_from_too():
    env = Catch()
    one = AlphaZero(env.spec, dataclasses.replace(TINY, simulations=8, discount=0.9), rules=Simulator(env))
    driver = JitDriver(one, env, num_envs=3)
    end = run_to(driver, driver.start(empty(env), seed=0), 60)
    found = end.data["env"].outcomes(0.9)
    rows, _ = end.data["env"].rows()
    last = np.asarray(rows.terminated)
    assert last.any() and not rows.extras.player.any()
    np.testing.assert_allclose(np.abs(found.value[last]), 1.0)
    before = np.flatnonzero(last)[np.flatnonzero(last) % 20 > 0] - 1  # the tick before, same environment
    np.testing.assert_allclose(found.value[before], 0.9 * found.value[before + 1], rtol=1e-5)
    assert not end.agent_state.network.bounded


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"update_every": 0}, "update_every=0 must be a whole number"),
        ({"updates": 0}, "updates=0 must be a whole number"),
        ({"play_simulations": 0}, "play_simulations=0 must be a whole number"),
        ({"noise_fraction": 2.0}, "noise_fraction=2.0 must lie in"),
        ({"network": PolicyValueConfig(batch_size=0)}, "batch_size=0 must be a whole number"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        agent(**changes)


def test_continuous_actions_are_refused():
    with pytest.raises(ValueError, match="discrete actions"):
        AlphaZero(Pendulum().spec, TINY, rules=Simulator(Pendulum()))


# ---- the network and its loss


@pytest.mark.parametrize("kind", ["mlp", "resnet"])
def test_networks_take_any_batch_axes_and_see_the_picture_alone(kind):
    spec = dataclasses.replace(ConnectFour().spec, obs_dim=90)
    sizes = {"units": 8, "layers": 1, "channels": 4, "blocks": 1}
    network = PolicyValue(spec, kind, **sizes, bounded=True, key=KEY)
    obs = 255.0 * jr.bernoulli(KEY, shape=(2, 3, 90))
    logits, score = network(obs)
    assert logits.shape == (2, 3, 7) and score.shape == (2, 3)
    np.testing.assert_allclose(network(obs[1, 2])[0], logits[1, 2], atol=1e-5)
    np.testing.assert_array_equal(network(obs.at[..., 84:].set(7.0))[0], logits)
    assert not np.allclose(network(obs.at[..., :5].set(99.0))[0], logits)
    np.testing.assert_allclose(network.value(score), np.tanh(score), rtol=1e-6)


def test_a_residual_network_needs_a_board():
    with pytest.raises(ValueError, match="network=resnet needs a board; pendulum is seen as numbers"):
        PolicyValue(Pendulum().spec, "resnet", units=8, layers=1, channels=4, blocks=1, bounded=True, key=KEY)


class Says(eqx.Module):
    """A network of constant answers."""

    logits: jax.Array
    score: jax.Array

    def __call__(self, obs):
        return self.logits, self.score

    def value(self, score):
        return jnp.tanh(score)


def test_loss_is_the_papers_and_unknown_outcomes_leave_the_value_alone():
    network = Says(jnp.array([[0.0, 0.0], [np.log(3.0), 0.0], [0.0, 0.0]]), jnp.array([0.0, 0.5, 9.0]))
    weights = jnp.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    batch = Position(jnp.zeros((3, 1)), weights, jnp.array([1.0, -1.0, np.nan]), jnp.array([True, True, False]))
    loss, metrics = search_loss(network, batch, "squared")
    policy = (np.log(2) + np.log(4 / 3) + np.log(2)) / 3
    value = ((1 - 0) ** 2 + (-1 - np.tanh(0.5)) ** 2) / 2
    np.testing.assert_allclose(loss, policy + value, rtol=1e-5)
    np.testing.assert_allclose(metrics["policy/divergence"], policy - np.log(2) / 3, rtol=1e-5)
    np.testing.assert_allclose(metrics["value/known"], 2 / 3, rtol=1e-6)
    win = lambda v: (1 + np.tanh(v)) / 2
    crossed = -(np.log(win(0.0)) + np.log(1 - win(0.5))) / 2
    np.testing.assert_allclose(search_loss(network, batch, "cross-entropy")[0], policy + crossed, rtol=1e-5)
    np.testing.assert_allclose(search_loss(network, batch, "none")[0], policy, rtol=1e-5)
    none_known = dataclasses.replace(batch, known=jnp.zeros(3, bool))
    np.testing.assert_allclose(search_loss(network, none_known, "squared")[0], policy, rtol=1e-5)


@pytest.mark.parametrize("game", [TicTacToe(), ConnectFour()], ids=lambda game: game.spec.name)
def test_mirrored_positions_keep_what_belongs_together(game: AbstractGame):
    """The legal actions, as a policy, move with the board; all symmetries come up."""
    obs = jnp.zeros(game.spec.obs_dim)
    state = game.state_from(obs)
    for action in (0, 1, 4):
        state, obs, *_ = game.step(state, jnp.int32(action), key=KEY)
    legal = game.moves(state).legal.astype(jnp.float32)
    if game.spec.name == "connect-four":
        legal = jnp.arange(7.0)
    many = lambda x: jnp.repeat(x[None], 200, 0)
    batch = Position(many(obs), many(legal), jnp.zeros(200), jnp.ones(200, bool))
    seen = mirrored(batch, game.symmetries, key=KEY)
    assert len(np.unique(seen.obs, axis=0)) == len(game.symmetries) + 1
    if game.spec.name == "tic-tac-toe":
        again = jax.vmap(lambda o: game.moves(game.state_from(o)).legal)(seen.obs)
        np.testing.assert_array_equal(again, seen.weights)
    else:
        turned = np.asarray(seen.weights[:, 0]) == 6
        planes = np.asarray(seen.obs).reshape(200, 6, 7, 2)
        np.testing.assert_array_equal(planes[turned][0], planes[~turned][0][:, ::-1])
    assert mirrored(batch, (), key=KEY) is batch


@pytest.mark.slow
def test_it_may_play_with_more_simulations_than_it_learns_with():
    one, both = agent(play_simulations=30), agent(simulations=30)
    obs = GAME.reset(key=KEY)[1]
    for explore, same in ((False, both), (True, agent())):
        found, wanted = (acted(a, obs, explore=explore, count=4)[1].weights for a in (one, same))
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    few, many = (acted(one, obs, explore=explore, count=4)[1].weights for explore in (True, False))
    assert np.abs(few - many).max() > 1e-3
