"""Tic-tac-toe (noughts and crosses)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ...types import Discrete, EnvSpec
from ..draw import BLUE, GREY, ORANGE, Canvas
from .board import AbstractBoardGame, Board, in_a_row, mirrored


class TicTacToe(AbstractBoardGame):
    """Three in a row on 3x3 squares, numbered row by row from the upper left; 9 moves at most.

    With best play a draw. 5,478 positions can come up.
    """

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("tic-tac-toe", 18, Discrete(9), max_episode_steps=9, image=(3, 3, 2))

    @property
    def symmetries(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Three rotations and four reflections."""
        squares = np.arange(9).reshape(3, 3)
        turned = [np.rot90(board, turns) for board in (squares, squares.T) for turns in range(4)][1:]
        return tuple((mirrored(board), tuple(board.reshape(-1).tolist())) for board in turned)

    def free(self, taken: Bool[Array, "3 3"]) -> Bool[Array, "9"]:
        return ~taken.reshape(-1)

    def landing(self, taken: Bool[Array, "3 3"], action: Int[Array, ""]) -> Bool[Array, "3 3"]:
        return (jnp.arange(9) == action).reshape(3, 3) & ~taken

    def won(self, stones: Bool[Array, "3 3"]) -> Bool[Array, ""]:
        return in_a_row(stones, 3)

    def text(self, state: Board) -> str:
        """X moves first; a free square shows its number."""
        first, second = (stones.reshape(-1) for stones in self.colours(state))
        marks = ["X" if first[i] else "O" if second[i] else str(i + 1) for i in range(9)]
        return "\n".join(" ".join(marks[row : row + 3]) for row in (0, 3, 6))

    def draw(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        canvas = Canvas((0.0, 0.0), 2.6)
        for place in (-0.5, 0.5):
            canvas.line([(place, -1.4), (place, 1.4)], 0.05, GREY)
            canvas.line([(-1.4, place), (1.4, place)], 0.05, GREY)
        for row, column in np.ndindex(3, 3):
            x, y = float(column - 1), float(1 - row)
            if first[row, column]:
                canvas.line([(x - 0.25, y - 0.25), (x + 0.25, y + 0.25)], 0.11, ORANGE)
                canvas.line([(x - 0.25, y + 0.25), (x + 0.25, y - 0.25)], 0.11, ORANGE)
            elif second[row, column]:
                canvas.ring((x, y), 0.32, 0.11, BLUE)
        return canvas.frame()
