"""Figures of an examination. All have steps ahead on the horizontal axis unless they say otherwise."""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..text import percent
from .examination import TERMINATION_STEPS, TRUSTED_ERROR, Examination
from .figures import GRID, INK, MUTED, PALETTE, save_figure, spread_labels

MODEL, AFTER, NOTHING, LIMIT = PALETTE[0], PALETTE[2], PALETTE[7], PALETTE[1]
MAX_DIMS = 12


@dataclasses.dataclass(frozen=True)
class _Line:
    label: str
    values: np.ndarray
    colour: str
    style: str = "-"
    band: np.ndarray | None = None  # [2, steps]


def plot_examination(
    examination: Examination,
    path: str | PathLike[str],
    *,
    recalibrated: Examination | None = None,
    coverage: bool = True,
) -> Path:
    """The two figures that say most: error by horizon against persistence, and coverage of 90 % intervals; the path.

    Where predicted deviation and error agree, the model knows how wrong it is. Without `coverage`, for pages that have
    `plot_coverage`, the first alone.
    """

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, 2 if coverage else 1, squeeze=False)[0]
        _draw_errors(panels[0], examination)
        if coverage:
            _draw_coverage(panels[1], examination, recalibrated)
        _note(figure, f"{_sample(examination)} {_BANDS}")

    return save_figure(path, draw, size=(8.8, 3.6))


def plot_dimensions(examination: Examination, path: str | PathLike[str], *, names: Sequence[str] | None = None) -> Path:
    """Error by horizon against persistence for each dimension, the worst MAX_DIMS of them; the path."""
    e = examination
    last = _last(e)
    order = np.argsort(-np.nan_to_num(e.error[last] / np.maximum(e.persistence[last], 1e-12)), kind="stable")
    shown = np.sort(order[:MAX_DIMS]) if len(order) > MAX_DIMS else np.arange(len(order))
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        for axes, dim in zip(panels, shown):
            lines = [
                _Line("model", e.error[:, dim], MODEL, band=e.error_band[:, :, dim]),
                _Line("nothing changes", e.persistence[:, dim], NOTHING),
                *([_Line("states", e.deviation[:, dim], MODEL, ":")] if e.states_uncertainty else []),
            ]
            _draw(axes, e.horizon, lines, labels=False)
            axes.set_title((names or e.names)[int(dim)], fontsize=9.5)
            axes.set_xlabel("steps ahead" if dim in shown[-columns:] else "")
        panels[0].set_ylabel("standard deviations")
        left_out = f" {len(order) - len(shown)} better ones are left out." if len(order) > len(shown) else ""
        dotted = "; dotted: the deviation that the model states" if e.states_uncertainty else ""
        _note(figure, f"Blue: error of the model, with its 95 % band; grey: nothing changes{dotted}.{left_out}")

    return save_figure(path, draw, size=(max(2.35 * columns + 0.5, 7.2), 1.95 * rows + 0.6))


def plot_coverage(
    examination: Examination, path: str | PathLike[str], *, recalibrated: Examination | None = None
) -> Path:
    """Coverage of the 50 and 90 % intervals by horizon, and of all levels over all horizons; the path."""

    def draw(figure: Any) -> None:
        by_horizon, curve = figure.subplots(1, 2, width_ratios=(1.5, 1))
        _draw_coverage(by_horizon, examination, recalibrated, levels=(0.5, 0.9))
        curve.plot((0, 100), (0, 100), **_AIM)
        for e, colour in ((examination, MODEL), (recalibrated, AFTER)):
            if e is not None and e.states_uncertainty:
                curve.plot(100 * e.levels, 100 * e.calibration, color=colour, linewidth=2, marker="o", markersize=3)
        curve.set_title("Calibration, all horizons")
        curve.set_xlabel("level of the interval, %")
        curve.set_ylabel("observations inside, %")
        curve.set(xlim=(0, 100), ylim=(0, 102), xticks=range(0, 101, 25), yticks=range(0, 101, 25))
        curve.tick_params(length=3)
        after = "" if recalibrated is None else " Blue: as it is; green: recalibrated."
        _note(figure, f"Dashed: what was aimed at.{after} {_BANDS}")

    return save_figure(path, draw, size=(8.8, 3.6))


