"""What an agent said before each trial that it would see, and what it saw."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..types import Forecasts, Transition
from .figures import INK, MUTED, PALETTE, save_figure

MAX_TRIALS, MAX_DIMS = 6, 6
_BAND = 1.96  # standard deviations that hold 95 % of a Gaussian


class Trial(NamedTuple):
    """A forecast and the observations that followed it, from the trial's first on."""

    number: int  # 1 for the first that was forecast
    mean: np.ndarray  # [horizon + 1, obs]
    std: np.ndarray  # [horizon + 1, obs]
    real: np.ndarray  # [T + 1, obs]; ends with the episode, or where the forecast does


def forecast_trials(forecasts: Forecasts, rows: Transition) -> list[Trial]:
    """The forecasts that came to be, beside the rows `[n, ...]` of the replay, in the order in which they were added.

    A forecast at the end of a run, which nothing followed, is left out.
    """
    found = []
    kept = [(m, s, int(at)) for m, s, at in zip(forecasts.mean, forecasts.std, forecasts.steps) if int(at) >= 0]
    for number, (mean, std, at) in enumerate(kept, 1):
        length = min(len(mean) - 1, len(rows.reward) - at)
        ended = np.flatnonzero(np.asarray(rows.terminated[at : at + length] | rows.truncated[at : at + length]))
        length = int(ended[0]) + 1 if len(ended) else length
        if length > 0:
            real = np.concatenate([rows.obs[at : at + 1], rows.next_obs[at : at + length]])
            found.append(Trial(number, np.asarray(mean), np.asarray(std), real))
    return found


def plot_forecasts(trials: Sequence[Trial], path: str | PathLike[str], *, names: Sequence[str] | None = None) -> Path:
    """Predicted observations with 95 % bands against the real ones, a column per trial; the path.

    The first MAX_TRIALS trials and MAX_DIMS dimensions. Raises ValueError if there is none.
    """
    if not trials:
        raise ValueError("trials is empty; give at least one")
    shown, dims = trials[:MAX_TRIALS], min(trials[0].mean.shape[1], MAX_DIMS)

    def draw(figure: Any) -> None:
        panels = figure.subplots(dims, len(shown), squeeze=False, sharex=True, sharey="row")
        for column, trial in enumerate(shown):
            for dim, axes in enumerate(panels[:, column]):
                steps = np.arange(len(trial.mean))
                mean, half = trial.mean[:, dim], _BAND * trial.std[:, dim]
                axes.fill_between(steps, mean - half, mean + half, color=PALETTE[0], alpha=0.18, linewidth=0)
                axes.plot(steps, mean, color=PALETTE[0], linewidth=1.4)
                axes.plot(trial.real[:, dim], color=INK, linewidth=1.2)
                axes.tick_params(length=3)
                if column == 0:
                    axes.set_ylabel(names[dim] if names is not None else f"observation {dim}", fontsize=9)
            panels[0, column].set_title(f"trial {trial.number}", fontsize=9.5)
            panels[-1, column].set_xlabel("step")
        for dim in range(dims):
            panels[dim, 0].set_ylim(*_limits(shown, dim))
        said = "Blue: predicted before the trial, with what should hold 95 % of it. Black: what happened."
        figure.supxlabel(said, x=0.01, ha="left", fontsize=8, color=MUTED)

    return save_figure(path, draw, size=(max(2.1 * len(shown) + 0.8, 6.4), 1.5 * dims + 0.7))


def _limits(trials: Sequence[Trial], dim: int) -> tuple[float, float]:
    """What happened and what was predicted, with room; bands may run out of the picture."""
    values = np.concatenate([x[:, dim] for trial in trials for x in (trial.mean, trial.real)])
    margin = 0.2 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin
