"""A stretch of an episode as it was, and as the model imagined it."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .divergence import LEVELS, Trace
from .figures import INK, MUTED, PALETTE, save_figure

MAX_DIMS = 12


def plot_traces(traces: Sequence[Trace], path: str | PathLike[str], *, names: Sequence[str] | None = None) -> Path:
    """Real against imagined observations with 50 and 90 % bands, first divergences marked; the path.

    `traces` are of one episode; the first MAX_DIMS dimensions are shown, the one that diverged among them. Raises
    ValueError if there is none.
    """
    if not traces:
        raise ValueError("traces is empty; give at least one")
    dims = traces[0].real.shape[1]
    shown = list(range(min(dims, MAX_DIMS)))
    for trace in traces:
        if trace.dimension is not None and trace.dimension not in shown:
            shown[-1] = trace.dimension
    columns = 1 if len(shown) <= 2 else 2 if len(shown) <= 8 else 3
    rows = -(-len(shown) // columns)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        for i, (axes, dim) in enumerate(zip(panels, shown)):
            low, high = _limits(traces, dim)
            for trace in traces:
                _draw(axes, trace, dim)
            axes.set_ylim(low, high)
            axes.set_title(names[dim] if names is not None else f"observation {dim}", fontsize=9.5)
            axes.tick_params(length=3)
            axes.set_xlabel("step of the episode" if i >= len(shown) - columns else "")
        said = "Black: real. Blue: imagined from each circle on, with its 50 and 90 % intervals."
        orange = " Orange: the first divergence."
        marked = any(trace.diverged_at is not None for trace in traces)
        figure.supxlabel(said + (orange if marked else ""), x=0.01, ha="left", fontsize=8, color=MUTED)

    return save_figure(path, draw, size=(4.2 * columns + 0.4 + 2.4 * (columns == 1), 1.9 * rows + 0.6))


def _draw(axes: Any, trace: Trace, dim: int) -> None:
    steps = trace.start + np.arange(len(trace.real) + 1)
    begin = trace.obs[dim]
    joined = lambda x: np.concatenate([[begin], x])
    for i, _ in enumerate(LEVELS):
        low, high = trace.bands[i, :, :, dim]
        axes.fill_between(steps, joined(low), joined(high), color=PALETTE[0], alpha=0.16, linewidth=0)
    axes.plot(steps, joined(trace.imagined[:, dim]), color=PALETTE[0], linewidth=1.6)
    axes.plot(steps, joined(trace.real[:, dim]), color=INK, linewidth=1.4)
    axes.plot(steps[:1], [begin], "o", color=PALETTE[0], markersize=4.5)
    if trace.diverged_at is not None:
        at = trace.start + trace.diverged_at
        axes.axvline(at, color=PALETTE[1], linewidth=1.2, alpha=0.9)
        if trace.dimension in (None, dim):
            axes.plot([at], [trace.real[trace.diverged_at - 1, dim]], "o", color=PALETTE[1], markersize=5, zorder=5)


def _limits(traces: Sequence[Trace], dim: int) -> tuple[float, float]:
    """What happened and what was imagined, with room; bands may run out of the picture."""
    parts = [x[:, dim] for trace in traces for x in (trace.real, trace.imagined, trace.obs[None])]
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    margin = 0.25 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin
