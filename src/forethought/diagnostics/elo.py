"""Elo ratings from a table of results."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SCALE = 400 / math.log(10)  # Elo points per unit of log-odds
EXTRA = np.array([0.0, 1.0, 0.0])  # wins, draws and losses that every pair has beside those it played


class Result(NamedTuple):
    """Games between two players, told from the side of `one`."""

    one: str
    other: str
    wins: int
    draws: int
    losses: int


class Rating(NamedTuple):
    """A player's strength; 400 points more are odds of 10 to 1."""

    name: str
    elo: float
    low: float  # ends of the interval
    high: float
    games: int


def expected(difference: float) -> float:
    """The points a game (0 to 1) of who is `difference` Elo points stronger."""
    return 1 / (1 + math.exp(-difference / SCALE))


def ratings(
    results: Sequence[Result],
    *,
    anchor: str = "random",
    level: float = 0.95,
    num_resamples: int = 200,
    seed: int = 0,
) -> list[Rating]:
    """Ratings by maximum likelihood (Bradley & Terry 1952), the strongest first; `anchor` has 0.

    A draw counts as half a win for each. As a weak prior every two players that met have drawn one game more, so that
    a player who won every game has a finite rating. The interval is a Bayesian bootstrap (Rubin 1981): in each of
    `num_resamples` tables every game counts with a weight drawn from an exponential distribution.
    Raises ValueError for no results, a negative count, a player against itself, and players that no chain of games
    connects with the anchor.
    """
    if not 0 < level < 1 or num_resamples < 1:
        raise ValueError(
            f"level={level}, num_resamples={num_resamples}: wanted a level in (0, 1) and at least 1 resample"
        )
    names, pairs, counts = _table(results, anchor)
    estimate = _fit(pairs, counts + EXTRA, len(names))
    rng = np.random.default_rng(seed)
    draws = np.empty((num_resamples, len(names)))
    for i in range(num_resamples):
        draws[i] = _fit(pairs, rng.standard_gamma(counts + EXTRA), len(names), start=estimate)
    tails = 100 * (1 - level) / 2
    low, high = (np.percentile(draws, q, axis=0) for q in (tails, 100 - tails))
    games = np.zeros(len(names), int)
    np.add.at(games, pairs, counts.sum(1, keepdims=True).astype(int))
    found = [
        Rating(name, float(SCALE * estimate[i]), float(SCALE * low[i]), float(SCALE * high[i]), int(games[i]))
        for i, name in enumerate(names)
    ]
    return sorted(found, key=lambda rating: -rating.elo)


def _table(results: Sequence[Result], anchor: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names with the anchor first, pairs of indices `[pairs, 2]`, and wins, draws, losses `[pairs, 3]`."""
    if not results:
        raise ValueError("no results to rate; play some games")
    names = [anchor]
    counts: dict[tuple[int, int], np.ndarray] = {}
    for result in results:
        if result.one == result.other:
            raise ValueError(f"{result.one} played against itself; leave such games out")
        if min(result[2:]) < 0 or sum(result[2:]) == 0:
            raise ValueError(f"{result}: counts must be at least 0, and one of them more")
        names += [name for name in result[:2] if name not in names]
        one, other = names.index(result.one), names.index(result.other)
        score = np.array(result[2:], float)
        pair, score = ((one, other), score) if one < other else ((other, one), score[::-1])
        counts[pair] = counts.get(pair, 0) + score
    reached = {0}
    while more := {i for pair in counts for i in pair if reached & set(pair)} - reached:
        reached |= more
    if lost := [name for i, name in enumerate(names) if i not in reached] or ([anchor] if reached == {0} else []):
        raise ValueError(
            f"no chain of games connects {', '.join(lost)} with {anchor}; let them play, or name another anchor"
        )
    return names, np.array(list(counts)), np.array(list(counts.values()))


def _fit(pairs: np.ndarray, counts: np.ndarray, num_players: int, start: np.ndarray | None = None) -> np.ndarray:
    """Log-strengths `[players]`, the first 0, by Newton's method with halved steps."""
    won, lost = counts[:, 0] + 0.5 * counts[:, 1], counts[:, 2] + 0.5 * counts[:, 1]
    one, other = pairs.T

    def likelihood(x: np.ndarray) -> float:
        ahead = x[one] - x[other]
        return float(-(won * np.logaddexp(0, -ahead) + lost * np.logaddexp(0, ahead)).sum())

    x = np.zeros(num_players) if start is None else start.copy()
    for _ in range(100):
        chance = 1 / (1 + np.exp(x[other] - x[one]))
        slope, curve = np.zeros(num_players), np.zeros((num_players, num_players))
        pull, weight = won - (won + lost) * chance, (won + lost) * chance * (1 - chance)
        for sign, at in ((1, one), (-1, other)):
            np.add.at(slope, at, sign * pull)
            np.add.at(curve, (at, at), weight)
            np.add.at(curve, (at, other if sign == 1 else one), -weight)
        step = np.zeros(num_players)
        step[1:] = np.linalg.solve(curve[1:, 1:], slope[1:])
        now = likelihood(x)
        while likelihood(x + step) < now and np.abs(step).max() > 1e-9:
            step /= 2
        x = x + step
        if np.abs(step).max() < 1e-9:
            break
    return x
