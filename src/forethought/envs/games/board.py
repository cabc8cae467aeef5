"""What games of placing stones have in common: two colours on a rectangle, a row to be made."""

import abc
import functools
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...core import AbstractGame
from ...types import Moves


class Board(eqx.Module):
    """A position. Who is to move follows from the number of stones: the players take turns."""

    own: Bool[Array, "height width"]  # stones of the player to move
    other: Bool[Array, "height width"]
    over: Bool[Array, ""]  # no move is left: won, full, or ended by an illegal action


def in_a_row(stones: Bool[Array, "height width"], length: int) -> Bool[Array, ""]:
    """Whether `length` stones stand in a row, a column or a diagonal."""
    height, width = stones.shape
    rows, columns = height - length + 1, width - length + 1
    lines = (
        [stones[:, i : i + columns] for i in range(length)],
        [stones[i : i + rows] for i in range(length)],
        [stones[i : i + rows, i : i + columns] for i in range(length)],
        [stones[length - 1 - i : height - i, i : i + columns] for i in range(length)],
    )
    return functools.reduce(operator.or_, [jnp.any(functools.reduce(operator.and_, line)) for line in lines])


def mirrored(squares: np.ndarray) -> tuple[int, ...]:
    """The permutation of observations that moves square `squares[i]` to i; both colours of a square go with it."""
    return tuple(int(2 * square + colour) for square in squares.reshape(-1) for colour in range(2))


class AbstractBoardGame(AbstractGame[Board]):
    """Two players place stones in turn; who first has a row wins (reward 1), and a full board is a draw (reward 0).

    Observations are pictures of two planes, own stones first, 255 where one stands. An illegal action ends the game
    with reward -1 and leaves the board as it is. A finished game stays as it is, with reward 0.
    """

    @abc.abstractmethod
    def free(self, taken: Bool[Array, "height width"]) -> Bool[Array, " actions"]:
        """Which actions find room on the board."""

    @abc.abstractmethod
    def landing(self, taken: Bool[Array, "height width"], action: Int[Array, ""]) -> Bool[Array, "height width"]:
        """The square where the stone comes to lie; nowhere if there is no room."""

    @abc.abstractmethod
    def won(self, stones: Bool[Array, "height width"]) -> Bool[Array, ""]:
        """Whether these stones of one colour have a row."""

    @abc.abstractmethod
    def draw(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """One RGB frame `[height, width, 3]` uint8 of the stones of the first and of the second player."""

    @property
    def num_players(self) -> int:
        return 2

    def observe(self, state: Board) -> Float[Array, " obs"]:
        """Both planes, own stones first."""
        return 255.0 * jnp.stack([state.own, state.other], -1).reshape(-1).astype(jnp.float32)

    def reset(
        self, *, key: PRNGKeyArray, start: Board | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[Board, Float[Array, " obs"]]:
        """The empty board, or `start`."""
        state = self.state_from(jnp.zeros(self.spec.obs_dim)) if start is None else start
        return state, self.observe(state)

    def step(
        self, state: Board, action: Array, *, key: PRNGKeyArray
    ) -> tuple[Board, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        stone = self.landing(state.own | state.other, action)
        legal = jnp.any(stone) & ~state.over
        own = state.own | stone
        won = self.won(own)
        moved = Board(state.other, own, won | jnp.all(own | state.other))
        stayed = Board(state.own, state.other, jnp.array(True))
        reward = jnp.where(legal, won.astype(jnp.float32), jnp.where(state.over, 0.0, -1.0))
        state = jax.tree.map(lambda new, old: jnp.where(legal, new, old), moved, stayed)
        return state, self.observe(state), reward, state.over, jnp.array(False)

    def state_from(self, obs: Float[Array, " obs"]) -> Board:
        """The position that is seen as `obs`; exact for all that play reaches without an illegal action."""
        planes = self.spec.pixels(obs) > 127
        own, other = planes[..., 0], planes[..., 1]
        return Board(own, other, self.won(other) | jnp.all(own | other))

    def moves(self, state: Board) -> Moves:
        taken = state.own | state.other
        return Moves(self.free(taken) & ~state.over, jnp.sum(taken, dtype=jnp.int32) % 2)

    def colours(self, state: Board) -> tuple[np.ndarray, np.ndarray]:
        """The stones of the first and of the second player, `[height, width]` bool, on the host."""
        own, other = np.asarray(state.own), np.asarray(state.other)
        return (own, other) if (own.sum() + other.sum()) % 2 == 0 else (other, own)

    @property
    def render_fps(self) -> float:
        return 2.0

    def render(self, state: Board) -> np.ndarray:
        """One RGB frame `[320, 480, 3]` uint8, drawn on the host."""
        return self.draw(*self.colours(state))
