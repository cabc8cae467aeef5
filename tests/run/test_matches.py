"""Matches between players whose results are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from plain_games import TIC_TAC_TOE, reachable

from forethought.core import AbstractAgent, AbstractGame, AbstractModel, Schedule
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.models.simulator import Simulator
from forethought.planners.uct import UCT
from forethought.replay.uniform import UniformReplay
from forethought.run.ladder import climb, spread
from forethought.run.matches import (
    AbstractPlayer,
    AgentPlayer,
    FunctionPlayer,
    Match,
    PlannerPlayer,
    RandomPlayer,
    Score,
    play,
)
from forethought.types import Discrete, EnvSpec, Moves, Prediction

GAME = TicTacToe()
KEY = jr.key(0)


def number(obs):
    """A number for each position of tic-tac-toe."""
    planes = obs.reshape(*obs.shape[:-1], 9, 2) > 0
    return (planes[..., 0] + 2 * planes[..., 1]) @ (3 ** np.arange(9))


def perfect_moves():
    """The first best action of every position, by its number."""
    table = np.zeros(3**9, np.int32)
    for board in reachable():
        legal = TIC_TAC_TOE.legal(board)
        if legal:
            best = max(legal, key=lambda a: -TIC_TAC_TOE.value(TIC_TAC_TOE.play(board, a)))
            table[int(number(TIC_TAC_TOE.obs(board)))] = best
    return jnp.asarray(table)


class Perfect(AbstractPlayer):
    """Plays by the table."""

    table: jax.Array

    def begin(self):
        return None

    def act(self, memory, obs, *, key):
        return self.table[number(obs)], None


class Script(AbstractPlayer):
    """Plays a list of actions; the memory says how many are done."""

    actions: tuple[int, ...] = eqx.field(static=True)

    def begin(self):
        return jnp.int32(0)

    def act(self, memory, obs, *, key):
        return jnp.array(self.actions)[memory], memory + 1


class Recital(AbstractAgent):
    """Its state is a list of actions, its memory how many are done; exploring it would play square 8."""

    spec: EnvSpec

    @property
    def schedule(self):
        return Schedule(0, ())

    def data(self, capacity, num_envs):
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key):
        return jnp.arange(9)

    def init_memory(self, state):
        return jnp.int32(0)

    def act(self, state, memory, obs, *, key, explore):
        return jnp.int32(8) if explore else state[memory], memory + 1, None

    def update(self, state, data, *, round, clock, key):
        return state, {}, {}


class Count(AbstractGame):
    """Players take `mover`'s turns; whoever makes the last of 4 moves wins."""

    mover: tuple[int, ...] = eqx.field(static=True)
    players: int = eqx.field(static=True, default=2)

    @property
    def spec(self):
        return EnvSpec("count", 1, Discrete(1), max_episode_steps=len(self.mover))

    @property
    def num_players(self):
        return self.players

    def reset(self, *, key, start=None, clock=0):
        return jnp.int32(0), jnp.zeros(1)

    def step(self, state, action, *, key):
        over = state + 1 == 4
        return (
            state + 1,
            jnp.full(1, state + 1.0),
            over.astype(jnp.float32),
            over,
            ~over & (state + 1 == len(self.mover)),
        )

    def moves(self, state):
        return Moves((state < 4)[None], jnp.array(self.mover)[jnp.minimum(state, len(self.mover) - 1)])

    def text(self, state):
        return str(state)


def test_random_play_wins_as_often_as_counting_all_games_says():
    # 0.585 wins of the first player, 0.288 of the second, 0.127 draws; see Edward Thorp's or any table of the game
    match = play(GAME, RandomPlayer(GAME), RandomPlayer(GAME), num_games=4000, key=KEY)
    np.testing.assert_allclose(np.array(match.first) / 2000, [0.585, 0.127, 0.288], atol=0.035)
    np.testing.assert_allclose(np.array(match.second) / 2000, [0.288, 0.127, 0.585], atol=0.035)
    assert match.lengths.min() >= 5 and match.lengths.max() == 9


@pytest.mark.slow
def test_a_perfect_player_never_loses_and_draws_with_itself():
    perfect = Perfect(perfect_moves())
    against_random = play(GAME, perfect, RandomPlayer(GAME), num_games=400, key=KEY).total
    assert against_random.losses == 0 and against_random.points > 0.9
    mirrored = play(GAME, RandomPlayer(GAME), perfect, num_games=400, key=KEY).total
    assert mirrored.wins == 0 and mirrored.losses > 300
    assert play(GAME, perfect, perfect, num_games=4, key=KEY).total == Score(0, 4, 0)
    assert play(GAME, perfect, perfect, num_games=40, opening=2, key=KEY).total.draws < 40


def test_scripts_are_played_in_turn_from_memories_of_their_own_and_told_by_side():
    row, column = Script((0, 1, 2, 7, 5)), Script((3, 6, 8, 4, 0))
    match = play(GAME, row, column, num_games=6, key=KEY)
    # first: X 0, O 3, X 1, O 6, X 2 wins. second: X 3, O 0, X 6, O 1, X 8, O 2 wins.
    assert match.first == Score(3, 0, 0) and match.second == Score(3, 0, 0)
    assert match.lengths.tolist() == [[5] * 3, [6] * 3]
    lost = play(GAME, column, row, num_games=2, key=KEY)
    assert lost.total == Score(0, 0, 2) and lost.lengths.tolist() == [[6], [5]]


