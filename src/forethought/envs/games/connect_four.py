"""Connect Four."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ...types import Discrete, EnvSpec
from ..draw import BLUE, GREY, ORANGE, PAPER, Canvas
from .board import AbstractBoardGame, Board, in_a_row, mirrored

ROWS, COLUMNS = 6, 7


class ConnectFour(AbstractBoardGame):
    """Four in a row on 6 rows and 7 columns; a stone falls to the lowest free square of its column; 42 moves at most.

    Row 0 is the top. With best play the first player wins (Allen 1988; Allis 1988).
    """

    @property
    def spec(self) -> EnvSpec:
        size = (ROWS, COLUMNS, 2)
        return EnvSpec("connect-four", 84, Discrete(COLUMNS), max_episode_steps=ROWS * COLUMNS, image=size)

    @property
    def symmetries(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Left and right exchanged."""
        squares = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)[:, ::-1]
        return ((mirrored(squares), tuple(range(COLUMNS))[::-1]),)

    def free(self, taken: Bool[Array, "6 7"]) -> Bool[Array, "7"]:
        return ~taken[0]

    def landing(self, taken: Bool[Array, "6 7"], action: Int[Array, ""]) -> Bool[Array, "6 7"]:
        held = jnp.concatenate([taken[1:], jnp.ones((1, COLUMNS), bool)])
        return held & ~taken & (jnp.arange(COLUMNS) == action)

    def won(self, stones: Bool[Array, "6 7"]) -> Bool[Array, ""]:
        return in_a_row(stones, 4)

    def text(self, state: Board) -> str:
        """X moves first; the numbers of the columns stand below."""
        first, second = self.colours(state)
        marks = np.where(first, "X", np.where(second, "O", "."))
        return "\n".join(" ".join(row) for row in [*marks, map(str, range(1, COLUMNS + 1))])

    def draw(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        canvas = Canvas((0.0, 0.0), 5.2)
        canvas.box((0.0, 0.0), COLUMNS + 0.3, ROWS + 0.3, GREY)
        for row, column in np.ndindex(ROWS, COLUMNS):
            colour = ORANGE if first[row, column] else BLUE if second[row, column] else PAPER
            canvas.disc((column - (COLUMNS - 1) / 2, (ROWS - 1) / 2 - row), 0.42, colour)
        return canvas.frame()
