"""Draws Connect Four positions in which it matters what is played, and labels every move with its exact outcome.

    python reproductions/connect_four_endgames.py

writes reproductions/connect-four-endgames.json: 300 different positions with 24 stones and 200 with 16, reached by
random legal moves, not over, in which the outcomes of the legal moves differ. `moves` are columns from 1 to 7; `values`
says for each column what the player to move gets with best play after it: 1, 0, -1, or null where the column is full.
"""

import random

from writing import HERE, write_raw

from forethought.envs.games.connect_four_solver import COLUMNS, Position, outcomes, position

SEED, SETS = 0, {24: 300, 16: 200}


def drawn(stones: int, rng: random.Random) -> tuple[str, Position]:
    """Random moves that lead to a position with so many stones that is not over."""
    while True:
        moves, at = "", position("")
        while at.stones < stones and not at.over:
            column = rng.choice([c for c in range(COLUMNS) if at.square(c)])
            moves, at = moves + str(column + 1), at.played(column)
        if not at.over:
            return moves, at


def labelled(stones: int, count: int, rng: random.Random) -> list[dict]:
    """Positions with the outcomes of their moves."""
    found, seen = [], set()
    while len(found) < count:
        moves, at = drawn(stones, rng)
        values = outcomes(at) if at not in seen else ()
        seen.add(at)
        if len(set(values) - {None}) > 1:
            found.append({"moves": moves, "values": values})
    return found


def chance(positions: list[dict]) -> float:
    """How often a random legal move keeps the outcome of the position."""
    shares = []
    for entry in positions:
        legal = [value for value in entry["values"] if value is not None]
        shares.append(legal.count(max(legal)) / len(legal))
    return round(sum(shares) / len(shares), 4)


if __name__ == "__main__":
    sets = {stones: labelled(stones, count, random.Random(SEED)) for stones, count in SETS.items()}
    kept = {stones: chance(positions) for stones, positions in sets.items()}
    write_raw(HERE / "connect-four-endgames.json", {"seed": SEED, "kept_by_random_moves": kept, "positions": sets})
