"""Kernel ridge regression judged on episodes it has not seen: does this explain that, and does it explain it better?"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import solve

FOLDS = 4
MOST_ROWS = 800  # rows that a question is put to; spread evenly over the data
WIDTHS = (0.5, 1.0, 2.0)  # of the kernel, in median distances between rows
RIDGES = (1e-6, 1e-4, 1e-2)


def thinned(rows: np.ndarray, most: int = MOST_ROWS) -> np.ndarray:
    """At most `most` of the row numbers `rows`, evenly spread and in their order."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def folds(episode: np.ndarray) -> np.ndarray:
    """A fold for each row, `[n]`: whole episodes where there are enough of them, else blocks of time."""
    numbers, place = np.unique(episode, return_inverse=True)
    if len(numbers) >= FOLDS:
        return place % FOLDS
    return np.arange(len(episode)) * FOLDS // len(episode)


def unexplained(blocks: Sequence[np.ndarray], target: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Share of the target's variance that the features leave unexplained in rows held out, `[targets]`.

    `blocks` are features `[n, ...]` that may act on their own (an action's cost, say) and together; they and `target`
    `[n, targets]` are standardised here. The kernel is the mean of a Gaussian one of each block and one of all; its
    width and the ridge are, for each target, those that do best in the first fold. The share is the median over
    folds, so that one odd episode does not decide. A target that does not vary has share 0.
    """
    y = _standard(target)
    parts = [_standard(block) for block in blocks]
    distances = [_distances(x) for x in ([*parts, np.column_stack(parts)] if len(parts) > 1 else parts)]
    kernels = {width: np.mean([np.exp(-d / (2 * width**2)) for d in distances], axis=0) for width in WIDTHS}

    def error(k: int, width: float, ridge: float) -> np.ndarray:
        held, kernel = fold == k, kernels[width]
        near, across, centre = kernel[np.ix_(~held, ~held)], kernel[np.ix_(held, ~held)], y[~held].mean(0)
        weight = solve(near + ridge * len(near) * np.eye(len(near)), y[~held] - centre, assume_a="pos")
        return np.mean((across @ weight + centre - y[held]) ** 2, 0)

    choices = [(width, ridge) for width in WIDTHS for ridge in RIDGES]
    best = np.argmin([error(0, *choice) for choice in choices], axis=0)
    found = {i: np.median([error(k, *choices[i]) for k in range(FOLDS)], axis=0) for i in set(best.tolist())}
    return np.array([found[i][target] for target, i in enumerate(best.tolist())])


def _distances(x: np.ndarray) -> np.ndarray:
    """Squared distances `[n, n]` between rows, in units of their median."""
    square = np.sum(x**2, 1)
    distance = np.maximum(square[:, None] + square - 2 * x @ x.T, 0.0)
    return distance / (np.median(distance[np.triu_indices(len(x), 1)]) or 1.0)


def linear_error(features: np.ndarray, target: np.ndarray, fold: np.ndarray, *, ridge: float = 1e-4) -> np.ndarray:
    """Squared error of ridge regression in rows held out, `[n]`, summed over standardised targets."""
    x, y = _standard(features), _standard(target)
    x = np.column_stack([x, np.ones(len(x))])
    error = np.zeros(len(y))
    for k in range(FOLDS):
        held = fold == k
        gram = x[~held].T @ x[~held] + ridge * np.sum(~held) * np.eye(x.shape[1])
        error[held] = np.sum((x[held] @ np.linalg.solve(gram, x[~held].T @ y[~held]) - y[held]) ** 2, 1)
    return error


def fourier(x: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Random Fourier features `[n, count + features]` of a Gaussian kernel, and the features themselves."""
    rng = np.random.default_rng(seed)
    x = _standard(x)
    frequencies = rng.normal(size=(x.shape[1], count)) / np.sqrt(x.shape[1])
    return np.column_stack([x, np.cos(x @ frequencies + rng.uniform(0, 2 * np.pi, count))])


def _standard(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    x = x.reshape(len(x), -1) - x.reshape(len(x), -1).mean(0)
    scale = x.std(0)
    return x / np.where(scale > 1e-12 * (1 + np.abs(x).max(0)), scale, 1.0)
