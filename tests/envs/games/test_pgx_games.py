"""Games of pgx behind our interface, against pgx itself."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.games import pgx
from forethought.envs.games.pgx import PgxGame
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.envs.make import list_envs, make
from forethought.errors import UserError
from forethought.models.simulator import Simulator

NAMES = ["tic_tac_toe", "othello", "hex"]
names = pytest.mark.parametrize("name", NAMES)


def same(one, other):
    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def played(game, num_steps, seed):
    """States, observations, actions and `step`'s answers of random legal moves; in the end a state without action."""
    rng, step = np.random.default_rng(seed), jax.jit(lambda s, a: game.step(s, a, key=jr.key(0)))
    legal = jax.jit(lambda s: game.moves(s).legal)
    state, obs = game.reset(key=jr.key(0))
    for _ in range(num_steps):
        found = np.flatnonzero(legal(state))
        if not len(found):
            yield state, obs, None, None
            return
        action = int(rng.choice(found))
        answer = step(state, action)
        yield state, obs, action, answer
        state, obs, *_ = answer


@names
def test_an_observation_is_the_picture_of_pgx_and_restores_its_whole_state(name):
    game = PgxGame(f"pgx/{name}")
    restore = jax.jit(game.state_from)
    for state, obs, *_ in played(game, 12, seed=0):
        assert obs.shape == (game.spec.obs_dim,) and obs.dtype == jnp.float32
        np.testing.assert_array_equal(game.spec.pixels(obs), 255.0 * state.observation)
        assert same(restore(obs), state)


def test_states_with_hashes_over_the_whole_of_uint32_are_restored_to_the_bit():
    rng = np.random.default_rng(0)
    for like in (np.zeros((4, 2), np.uint32), np.zeros(8, np.int32)):
        bits = rng.integers(0, 2**32, like.shape, dtype=np.uint32)
        bits.reshape(-1)[:4] = 0, 2**32 - 1, 2**31, 2**24 + 1
        leaf = jnp.asarray(bits.view(like.dtype))
        assert same(pgx._decoded(pgx._encoded(leaf), like), leaf)


@names
def test_steps_are_those_of_pgx_told_from_the_side_of_the_mover(name):
    game, (env, _) = PgxGame(f"pgx/{name}"), pgx._load(f"pgx/{name}")
    theirs, moved, step = game.reset(key=jr.key(0))[0], [], jax.jit(env.step)
    for state, _, action, answer in played(game, 130, seed=1):
        assert same(state, theirs)
        moves, mover = game.moves(state), int(theirs.current_player)
        assert moves.player == mover
        if action is None:
            assert theirs.terminated and not moves.legal.any()
            break
        np.testing.assert_array_equal(moves.legal, theirs.legal_action_mask)
        theirs = jax.tree.map(lambda new, old: new.astype(old.dtype), step(theirs, action), theirs)
        _, _, reward, terminated, truncated = answer
        assert reward == theirs.rewards[mover] and terminated == theirs.terminated and not truncated
        moved.append(mover)
    assert action is None and moved[:2] == [0, 1] and len(moved) <= game.spec.max_episode_steps


def test_an_illegal_action_loses_and_a_finished_game_stays():
    game = PgxGame("pgx/othello")
    state, _ = game.reset(key=jr.key(0))
    state, _, reward, terminated, _ = game.step(state, jnp.int32(0), key=jr.key(0))
    assert reward == -1 and terminated and not game.moves(state).legal.any()
    assert game.step(state, jnp.int32(19), key=jr.key(0))[2:4] == (0, True)


def test_a_simulator_imagines_a_batch_of_othello():
    model = Simulator(PgxGame("pgx/othello"))
    _, obs = model.env.reset(key=jr.key(0))
    belief = model.init(obs, key=jr.key(0))
    many = jax.tree.map(lambda x: jnp.repeat(x[:, None], 4, axis=1), belief)
    legal = np.flatnonzero(model.moves(belief).legal[0])
    after, prediction = jax.jit(model.step)(many, jnp.asarray(legal)[None], key=jr.key(0))
    assert prediction.continuation.shape == (1, 4) and (prediction.continuation == 1).all()
    assert (model.moves(after).player == 1).all()
    assert len(np.unique(np.asarray(model.env.spec.pixels(after.obs[0])), axis=0)) == 4


def test_tic_tac_toe_of_pgx_looks_like_ours():
    ours, theirs = TicTacToe(), make("pgx/tic_tac_toe")
    (mine, obs), (state, seen) = ours.reset(key=jr.key(0)), theirs.reset(key=jr.key(1))
    for action in (4, 0, 8):
        mine, obs, *_ = ours.step(mine, jnp.int32(action), key=jr.key(0))
        state, seen, *_ = theirs.step(state, jnp.int32(action), key=jr.key(0))
        np.testing.assert_array_equal(theirs.spec.pixels(seen), ours.spec.pixels(obs))
    assert theirs.text(state) == "O . .\n. X .\n. . X"


def test_text_names_squares_as_the_actions_are_named():
    game = PgxGame("pgx/othello")
    state, _ = game.reset(key=jr.key(0))
    lines = game.text(state).splitlines()
    assert lines[0] == "   a b c d e f g h" and lines[4] == " 4 . . . O X . . ."
    assert [game.action_names[i] for i in np.flatnonzero(game.moves(state).legal)] == ["d3", "c4", "f5", "e6"]
    assert game.action_names[-1] == "pass" and len(game.action_names) == game.spec.action.n


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("kuhn_poker", "hides something"),
        ("sparrow_mahjong", "hides something"),
        ("bridge_bidding", "hides something"),
        ("backgammon", "game of chance"),
        ("2048", "game of chance"),
        ("minatar-breakout", "minatar-breakout$"),
        ("minatar-space_invaders", "minatar-breakout$"),
        ("othelo", "did you mean pgx/othello"),
    ],
)
def test_games_that_do_not_fit_are_refused_in_one_line(name, why):
    with pytest.raises(UserError, match=why) as caught:
        make(f"pgx/{name}")
    assert "\n" not in str(caught.value)


def test_is_listed():
    assert "pgx/othello" in list_envs()["pgx"]
