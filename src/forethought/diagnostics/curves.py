"""Learning curves and losses, drawn from metric rows.

Rows are dicts as in a run's `metrics.jsonl`: `kind`, `seed`, `env_steps` and what the kind adds ("episode":
`return`; "eval": `mean_return`; "update": `model/...`). Rows of several seeds may be mixed in one list.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np

from ..errors import UserError, nearest
from .figures import INK, MUTED, PALETTE, save_figure, spread_labels
from .statistics import bootstrap_band

Row = Mapping[str, Any]
Metric = Literal["eval", "episode"]

_FIELD = {"eval": "mean_return", "episode": "return"}
_TITLE = {"eval": "Return in evaluation, without exploration", "episode": "Return of training episodes"}
_GRID_POINTS = 200
_LOSSES = {"model/loss": "training loss", "model/holdout_mse": "holdout squared error"}


class Curves(NamedTuple):
    """Curves of several seeds on one grid."""

    env_steps: np.ndarray  # [time]
    values: np.ndarray  # [seeds, time]
    seeds: tuple[int, ...]


def seed_series(rows: Sequence[Row], kind: str, field: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """`(env_steps, values)` of every seed, in order of steps; values that are no finite number are left out.

    Where a seed has several values at one step the last one written stands: after a resume, rows that were
    logged past the checkpoint are written again, and a final evaluation replaces the periodic one.
    """
    series: dict[int, dict[int, float]] = {}
    for row in rows:
        value = row.get(field) if row.get("kind") == kind else None
        if is_number(value) and np.isfinite(value):
            series.setdefault(int(row["seed"]), {})[int(row["env_steps"])] = float(value)
    return {
        seed: (np.array(sorted(points), float), np.array([points[s] for s in sorted(points)]))
        for seed, points in sorted(series.items())
    }


def is_number(value: object) -> TypeGuard[float]:
    """Whether a field of a row is a number at all; a damaged or foreign file may hold anything."""
    return isinstance(value, Real) and not isinstance(value, bool)


def align(series: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Curves | None:
    """All seeds on one grid, over the steps that every one of them covers; None if they share no range.

    Seeds measured at the same steps keep them; others are interpolated linearly at 200 steps.
    """
    if not series:
        return None
    steps = [x for x, _ in series.values()]
    first, last = max(x[0] for x in steps), min(x[-1] for x in steps)
    if first > last:
        return None
    shared = [x[(x >= first) & (x <= last)] for x in steps]
    same = all(np.array_equal(x, shared[0]) for x in shared)
    grid = shared[0] if same else np.linspace(first, last, _GRID_POINTS)
    values = np.stack([np.interp(grid, x, y) for x, y in series.values()])
    return Curves(grid, values, tuple(series))


def learning_curves(rows: Sequence[Row], metric: Metric = "eval") -> Curves | None:
    """The return of every seed against environment steps; None while nothing of this kind was logged."""
    return align(seed_series(rows, metric, _FIELD[metric]))


def plot_learning_curves(
    runs: Mapping[str, Sequence[Row]],
    path: str | PathLike[str],
    *,
    metric: Metric = "eval",
    oracle: float | None = None,
    random: float | None = None,
    title: str | None = None,
) -> Path:
    """Draw return against environment steps, one colour per run, and return the path of the .png or .svg.

    A run of several seeds is the interquartile mean with a 95 % bootstrap band over seeds; a single run of
    several seeds also shows each of them faintly. A run of one seed is a line without a band, over its
    training episodes as faint dots. `oracle` and `random` are returns drawn as labelled dashed lines. Raises
    UserError if `metric` is unknown or a run has no rows of that kind.
    """
    if metric not in _FIELD:
        raise UserError(f"metric={metric!r} is unknown; {nearest(str(metric), list(_FIELD))}")
    if not runs:
        raise UserError("no runs to plot; name at least one run folder")
    series = {label: seed_series(rows, metric, _FIELD[metric]) for label, rows in runs.items()}
    for label, found in series.items():
        if not found:
            raise UserError(_nothing_to_plot(label, runs[label], metric))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        ends: list[tuple[float, float, str, str]] = []
        alone = len(runs) == 1
        for (label, found), colour in zip(series.items(), _cycle(len(runs))):
            if alone and len(found) == 1 and metric == "eval":
                _draw_episodes(axes, runs[label], colour)
            ends.append((*_draw_run(axes, found, colour, faint=alone), label, colour))
        _draw_references(axes, oracle, random)
        axes.set_title(title or _TITLE[metric])
        axes.set_ylabel("return per episode")
        _step_axis(axes)
        if not alone:
            _label_ends(axes, ends)
        figure.supxlabel(_caption(series, metric), x=0.01, ha="left", fontsize=8, color=MUTED)

    return save_figure(path, draw)


def plot_losses(rows: Sequence[Row], path: str | PathLike[str]) -> Path:
    """Draw the model's training loss and, where there is one, its holdout error against environment steps.

    One panel each, since their scales differ; a faint line per seed and the mean in colour. Returns the path.
    Raises UserError if no update logged a model loss.
    """
    found = {name: seed_series(rows, "update", name) for name in _LOSSES}
    found = {name: series for name, series in found.items() if series}
    if not found:
        raise UserError("no model loss in these metrics: the agent has not updated a model yet; train longer")

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (name, series), colour in zip(panels, found.items(), PALETTE):
            _draw_run(axes, series, colour, faint=True)
            axes.set_title(f"Model: {_LOSSES[name]}")
            if all(np.all(y > 0) for _, y in series.values()):
                _log_axis(axes)
            axes.set_ylabel(_LOSSES[name])
            _step_axis(axes, zero=False)

    return save_figure(path, draw, size=(3.9 * len(found) + 0.6 * (len(found) == 1), 3.2))


def _draw_run(
    axes: Any, series: Mapping[int, tuple[np.ndarray, np.ndarray]], colour: str, *, faint: bool
) -> tuple[float, float]:
    """One run's line (and band); where its line ends."""
    if faint and len(series) > 1:
        for x, y in series.values():
            axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
    curves = align(series)
    if curves is None:  # seeds that share no steps have no mean; each stands for itself
        for x, y in series.values():
            axes.plot(x, y, color=colour, linewidth=1.2, marker=".")
        x, y = next(iter(series.values()))
        return float(x[-1]), float(y[-1])
    x, y = curves.env_steps, curves.values[0]
    if len(series) > 1:
        y, low, high = bootstrap_band(curves.values)
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    few = len(x) <= 40
    axes.plot(x, y, color=colour, linewidth=2, marker="o" if few else None, markersize=3.6, solid_capstyle="round")
    return float(x[-1]), float(y[-1])


