"""Matches: games between two players, many at once, each player first in half of them."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractAgent, AbstractGame, AbstractModel, AbstractPlanner
from .progress import broadcast

TRIES = 100  # to find an opening that does not end the game


class AbstractPlayer(eqx.Module):
    """Somebody to play against."""

    @abc.abstractmethod
    def begin(self) -> PyTree:
        """The memory at the start of a game."""

    @abc.abstractmethod
    def act(self, memory: PyTree, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> tuple[Int[Array, ""], PyTree]:
        """The action for a position in which this player is to move, and the memory to carry to the next."""


class RandomPlayer(AbstractPlayer):
    """Any legal action, each as likely."""

    game: AbstractGame

    def begin(self) -> None:
        return None

    def act(self, memory: None, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> tuple[Int[Array, ""], None]:
        legal = self.game.moves(self.game.state_from(obs)).legal
        return jr.categorical(key, jnp.where(legal, 0.0, -jnp.inf)).astype(jnp.int32), None


class FunctionPlayer(AbstractPlayer):
    """Plays by a function of observation and key, such as a network's."""

    function: Callable[[Array, PRNGKeyArray], Array]

    def begin(self) -> None:
        return None

    def act(self, memory: None, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> tuple[Int[Array, ""], None]:
        return self.function(obs, key), None


class PlannerPlayer(AbstractPlayer):
    """Plays by searching in a model, the rules of the game themselves for instance."""

    planner: AbstractPlanner
    model: AbstractModel
    guide: Any = None

    def begin(self) -> PyTree:
        return self.planner.init()

    def act(self, memory: PyTree, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> tuple[Int[Array, ""], PyTree]:
        init_key, plan_key = jr.split(key)
        belief = self.model.init(obs, key=init_key)
        return self.planner(self.model, belief, memory, guide=self.guide, key=plan_key)


class AgentPlayer(AbstractPlayer):
    """An agent with what it has learned; it does not explore."""

    agent: AbstractAgent
    state: PyTree

    def begin(self) -> PyTree:
        return self.agent.init_memory(self.state)

    def act(self, memory: PyTree, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> tuple[Int[Array, ""], PyTree]:
        action, memory, _ = self.agent.act(self.state, memory, obs, key=key, explore=False)
        return action, memory


class Score(NamedTuple):
    """Results of some games, from one player's side."""

    wins: int
    draws: int
    losses: int

    @property
    def points(self) -> float:
        """The mean result: 1 for a win, 0.5 for a draw."""
        return (self.wins + 0.5 * self.draws) / sum(self)


class Match(NamedTuple):
    """Games that were played. Row 0: those in which `one` was the first player; row 1: the second."""

    outcomes: np.ndarray  # [2, games / 2]: 1, 0 or -1 for `one`; 0 where the time limit cut a game off
    lengths: np.ndarray  # [2, games / 2], in moves, those of the opening included

    @property
    def first(self) -> Score:
        """`one` as the first player."""
        return _score(self.outcomes[0])

    @property
    def second(self) -> Score:
        """`one` as the second player."""
        return _score(self.outcomes[1])

    @property
    def total(self) -> Score:
        """All games, from the side of `one`."""
        return _score(self.outcomes)


def _score(outcomes: np.ndarray) -> Score:
    return Score(*(int((outcomes == x).sum()) for x in (1, 0, -1)))


class _Table(eqx.Module):
    """Games under way, leaves [2, games / 2, ...]: in row 0 `one` is to move, in row 1 `other`."""

    state: Any
    obs: Array
    memories: tuple[Any, Any]  # of `one` and of `other`
    first: Array  # [2]: whether `one` is the first player in this row
    alive: Array
    outcomes: Array  # for `one`
    lengths: Array
    out_of_turn: Array  # []: somebody moved twice in a row


def play(
    game: AbstractGame,
    one: AbstractPlayer,
    other: AbstractPlayer,
    *,
    num_games: int,
    opening: int = 0,
    key: PRNGKeyArray,
) -> Match:
    """Plays `num_games`, `one` being the first player in half of them.

    `opening` moves are made at random before the players take over, the same in a game of either half: without it two
    players that leave nothing to chance play one game over and over. Players of the same classes and sizes are compiled
    once. Raises ValueError for an odd or too small number of games, an opening that no game survives, a game of one
    player, one in which the players do not take turns, and a planner in a model that knows no legal moves.
    """
    if num_games < 2 or num_games % 2:
        raise ValueError(f"num_games={num_games} must be even and at least 2, half for each side")
    if game.num_players != 2:
        raise ValueError(f"{game.spec.name} is played by {game.num_players}; a match needs a game of 2 players")
    if opening < 0:
        raise ValueError(f"opening={opening} must be at least 0")
    for player in (one, other):
        _check_knows_moves(game, player)
    half = num_games // 2
    state, obs = _opened(game, half, opening, key=jr.fold_in(key, 0))
    state, obs = jax.tree.map(lambda x: jnp.stack([x, x]), (state, obs))
    memories = tuple(broadcast(broadcast(player.begin(), half), 2) for player in (one, other))
    zeros, first = jnp.zeros((2, half), jnp.int32), jnp.array([opening % 2 == 0, opening % 2 == 1])
    table = _Table(state, obs, memories, first, zeros == 0, zeros, zeros + opening, jnp.array(False))
    for ply in range(opening, game.spec.max_episode_steps or 1000):
        table = _ply(game, one, other, table, jr.fold_in(key, ply + 1))
        if not np.asarray(table.alive).any():
            break
    if bool(table.out_of_turn):
        raise ValueError(f"{game.spec.name}: a player moved twice in a row; a match needs a game of turns")
    order = np.argsort(~np.asarray(table.first))
    return Match(np.asarray(table.outcomes)[order], np.asarray(table.lengths)[order])


def _check_knows_moves(game: AbstractGame, player: AbstractPlayer) -> None:
    """Raises ValueError for a planner whose model cannot tell legal moves and whose turn it is."""
    if not isinstance(player, PlannerPlayer):
        return
    model, obs = player.model, jnp.zeros(game.spec.obs_dim)
    moves = eqx.filter_eval_shape(lambda: model.moves(model.init(obs, key=jr.key(0))))
    if moves is None:
        raise ValueError(
            f"a {type(model).__name__} knows neither the legal moves of {game.spec.name} nor whose turn it is; plan in "
            "Simulator(game), or give the model `moves`"
        )


@eqx.filter_jit
def _ply(game: AbstractGame, one: AbstractPlayer, other: AbstractPlayer, table: _Table, key: PRNGKeyArray) -> _Table:
    """One move in every game. The rows change places, since then it is the other player's turn."""
    half = table.obs.shape[1]
    keys = jr.split(key, (3, half))
    actions, memories = [], []
    for row, player in enumerate((one, other)):
        memory = jax.tree.map(lambda x, row=row: x[row], table.memories[row])
        act = jax.vmap(lambda m, o, k, player=player: player.act(m, o, key=k))
        action, memory = act(memory, table.obs[row], keys[row])
        actions.append(action)
        memories.append(jax.tree.map(lambda all, new, row=row: all.at[row].set(new), table.memories[row], memory))
    step = jax.vmap(jax.vmap(lambda s, a, k: game.step(s, a, key=k)))
    state, obs, reward, terminated, truncated = step(table.state, jnp.stack(actions), keys[2:].repeat(2, axis=0))
    mover, following = (jax.vmap(jax.vmap(game.moves))(x).player for x in (table.state, state))
    over = terminated | truncated
    for_one = jnp.sign(reward).astype(jnp.int32) * jnp.array([[1], [-1]])
    table = _Table(
        state,
        obs,
        (memories[0], memories[1]),
        table.first,
        table.alive & ~over,
        jnp.where(table.alive & over, for_one, table.outcomes),
        table.lengths + table.alive,
        table.out_of_turn | jnp.any(table.alive & ~over & (mover == following)),
    )
    return jax.tree.map(lambda x: x[::-1] if x.ndim else x, table)


def _opened(game: AbstractGame, num_games: int, opening: int, *, key: PRNGKeyArray) -> tuple[Any, Array]:
    """States and observations `[num_games, ...]` after `opening` random moves."""

    @eqx.filter_jit
    def draw(key: PRNGKeyArray) -> tuple[Any, Array]:
        def one(key: PRNGKeyArray) -> tuple[Any, Array]:
            def move(at: tuple, key: PRNGKeyArray) -> tuple[tuple, None]:
                action_key, step_key = jr.split(key)
                logits = jnp.where(game.moves(at[0]).legal, 0.0, -jnp.inf)
                return game.step(at[0], jr.categorical(action_key, logits), key=step_key)[:2], None

            reset_key, move_key = jr.split(key)
            return jax.lax.scan(move, game.reset(key=reset_key), jr.split(move_key, opening))[0]

        return jax.vmap(one)(jr.split(key, num_games))

    state, obs = draw(key)
    for attempt in range(TRIES):
        ended = ~np.asarray(jax.vmap(game.moves)(state).legal).any(-1)
        if not ended.any():
            return state, obs
        again = draw(jr.fold_in(key, attempt))
        pick = lambda old, new, ended=ended: jnp.where(ended.reshape(-1, *[1] * (old.ndim - 1)), new, old)
        state, obs = jax.tree.map(pick, (state, obs), again)
    raise ValueError(f"opening={opening}: hardly any game of {game.spec.name} lasts so long; use a smaller number")