def plot_likelihood(
    examination: Examination, path: str | PathLike[str], *, recalibrated: Examination | None = None
) -> Path:
    """Negative log-likelihood by horizon, against a Gaussian about the start; the path. Lower is better."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        calm = [_Line("nothing changes", examination.persistence_nll, NOTHING)]
        if recalibrated is not None:
            calm.append(_Line("recalibrated", recalibrated.nll, AFTER))
        model = _Line("model", examination.nll, MODEL)
        low, high = _span([*calm, model])
        # An over-confident model's likelihood has no bottom: the figure shows where it leaves the others.
        quiet_low, quiet_high = _span(calm)
        top = quiet_high + 2 * (quiet_high - quiet_low)
        if high > top:
            high, model = top, dataclasses.replace(model, label="model, off the scale")
        _draw(axes, examination.horizon, [*calm, model], span=(low, high))
        axes.set_title("Negative log-likelihood of what happened")
        axes.set_ylabel("nats per dimension")
        _note(figure, "Lower is better. In units of the data's standard deviation.")

    return save_figure(path, draw, size=(6.4, 3.6))


def plot_drift(examination: Examination, path: str | PathLike[str]) -> Path:
    """Imagined and real return over the steps ahead, and their difference with its band; the path."""
    e = examination

    def draw(figure: Any) -> None:
        totals, gap = figure.subplots(1, 2)
        lines = [_Line("imagined", e.imagined_return, MODEL), _Line("real", e.real_return, NOTHING)]
        _draw(totals, e.horizon, lines, span=_span(lines))
        totals.set_title("Return over the steps ahead")
        totals.set_ylabel("sum of rewards")
        lines = [_Line("mean", e.drift, LIMIT, band=e.drift_band)]
        gap.axhline(0, **_AIM)
        _draw(gap, e.horizon, lines, span=_span(lines, zero=True), labels=False)
        gap.set_title("Drift: imagined minus real")
        _note(figure, f"The same starts and actions in both. {_BANDS}")

    return save_figure(path, draw, size=(8.8, 3.4))


def plot_uncertainty(examination: Examination, path: str | PathLike[str]) -> Path:
    """Error against the deviation that the model stated, and how well one ranks the other by horizon; the path."""
    e = examination

    def draw(figure: Any) -> None:
        axes, ranks = figure.subplots(1, 2, width_ratios=(1, 1.3))
        stated, error = e.binned.T
        top = 1.08 * max(float(np.nanmax(e.binned, initial=0.0)), 1e-9)
        if e.states_uncertainty:
            axes.plot((0, top), (0, top), **_AIM)
            axes.plot(stated, error, "o-", color=MODEL, linewidth=1.4, markersize=5)
        else:
            _certain(axes, 0.5)
        axes.set(xlim=(0, top), ylim=(0, top))
        axes.set_title("Stated and real error")
        axes.set_xlabel("stated deviation")
        axes.set_ylabel("root mean squared error")
        axes.tick_params(length=3)
        lines = [_Line("rank correlation", e.rank, MODEL)]
        ranks.axhline(0, **_AIM)
        low = min(0.0, float(np.nanmin(e.rank, initial=0.0)))
        _draw(ranks, e.horizon, lines, span=(low - 0.05, 1.0), labels=False)
        ranks.set_title("Does its uncertainty rank its errors?")
        ranks.set_ylabel("Spearman correlation")
        _note(figure, "Left: predictions in bins of equal count, in standard deviations of the data; dashed: honest.")

    return save_figure(path, draw, size=(8.8, 3.4))


def plot_termination(examination: Examination, path: str | PathLike[str]) -> Path:
    """Missed terminations and false alarms by horizon; the path."""
    e = examination

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        lines = [
            _Line("missed", 100 * e.missed, LIMIT),
            _Line("false alarms", 100 * e.false_alarm, MODEL),
        ]
        _draw(axes, e.horizon, lines, span=(0, 102))
        axes.axvspan(0, min(TERMINATION_STEPS, e.horizon), color=GRID, alpha=0.6, linewidth=0, zorder=0)
        axes.set_title("Imagined terminations")
        axes.set_ylabel("share, %")
        _note(figure, f"{e.terminations} episodes really terminated. Shaded: the steps that the verdict counts.")

    return save_figure(path, draw, size=(6.4, 3.6))


def _draw_errors(axes: Any, e: Examination) -> None:
    lines = [
        _Line("model", e.overall, MODEL, band=e.overall_band),
        _Line("nothing changes", e.baseline, NOTHING, band=e.baseline_band),
    ]
    if e.states_uncertainty:
        stated = np.sqrt((e.deviation[:, e.varying] ** 2).mean(1))
        lines.append(_Line("deviation it states", stated, MODEL, ":"))
    _draw(axes, e.horizon, lines)
    if axes.get_ylim()[1] > TRUSTED_ERROR:
        axes.axhline(TRUSTED_ERROR, color=LIMIT, linewidth=1, dashes=(1.5, 2.5), alpha=0.9, zorder=1.5)
    if e.trusted_steps:
        axes.axvspan(0, e.trusted_steps, color=AFTER, alpha=0.08, linewidth=0, zorder=0)
    axes.set_title(f"Error by horizon: trusted to {e.trusted_steps} step{'' if e.trusted_steps == 1 else 's'}")
    axes.set_ylabel("error in standard deviations")


def _draw_coverage(
    axes: Any, e: Examination, recalibrated: Examination | None, *, levels: tuple[float, ...] = (0.9,)
) -> None:
    lines = []
    for level in levels:
        axes.axhline(100 * level, **_AIM, zorder=1.5)
        for one, colour, name in ((e, MODEL, ""), (recalibrated, AFTER, " recalibrated")):
            if one is not None and one.states_uncertainty:
                band = 100 * one.covered_90_band if level == 0.9 else None
                lines.append(_Line(f"{percent(level)}{name}", 100 * one.covered(level), colour, band=band))
    _draw(axes, e.horizon, lines, span=(0, 102))
    if not e.states_uncertainty:
        _certain(axes, 0.25)
    axes.set_title("Coverage of its intervals")
    axes.set_ylabel("observations inside, %")


def _draw(
    axes: Any,
    horizon: int,
    lines: Sequence[_Line],
    *,
    span: tuple[float, float] | None = None,
    labels: bool = True,
) -> None:
    """Lines over the steps ahead, named at their right ends; from 0 to just above the highest unless `span` says."""
    from matplotlib.ticker import MaxNLocator

    steps = np.arange(1, horizon + 1)
    lines = [line for line in lines if np.isfinite(line.values).any()]
    low, high = span or (0.0, 1.08 * max((_highest(line) for line in lines), default=0.0) or 1.0)
    ends = []
    for line in lines:
        if line.band is not None and np.isfinite(line.band).any():
            axes.fill_between(steps, *line.band, color=line.colour, alpha=0.16, linewidth=0)
        finite = np.pad(np.isfinite(line.values), 1)
        alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]  # no line leads to these
        axes.plot(steps, line.values, line.style, color=line.colour, linewidth=2)
        axes.plot(steps[alone], line.values[alone], "o", color=line.colour, markersize=5)
        last = line.values[finite[1:-1]][-1]
        ends.append(float(np.clip(last, low, high)))
    for line, height in zip(lines, spread_labels(ends, 0.075 * (high - low)) if labels else []):
        axes.annotate(
            line.label,
            (1, height),
            (6, 0),
            axes.get_yaxis_transform(),
            "offset points",
            va="center",
            color=line.colour,
            fontsize=9,
            annotation_clip=False,
        )
    axes.set_xlabel("steps ahead")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(*((1, horizon) if horizon > 1 else (0, 2)))
    axes.set_ylim(low, high)
    axes.tick_params(length=3)


def _highest(line: _Line) -> float:
    return float(line.values[np.isfinite(line.values)].max(initial=0.0))


def _span(lines: Sequence[_Line], *, zero: bool = False) -> tuple[float, float]:
    """Limits with a margin about all finite values and bands."""
    parts = [line.values for line in lines] + [line.band.ravel() for line in lines if line.band is not None]
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    values = np.append(values, 0.0) if zero or not len(values) else values
    margin = 0.08 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin


def _last(e: Examination) -> int:
    """Index of the last horizon that any start reached."""
    return int(np.flatnonzero(e.count)[-1])


def _sample(e: Examination) -> str:
    plural = "s" if e.episodes > 1 else ""
    return f"{int(e.count[0]):,} starts in {e.episodes} episode{plural}, {e.particles} particles each."


def _certain(axes: Any, height: float) -> None:
    """Says, at `height` of the panel, why nothing is drawn in it."""
    axes.text(0.5, height, "The model states no uncertainty.", transform=axes.transAxes, ha="center")


_BANDS = "Bands: 95 %, over episodes."
_AIM: Any = {"color": INK, "linewidth": 1, "dashes": (4, 3), "alpha": 0.7}  # the line of what was aimed at


def _note(figure: Any, text: str) -> None:
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)
