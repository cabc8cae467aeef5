"""Statistics over seeds: interquartile mean and bootstrap intervals.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice". Scores are
`[seeds]` for one task, `[seeds, tasks]` for several. Seeds are what is resampled: episodes of one seed are
not independent evidence about an algorithm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Statistic = Callable[[np.ndarray], Any]  # of all scores, to one number

_CHUNK = 4_000_000  # resampled numbers held at once by `bootstrap_band`


class Interval(NamedTuple):
    """An estimate with the ends of its interval."""

    estimate: float
    low: float
    high: float


def interquartile_mean(x: ArrayLike, axis: int | None = None) -> np.ndarray:
    """The mean of what remains when the lowest and the highest quarter are cut, each rounded down.

    With fewer than 4 values nothing is cut and it is the plain mean. `axis=None` takes all values together.
    Raises ValueError if there are none.
    """
    values = np.asarray(x, float)
    if axis is None:
        values, axis = values.ravel(), 0
    n = values.shape[axis]
    if n == 0:
        raise ValueError(f"interquartile_mean: got shape {np.shape(x)}, wanted at least one value")
    cut = n // 4
    ordered = np.sort(values, axis)
    return np.mean(np.take(ordered, np.arange(cut, n - cut), axis), axis)


def bootstrap_interval(
    x: ArrayLike,
    statistic: Statistic = interquartile_mean,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """`statistic` of the scores and its percentile bootstrap interval over seeds.

    `x` is `[seeds]` or `[seeds, tasks]`; with tasks, every task draws its own seeds (stratified), so that
    each resample holds as many scores of every task as the data do. Raises ValueError for an empty or
    non-finite `x`.
    """
    scores = _scores(x)
    _check(num_resamples, level)
    rng = np.random.default_rng(seed)
    n, tasks = scores.shape
    columns = np.arange(tasks)
    draws = [statistic(scores[rng.integers(n, size=(n, tasks)), columns]) for _ in range(num_resamples)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(draws, float), [tail, 1 - tail])
    return Interval(float(statistic(scores)), float(low), float(high))


def paired_difference(
    x: ArrayLike,
    y: ArrayLike,
    statistic: Statistic = np.mean,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """`statistic` of `x - y`, where row i of both used the same seed, and its bootstrap interval.

    "`x` is above `y`" may be said when the lower end is above 0. Raises ValueError if the shapes differ.
    """
    if np.shape(x) != np.shape(y):
        raise ValueError(f"paired_difference: got shapes {np.shape(x)} and {np.shape(y)}; give the same seeds in both")
    return bootstrap_interval(_scores(x) - _scores(y), statistic, num_resamples, level, seed)


def bootstrap_band(
    curves: ArrayLike, num_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interquartile mean of `curves` `[seeds, time]` with its pointwise interval: three arrays `[time]`."""
    curves = _scores(curves)
    _check(num_resamples, level)
    n, length = curves.shape
    rows = np.random.default_rng(seed).integers(n, size=(num_resamples, n))
    tail = (1 - level) / 2
    step = max(1, _CHUNK // (num_resamples * n))
    bands = [
        np.quantile(interquartile_mean(curves[:, i : i + step][rows], 1), [tail, 1 - tail], axis=0)
        for i in range(0, length, step)
    ]
    low, high = np.concatenate(bands, 1)
    return interquartile_mean(curves, 0), low, high


def _scores(x: ArrayLike) -> np.ndarray:
    scores = np.asarray(x, float)
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(f"scores have shape {scores.shape}; wanted [seeds] or [seeds, tasks], not empty")
    if not np.all(np.isfinite(scores)):
        raise ValueError("scores hold NaN or infinity; leave out the seeds that failed, and say so")
    return scores.reshape(len(scores), -1)


def _check(num_resamples: int, level: float) -> None:
    if num_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"num_resamples={num_resamples} must be at least 1 and level={level} strictly between 0 and 1")
