"""Pictures of mazes: walls, goals, walker, and what each square is worth."""

import numpy as np

from .draw import BLUE, GREEN, INK, ORANGE, PALE, Canvas, Colour, Point
from .gridworld import MOVES, Maze


def draw_maze(maze: Maze, *, walker: int | None = None, action_values: np.ndarray | None = None) -> np.ndarray:
    """One RGB frame `[320, 480, 3]` uint8.

    With `action_values` `[squares, 4]` a square is the more orange the more it is worth, of the most that any is, and
    arrows lead to where its best actions do; a square of which no action is above another has none.
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
            _arrow(canvas, (column, -row), (right, -down), tail=0.34 if len(best) == 1 else 0.0)
    if walker is not None:
        row, column = divmod(walker, width)
        canvas.disc((column, -row), 0.3, BLUE)
    return canvas.frame()


def _arrow(canvas: Canvas, centre: Point, way: Point, *, tail: float) -> None:
    """An arrow along `way`, from so far behind the centre of a square to near its edge."""
    at = lambda ahead, aside: (centre[0] + ahead * way[0] - aside * way[1], centre[1] + ahead * way[1] + aside * way[0])
    canvas.line([at(-tail, 0.0), at(0.24, 0.0)], 0.07, INK)
    canvas.area([at(0.42, 0.0), at(0.2, 0.13), at(0.2, -0.13)], INK)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with so large a share of `second` in it."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second))
    return red, green, blue
