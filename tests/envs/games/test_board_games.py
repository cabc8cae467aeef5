"""Tic-tac-toe and Connect Four against plain rules, hand positions and pgx."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pgx
import pytest
from plain_games import CONNECT_FOUR, TIC_TAC_TOE, reachable

from forethought.core import AbstractGame
from forethought.envs.games.connect_four import ConnectFour
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.envs.make import make

GAMES = [TicTacToe(), ConnectFour()]
PLAIN = {"tic-tac-toe": TIC_TAC_TOE, "connect-four": CONNECT_FOUR}
games = pytest.mark.parametrize("game", GAMES, ids=lambda game: game.spec.name)


def stepper(game):
    return jax.jit(lambda state, action: game.step(state, action, key=jr.key(0)))


def played(game, actions):
    """The state, reward, terminated and truncated after `actions`."""
    state, step = game.reset(key=jr.key(0))[0], stepper(game)
    for action in actions:
        state, _, reward, terminated, truncated = step(state, jnp.int32(action))
    return state, float(reward), bool(terminated), bool(truncated)


def random_games(game, num_games, seed):
    """Python actions of games by random legal moves, by the plain rules."""
    rng, plain = np.random.default_rng(seed), PLAIN[game.spec.name]
    for _ in range(num_games):
        board, actions = plain.start(), []
        while legal := plain.legal(board):
            actions.append(int(rng.choice(legal)))
            board = plain.play(board, actions[-1])
        yield actions


def test_all_5478_positions_of_tic_tac_toe_round_trip_and_follow_the_plain_rules():
    game, boards = TicTacToe(), reachable()
    assert len(boards) == 5478
    obs = jnp.asarray(np.stack([TIC_TAC_TOE.obs(b) for b in boards]))
    states = jax.vmap(game.state_from)(obs)
    np.testing.assert_array_equal(jax.vmap(game.observe)(states), obs)
    moves = jax.vmap(game.moves)(states)
    np.testing.assert_array_equal(moves.player, [TIC_TAC_TOE.mover(b) - 1 for b in boards])
    step = jax.jit(jax.vmap(lambda state, action: game.step(state, action, key=jr.key(0)), in_axes=(0, None)))
    for action in range(9):
        legal = np.array([action in TIC_TAC_TOE.legal(b) for b in boards])
        np.testing.assert_array_equal(moves.legal[:, action], legal)
        after, seen, reward, terminated, truncated = step(states, jnp.int32(action))
        ahead = [TIC_TAC_TOE.play(b, action) for b, ok in zip(boards, legal) if ok]
        np.testing.assert_array_equal(seen[legal], [TIC_TAC_TOE.obs(b) for b in ahead])
        np.testing.assert_array_equal(terminated[legal], [TIC_TAC_TOE.over(b) for b in ahead])
        won = [TIC_TAC_TOE.won(b, 3 - TIC_TAC_TOE.mover(b)) for b in ahead]
        np.testing.assert_array_equal(reward[legal], np.array(won, float))
        again = jax.vmap(game.state_from)(seen)
        for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(after)):
            np.testing.assert_array_equal(one[legal], other[legal])
        assert not truncated.any()


def test_connect_four_has_as_many_positions_at_each_depth_as_is_known():
    # Edelkamp & Kissmann 2008, table 1
    game, states = ConnectFour(), jax.tree.map(lambda x: x[None], ConnectFour().reset(key=jr.key(0))[0])
    step = jax.jit(jax.vmap(lambda s, a: game.step(s, a, key=jr.key(0))[:2]))
    for wanted in (7, 49, 238, 1120, 4263):
        n = len(states.over)
        many = jax.tree.map(lambda x: jnp.repeat(x, 7, axis=0), states)
        legal = np.asarray(jax.vmap(game.moves)(many).legal)[np.arange(7 * n), np.tile(np.arange(7), n)]
        after, seen = step(many, jnp.tile(jnp.arange(7), n))
        _, first = np.unique(np.packbits(np.asarray(seen) > 0, axis=1)[legal], axis=0, return_index=True)
        rows = np.flatnonzero(legal)[first]
        states = jax.tree.map(lambda x, rows=rows: x[rows], after)
        assert len(rows) == wanted


@games
def test_random_games_follow_the_plain_rules_to_their_end(game):
    plain, step = PLAIN[game.spec.name], stepper(game)
    for actions in random_games(game, 20, seed=0):
        board, (state, obs) = plain.start(), game.reset(key=jr.key(0))
        for action in actions:
            moves = game.moves(state)
            assert np.flatnonzero(moves.legal).tolist() == plain.legal(board)
            assert moves.player == plain.mover(board) - 1
            board = plain.play(board, action)
            state, obs, reward, terminated, _ = step(state, jnp.int32(action))
            np.testing.assert_array_equal(obs, plain.obs(board))
            assert terminated == plain.over(board)
            assert reward == plain.won(board, 3 - plain.mover(board))
        assert not game.moves(state).legal.any()


@pytest.mark.parametrize(
    "actions",
    [
        [0, 1, 0, 1, 0, 1, 0],  # a column
        [3, 3, 4, 4, 5, 5, 6],  # the lowest row, at its right end
        [0, 1, 1, 2, 2, 3, 2, 3, 3, 6, 3],  # rising
        [6, 5, 5, 4, 4, 3, 4, 3, 3, 0, 3],  # falling
    ],
)
def test_connect_four_is_won_by_the_fourth_in_each_direction_and_not_before(actions):
    assert played(ConnectFour(), actions[:-1])[1:] == (0.0, False, False)
    assert played(ConnectFour(), actions)[1:] == (1.0, True, False)


def test_connect_four_has_no_lines_round_the_edge():
    stones = np.zeros((6, 7), bool)
    stones[5, 5:] = stones[4, :2] = True  # four numbers in a row, but not four squares
    assert not ConnectFour().won(jnp.asarray(stones))


@games
def test_an_illegal_action_loses_and_leaves_the_board(game):
    actions = [0, 0] if game.spec.name == "tic-tac-toe" else [0] * 7
    before = played(game, actions[:-1])[0]
    state, reward, terminated, truncated = played(game, actions)
    assert (reward, terminated, truncated) == (-1.0, True, False)
    np.testing.assert_array_equal(game.observe(state), game.observe(before))
    assert not game.moves(state).legal.any()
    assert played(game, [*actions, 1])[1:] == (0.0, True, False)
    for outside in (-1, game.spec.action.n):
        assert played(game, [outside])[1:3] == (-1.0, True)


@games
def test_a_drawn_game_ends_with_reward_zero_within_the_time_limit(game):
    actions = {"tic-tac-toe": "042173586", "connect-four": "335212005014602435524223014410466566335611"}[game.spec.name]
    assert len(actions) == game.spec.max_episode_steps
    assert played(game, map(int, actions[:-1]))[1:] == (0.0, False, False)
    assert played(game, map(int, actions))[1:] == (0.0, True, False)


@games
@pytest.mark.parametrize("steps", [0, 3, 5])
def test_symmetries_commute_with_stepping(game, steps):
    assert len(game.symmetries) == {"tic-tac-toe": 7, "connect-four": 1}[game.spec.name]
    actions = next(random_games(game, 1, seed=steps))[: steps + 1]
    state = played(game, actions[:-1])[0] if steps else game.reset(key=jr.key(0))[0]
    after, seen = played(game, actions)[0], set()
    for turn, renamed in game.symmetries:
        turn, renamed = np.array(turn), np.array(renamed)
        other = game.state_from(game.observe(state)[turn])
        np.testing.assert_array_equal(game.moves(other).legal, game.moves(state).legal[renamed])
        action = int(np.flatnonzero(renamed == actions[-1])[0])
        _, obs, *_ = game.step(other, jnp.int32(action), key=jr.key(0))
        np.testing.assert_array_equal(obs, game.observe(after)[turn])
        seen.add((tuple(turn), tuple(renamed)))
    assert len(seen) == len(game.symmetries) and tuple(range(game.spec.obs_dim)) not in {turn for turn, _ in seen}


@games
def test_agrees_with_pgx_on_random_games(game):
    peer = pgx.make(game.spec.name.replace("-", "_"))
    peer_step, step = jax.jit(peer.step), stepper(game)
    for actions in random_games(game, 12, seed=2):
        theirs, (state, obs) = jax.jit(peer.init)(jr.key(0)), game.reset(key=jr.key(0))
        for action in actions:
            np.testing.assert_array_equal(game.moves(state).legal, theirs.legal_action_mask)
            mover, theirs = theirs.current_player, peer_step(theirs, action)
            state, obs, reward, terminated, _ = step(state, jnp.int32(action))
            np.testing.assert_array_equal(game.spec.pixels(obs) > 0, theirs.observation)
            assert terminated == theirs.terminated and reward == theirs.rewards[mover]


@games
def test_text_and_picture_show_the_stones(game):
    empty, one = game.reset(key=jr.key(0))[0], played(game, [2])[0]
    wanted = {
        "tic-tac-toe": "1 2 X\n4 5 6\n7 8 9",
        "connect-four": "\n".join([". . . . . . ."] * 5 + [". . X . . . .", "1 2 3 4 5 6 7"]),
    }
    assert game.text(one) == wanted[game.spec.name]
    assert "O" in game.text(played(game, [2, 3])[0])
    frames = [game.render(state) for state in (empty, one, played(game, [2, 3])[0])]
    assert all(frame.shape == (320, 480, 3) and frame.dtype == np.uint8 for frame in frames)
    assert (frames[0] != frames[1]).any() and (frames[1] != frames[2]).any()


@games
def test_is_made_by_its_id_and_names_its_actions(game):
    made = make(game.spec.name)
    assert isinstance(made, AbstractGame) and made == game and made.num_players == 2
    assert made.action_names == tuple(str(i + 1) for i in range(game.spec.action.n))
