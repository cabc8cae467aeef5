"""The solver against brute force, hand positions and itself."""

import json
import pathlib
import random

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from plain_games import CONNECT_FOUR

from forethought.envs.games import connect_four_solver as solver
from forethought.envs.games.connect_four import ConnectFour
from forethought.envs.games.connect_four_solver import observation, outcomes, position, value

ROOT = pathlib.Path(__file__).parents[3]


def drawn(stones, count, seed):
    """Moves that lead to `count` random positions with so many stones that are not over."""
    rng, found = random.Random(seed), []
    while len(found) < count:
        moves, at = "", position("")
        while not at.over and at.stones < stones:
            column = rng.choice([c for c in range(7) if at.square(c)])
            moves, at = moves + str(column + 1), at.played(column)
        found += [moves] if at.stones == stones and not at.over else []
    return found


def plain(moves):
    board = CONNECT_FOUR.start()
    for move in moves:
        board = CONNECT_FOUR.play(board, int(move) - 1)
    return board


@pytest.mark.slow
@pytest.mark.parametrize("stones", [31, 34, 36, 39, 41])
def test_outcomes_equal_brute_force_late_in_the_game(stones):
    seen = set()
    for moves in drawn(stones, 25, seed=stones):
        board = plain(moves)
        legal = CONNECT_FOUR.legal(board)
        wanted = [-CONNECT_FOUR.value(CONNECT_FOUR.play(board, c)) if c in legal else None for c in range(7)]
        assert list(outcomes(position(moves))) == wanted
        seen.update(x for x in wanted if x is not None)
    assert len(seen) >= 2


@pytest.mark.parametrize("stones", [20, 23, 26])
def test_a_position_is_worth_what_its_best_move_leaves_the_other_and_its_mirror_image_the_same(stones):
    for moves in drawn(stones, 4, seed=stones):
        at = position(moves)
        found = outcomes(at)
        for column, worth in enumerate(found):
            if worth is not None:
                after = at.played(column)
                assert worth == (1 if solver.has_four(at.own | at.square(column)) else -value(after))
        mirrored = position("".join(str(8 - int(move)) for move in moves))
        assert outcomes(mirrored) == found[::-1]


@pytest.mark.parametrize(
    ("moves", "wanted"),
    [
        ("44553", (-1,) * 7),  # three of the other's in the lowest row, open at both ends: one block is too few
        ("445531", (1,) * 7),  # the same with the other to move: wins now, or after whatever else
        ("2252576253462244111563365343671351441", (None,) * 5 + (-1, -1)),  # the first of Pons's "end-easy" test set
    ],
)
def test_hand_positions(moves, wanted):
    assert outcomes(position(moves)) == wanted


def test_winning_squares_are_those_that_complete_a_line():
    for moves in drawn(20, 60, seed=7):
        at, board = position(moves), plain(moves)
        for row, column in np.ndindex(6, 7):
            bit, square = 1 << (7 * column + 5 - row), 7 * row + column
            for player, stones in (
                (CONNECT_FOUR.mover(board), at.own),
                (3 - CONNECT_FOUR.mover(board), at.own ^ at.taken),
            ):
                filled = (*board[:square], player, *board[square + 1 :])
                completes = board[square] == 0 and CONNECT_FOUR.won(filled, player)
                assert bool(solver.winning_squares(stones, at.taken) & bit) == completes


def test_observations_are_those_of_the_game():
    game = ConnectFour()
    step = jax.jit(lambda s, a: game.step(s, a, key=jr.key(0))[:2])
    for moves in drawn(15, 3, seed=3):
        state, _ = game.reset(key=jr.key(0))
        for move in moves:
            state, obs = step(state, jnp.int32(int(move) - 1))
        np.testing.assert_array_equal(observation(position(moves)), obs)


@pytest.mark.parametrize(
    ("moves", "why"),
    [
        ("1111111", "illegal move after 6 stones: column 1 has no room"),
        ("8", "column 8 has no room, wanted one of 1 to 7"),
        ("x", "illegal move after 0 stones"),
        ("12121212", "illegal move after 7 stones: the game is over"),
    ],
)
def test_illegal_moves_are_refused(moves, why):
    with pytest.raises(ValueError, match=why):
        position(moves)


def test_a_finished_game_is_not_solved():
    with pytest.raises(ValueError, match="over after 7 stones"):
        outcomes(position("1212121"))


@pytest.mark.slow
def test_labelled_endgames_that_come_with_the_project_are_different_and_solved_so():
    sets = json.loads((ROOT / "reproductions" / "connect-four-endgames.json").read_text())["positions"]
    assert {stones: len(entries) for stones, entries in sets.items()} == {"24": 300, "16": 200}
    for stones, entries in sets.items():
        assert len({position(entry["moves"]) for entry in entries}) == len(entries)
        for entry in entries[:: 10 if stones == "24" else 50]:
            assert position(entry["moves"]).stones == int(stones)
            assert outcomes(position(entry["moves"])) == tuple(entry["values"])
    assert all(len({*entry["values"]} - {None}) > 1 for entries in sets.values() for entry in entries)
