"""Means over starts of imagination, with bands over the episodes that the starts are from, and correlations.

Starts of one episode are not independent, so that whole episodes are what is resampled.
"""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000


class OverEpisodes:
    """Means over starts, and their bootstrap bands over the episodes that the starts are from."""

    def __init__(self, episode: np.ndarray, valid: np.ndarray):
        """`episode` `[starts]`, `valid` `[starts, H]`: which numbers count."""
        self.valid = valid
        self.member = (np.unique(episode)[:, None] == episode).astype(float)  # [episodes, starts]
        self.counts = self.member @ valid  # [episodes, H]
        n = len(self.member)
        draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        self.draws = draws.astype(float) if n > 1 else None

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Mean `[H, ...]` of `x` `[starts, H, ...]` over the starts that count."""
        shape = (*self.valid.shape, *[1] * (x.ndim - 2))
        total = np.where(self.valid.reshape(shape), x, 0.0).sum(0)
        return total / self.valid.sum(0).reshape(shape[1:])

    def band(self, *xs: np.ndarray, of: Callable[..., np.ndarray] = lambda x: x) -> np.ndarray:
        """95 % interval `[2, H, ...]` of `of(means of xs)`; NaN where one episode is all there is."""
        if self.draws is None:
            return np.full((2, *of(*(self.mean(x) for x in xs)).shape), np.nan)
        means = []
        for x in xs:
            flat = np.where(self.valid.reshape(*self.valid.shape, *[1] * (x.ndim - 2)), x, 0.0)
            sums = (self.member @ flat.reshape(len(flat), -1)).reshape(len(self.member), *x.shape[1:])
            weight = (self.draws @ self.counts).reshape(RESAMPLES, x.shape[1], *[1] * (x.ndim - 2))
            means.append(np.tensordot(self.draws, sums, 1) / weight)
        drawn = of(*means)
        some = np.isfinite(drawn).any(0)
        return np.where(some, np.nanquantile(np.where(some, drawn, 0.0), [0.025, 0.975], axis=0), np.nan)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's; NaN where a number is not finite, or either never varies (to float32's accuracy)."""
    if len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / spread) if spread > 0 else float("nan")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN where `correlation` is."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    return correlation(_ranks(x), _ranks(y))


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[inverse]
