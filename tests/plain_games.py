"""The rules of tic-tac-toe and Connect Four once more, in plain Python and as slowly as one likes."""

import functools

import numpy as np


def lines(rows, columns, length):
    """All rows of `length` squares, as index arrays [lines, length]."""
    found = []
    for r, c in np.ndindex(rows, columns):
        for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
            squares = [(r + i * dr, c + i * dc) for i in range(length)]
            if all(0 <= x < rows and 0 <= y < columns for x, y in squares):
                found.append([x * columns + y for x, y in squares])
    return np.array(found)


class Plain:
    """A game on tuples of 0 (free), 1 and 2; who is to move follows from the stones."""

    def __init__(self, rows, columns, length, falls):
        self.rows, self.columns, self.falls = rows, columns, falls
        self.lines = lines(rows, columns, length).tolist()
        self.value = functools.cache(self.value)

    def start(self):
        return (0,) * (self.rows * self.columns)

    def mover(self, board):
        return 1 + sum(x > 0 for x in board) % 2

    def won(self, board, player):
        return any(all(board[i] == player for i in line) for line in self.lines)

    def over(self, board):
        return 0 not in board or self.won(board, 3 - self.mover(board))

    def legal(self, board):
        if self.over(board):
            return []
        return [a for a in range(self.columns if self.falls else len(board)) if board[a] == 0]

    def play(self, board, action):
        square = action
        while self.falls and square + self.columns < len(board) and board[square + self.columns] == 0:
            square += self.columns
        return (*board[:square], self.mover(board), *board[square + 1 :])

    def value(self, board):
        """1, 0 or -1 for the player to move with best play."""
        if self.won(board, 3 - self.mover(board)):
            return -1
        return max((-self.value(self.play(board, a)) for a in self.legal(board)), default=0)

    def obs(self, board):
        mover, stones = self.mover(board), np.array(board)
        return 255.0 * np.stack([stones == mover, stones == 3 - mover], -1).reshape(-1).astype(np.float32)


TIC_TAC_TOE = Plain(3, 3, 3, falls=False)
CONNECT_FOUR = Plain(6, 7, 4, falls=True)


@functools.cache
def reachable():
    """All positions of tic-tac-toe that play can reach."""
    found, edge = {TIC_TAC_TOE.start()}, [TIC_TAC_TOE.start()]
    while edge:
        edge = list({TIC_TAC_TOE.play(b, a) for b in edge for a in TIC_TAC_TOE.legal(b)} - found)
        found.update(edge)
    return sorted(found)
