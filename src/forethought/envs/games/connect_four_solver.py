"""Exact values of Connect Four positions, in plain Python: quick with 16 stones on the board or more.

Negamax with alpha-beta over win, draw and loss (Knuth & Moore 1975), a table of bounds, and two rules that spare most
of the tree: who can win at once does, and who cannot must not let the other.

A position is two whole numbers with a bit for each square, seven to a column from the bottom up (Tromp's layout); the
seventh of each column stays free, so that lines do not run from one column into the next.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROWS, COLUMNS = 6, 7
HEIGHT = ROWS + 1
BOTTOM = sum(1 << (HEIGHT * column) for column in range(COLUMNS))
BOARD = BOTTOM * ((1 << ROWS) - 1)
ORDER = (3, 2, 4, 1, 5, 0, 6)  # columns, the middle first

Bounds = dict[int, tuple[int, int]]


class Position(NamedTuple):
    """Bits of the player to move, and of both."""

    own: int
    taken: int

    @property
    def stones(self) -> int:
        """How many stones have been placed."""
        return self.taken.bit_count()

    @property
    def over(self) -> bool:
        """Whether the last move has won, or the board is full."""
        return has_four(self.own ^ self.taken) or self.taken == BOARD

    def square(self, column: int) -> int:
        """The bit where a stone in `column` (0 to 6) comes to lie; 0 if there is no room."""
        return (self.taken + BOTTOM) & BOARD & (((1 << ROWS) - 1) << (HEIGHT * column))

    def played(self, column: int) -> "Position":
        """The position after a stone in `column`. Raises ValueError if there is no room, or the game is over."""
        square = self.square(column) if 0 <= column < COLUMNS else 0
        if not square or self.over:
            why = "the game is over" if self.over else f"column {column + 1} has no room, wanted one of 1 to 7 that has"
            raise ValueError(f"connect-four: illegal move after {self.stones} stones: {why}")
        return Position(self.own ^ self.taken, self.taken | square)


def position(moves: str) -> Position:
    """The position after `moves`, a digit from 1 to 7 for each. Raises ValueError for illegal ones."""
    at = Position(0, 0)
    for move in moves:
        at = at.played(int(move) - 1 if move.isdecimal() else -1)
    return at


def observation(at: Position) -> np.ndarray:
    """The observation `[84]` of `ConnectFour` in this position."""
    planes = np.zeros((ROWS, COLUMNS, 2), np.float32)
    for row, column in np.ndindex(ROWS, COLUMNS):
        bit = 1 << (HEIGHT * column + ROWS - 1 - row)
        planes[row, column] = 255 * bool(at.own & bit), 255 * bool((at.own ^ at.taken) & bit)
    return planes.reshape(-1)


def has_four(stones: int) -> bool:
    """Whether these stones of one colour hold four in a row."""
    for step in (1, HEIGHT - 1, HEIGHT, HEIGHT + 1):
        pairs = stones & (stones >> step)
        if pairs & (pairs >> 2 * step):
            return True
    return False


def winning_squares(stones: int, taken: int) -> int:
    """Free squares, reachable now or later, that complete four in a row of `stones`."""
    found = (stones << 1) & (stones << 2) & (stones << 3)
    for step in (HEIGHT - 1, HEIGHT, HEIGHT + 1):
        above, below = (stones << step) & (stones << 2 * step), (stones >> step) & (stones >> 2 * step)
        found |= above & ((stones << 3 * step) | (stones >> step)) | below & ((stones >> 3 * step) | (stones << step))
    return found & BOARD & ~taken


def outcomes(at: Position) -> tuple[int | None, ...]:
    """For each column, what a stone there is worth to the player to move with best play: 1, 0 or -1; None if illegal.

    Milliseconds with 24 stones on the board, about a second with 16, and far longer with fewer than 12.
    Raises ValueError if the game is over.
    """
    if at.over:
        raise ValueError(f"connect-four: the game is over after {at.stones} stones; nothing is left to solve")
    bounds: Bounds = {}
    return tuple(_after(at, column, bounds) if at.square(column) else None for column in range(COLUMNS))


def value(at: Position) -> int:
    """1, 0 or -1 for the player to move with best play. Raises ValueError if the game is over."""
    return max(x for x in outcomes(at) if x is not None)


def _after(at: Position, column: int, bounds: Bounds) -> int:
    own = at.own | at.square(column)
    if has_four(own):
        return 1
    following = at.played(column)
    return 0 if following.taken == BOARD else -_negamax(following.own, following.taken, -1, 1, bounds)


def _negamax(own: int, taken: int, alpha: int, beta: int, bounds: Bounds) -> int:
    """The value if it lies between `alpha` and `beta`, else a bound beyond them. The game must not be over."""
    open_now = (taken + BOTTOM) & BOARD
    if winning_squares(own, taken) & open_now:
        return 1
    threats = winning_squares(own ^ taken, taken)
    forced = threats & open_now
    if forced & (forced - 1):
        return -1  # two squares to block at once
    moves = (forced or open_now) & ~(threats >> 1)  # a stone below a threat hands the win over
    if not moves:
        return -1
    if (BOARD ^ taken).bit_count() <= 2:
        return 0
    key = own + taken + BOTTOM  # tells all positions apart
    low, high = bounds.get(key, (-1, 1))
    alpha, beta = max(alpha, low), min(beta, high)
    if alpha >= beta:
        return alpha
    best, floor = -1, alpha
    for square in _ordered(own, taken, moves):
        best = max(best, -_negamax(own ^ taken, taken | square, -beta, -floor, bounds))
        floor = max(floor, best)
        if floor >= beta:
            break
    bounds[key] = (low if best <= alpha else max(low, best), high if best >= beta else min(high, best))
    return best


def _ordered(own: int, taken: int, moves: int) -> Sequence[int]:
    """The squares of `moves`, first those that leave the most winning squares, then those nearest the middle."""
    column = (1 << ROWS) - 1
    squares = [square for c in ORDER if (square := moves & (column << HEIGHT * c))]
    if len(squares) == 1:
        return squares
    return sorted(squares, key=lambda s: -winning_squares(own | s, taken | s).bit_count())