def _draw_episodes(axes: Any, rows: Sequence[Row], colour: str) -> None:
    for x, y in seed_series(rows, "episode", "return").values():
        axes.scatter(x, y, s=10, color=colour, alpha=0.3, linewidths=0)


def _draw_references(axes: Any, oracle: float | None, random: float | None) -> None:
    """Dashed lines, labelled where a learning curve seldom is: upper left and lower right."""
    for value, label, dashes, side in (
        (oracle, "planner on the true dynamics", (5, 3), "left"),
        (random, "random actions", (1.5, 2.5), "right"),
    ):
        if value is not None:
            axes.axhline(value, color=INK, linewidth=1, dashes=dashes, alpha=0.7, zorder=1.5)
            axes.annotate(
                f"{label}: {value:,.4g}",
                (0 if side == "left" else 1, value),
                (4 if side == "left" else -4, 4),
                axes.get_yaxis_transform(),
                "offset points",
                ha=side,
                fontsize=8.5,
                color=MUTED,
            )


def _label_ends(axes: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the right end of the lines, pushed apart; no legend to look up."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    heights = spread_labels([end[1] for end in ends], (high - low) * 0.06)
    for height, (x, y, label, colour) in zip(heights, ends):
        axes.plot([x], [y], "o", color=colour, markersize=4.5)
        axes.annotate(
            label,
            (1, height),
            (8, 0),
            axes.get_yaxis_transform(),
            "offset points",
            va="center",
            color=colour,
            fontweight="bold",
            fontsize=9.5,
            annotation_clip=False,
        )


def _step_axis(axes: Any, *, zero: bool = True) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_steps_text))
    axes.tick_params(length=3)
    if zero:
        axes.set_xlim(left=0)


def _log_axis(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _steps_text(value: float, position: int | None) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}"


def _caption(series: Mapping[str, Mapping[int, Any]], metric: Metric) -> str:
    """What line, band, dots and faint lines stand for."""
    counts = {len(found) for found in series.values()}
    alone = len(series) == 1
    if counts == {1}:
        dots = "; faint dots: training episodes" if alone and metric == "eval" else ""
        return f"One seed{'' if alone else ' per run'}, so no interval{dots}."
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    faint = "; faint lines: single seeds" if alone else ""
    return f"Line: interquartile mean of {seeds} seeds; band: 95 % bootstrap interval{faint}."


def _nothing_to_plot(label: str, rows: Sequence[Row], metric: str) -> str:
    other = "episode" if metric == "eval" else "eval"
    remedy = f"use metric={other!r}" if seed_series(rows, other, _FIELD[other]) else "let the run go on for longer"
    return f"run {label!r} has no {metric!r} rows to plot; {remedy}"


def _cycle(n: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(n)]