def test_an_illegal_action_loses():
    stubborn = FunctionPlayer(lambda obs, key: jnp.int32(0))
    assert play(GAME, stubborn, RandomPlayer(GAME), num_games=20, key=KEY).total == Score(0, 0, 20)


@pytest.mark.parametrize("opening", [1, 2, 5])
def test_openings_are_the_same_for_both_sides_and_are_never_the_end(opening):
    perfect = Perfect(perfect_moves())
    match = play(GAME, perfect, perfect, num_games=120, opening=opening, key=KEY)
    np.testing.assert_array_equal(match.outcomes[0], -match.outcomes[1])  # the side decides, not the name
    np.testing.assert_array_equal(match.lengths[0], match.lengths[1])
    assert match.lengths.min() > opening
    values = [
        TIC_TAC_TOE.value(b) * (1 if opening % 2 == 0 else -1) for b in reachable() if sum(map(bool, b)) == opening
    ]
    assert set(match.outcomes[0].tolist()) == set(values)


@pytest.mark.slow
def test_a_planner_plays_by_searching_in_the_rules():
    search = PlannerPlayer(UCT(GAME.spec.action, 40), Simulator(GAME))
    assert play(GAME, search, RandomPlayer(GAME), num_games=60, key=KEY).total.points > 0.8


def test_an_agent_plays_without_exploring_by_what_it_has_learned():
    match = play(GAME, AgentPlayer(Recital(GAME.spec), jnp.array([0, 1, 2])), Script((3, 4, 8)), num_games=2, key=KEY)
    assert match.total == Score(2, 0, 0)
    untaught = AgentPlayer(Recital(GAME.spec), jnp.array([3, 3, 3]))
    assert play(GAME, untaught, Script((0, 1, 2)), num_games=2, key=KEY).total == Score(0, 0, 2)


def test_a_game_cut_off_by_its_limit_is_a_draw():
    player = FunctionPlayer(lambda obs, key: jnp.int32(0))
    match = play(Count((0, 1, 0)), player, player, num_games=2, key=KEY)
    assert match.total == Score(0, 2, 0) and (match.lengths == 3).all()


@pytest.mark.parametrize("opening", [0, 1, 2, 3])
def test_first_and_second_are_sides_of_the_whole_game_whatever_the_opening(opening):
    player = FunctionPlayer(lambda obs, key: jnp.int32(0))
    match = play(Count((0, 1, 0, 1)), player, player, num_games=2, opening=opening, key=KEY)
    assert match.first == Score(0, 0, 1) and match.second == Score(1, 0, 0) and (match.lengths == 4).all()


@pytest.mark.parametrize(
    ("game", "options", "why"),
    [
        (GAME, {"num_games": 3}, "num_games=3 must be even"),
        (GAME, {"num_games": 0}, "num_games=0 must be even"),
        (GAME, {"num_games": 2, "opening": -1}, "opening=-1"),
        (GAME, {"num_games": 2, "opening": 9}, "hardly any game of tic-tac-toe"),
        (Count((0, 0, 1, 1)), {"num_games": 2}, "moved twice in a row"),
        (Count((0, 1), players=1), {"num_games": 2}, "played by 1"),
    ],
)
def test_bad_input_is_refused(game, options, why):
    player = FunctionPlayer(lambda obs, key: jnp.int32(0))
    with pytest.raises(ValueError, match=why):
        play(game, player, player, **options, key=KEY)


def test_points_count_a_draw_as_half():
    match = Match(np.array([[1, 0], [-1, 0]]), np.ones((2, 2)))
    assert match.total == Score(1, 2, 1) and match.first.points == 0.75 and match.second.points == 0.25


@pytest.mark.slow
def test_on_a_ladder_everybody_plays_everybody_and_stages_are_spread_over_the_run():
    players = {"random": RandomPlayer(GAME), "perfect": Perfect(perfect_moves()), "also random": RandomPlayer(GAME)}
    results = list(climb(GAME, players, num_games=20, opening=0, key=KEY))
    assert [(r.one, r.other) for r in results] == [
        ("random", "perfect"),
        ("random", "also random"),
        ("perfect", "also random"),
    ]
    assert results[0].wins == 0 and results[2].losses == 0 and all(sum(r[2:]) == 20 for r in results)
    stages = dict.fromkeys(range(0, 100, 10), "file")
    assert spread(stages, 4) == [0, 30, 60, 90] and spread(stages, 20) == list(range(0, 100, 10))


def test_a_planner_whose_model_knows_no_moves_is_refused():
    class Silent(AbstractModel):
        """Says nothing of moves."""

        def init(self, obs, *, key):
            return obs[None]

        def step(self, belief, action, *, key):
            return belief, Prediction(jnp.zeros(1), jnp.ones(1))

        def observation(self, belief):
            return None

    player = PlannerPlayer(UCT(GAME.spec.action, rollouts=2), Silent())
    with pytest.raises(ValueError, match="a Silent knows neither the legal moves of tic-tac-toe nor whose turn it is"):
        play(GAME, player, RandomPlayer(GAME), num_games=2, key=KEY)
