"""Pictures of mazes: walls, goals, walker, and what each square is worth."""

import numpy as np

from .draw import BLUE, GREEN, INK, ORANGE, PALE, Canvas, Colour
from .gridworld import MOVES, Maze


def draw_maze(maze: Maze, *, walker: int | None = None, action_values: np.ndarray | None = None) -> np.ndarray:
    """One RGB frame `[320, 480, 3]` uint8.

    With `action_values` `[squares, 4]` a square is the more orange the more it is worth, of the most that any is, and
    lines lead to where its best actions do; a square of which no action is above another has none.
    """
    height, width = maze.walls.shape
    canvas = Canvas(((width - 1) / 2, (1 - height) / 2), 0.55 * max(width, 1.5 * height))
    worth = np.zeros(maze.walls.size) if action_values is None else np.asarray(action_values, np.float64).max(-1)
    most = worth.max() or 1.0
    for square, (row, column) in enumerate(np.ndindex(height, width)):
        free = GREEN if maze.goals[row, column] else mixed(PALE, ORANGE, max(worth[square] / most, 0.0) ** 0.5)
        canvas.box((column, -row), 0.94, 0.94, INK if maze.walls[row, column] else free)
        if action_values is None or maze.walls[row, column] or maze.goals[row, column]:
            continue
        values = np.asarray(action_values[square], np.float64)
        best = np.flatnonzero(values == values.max())
        for down, right in MOVES[best] if len(best) < len(values) else ():
            canvas.line([(column, -row), (column + 0.32 * right, -row - 0.32 * down)], 0.07, INK)
    if walker is not None:
        row, column = divmod(walker, width)
        canvas.disc((column, -row), 0.3, BLUE)
    return canvas.frame()


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with so large a share of `second` in it."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second))
    return red, green, blue
