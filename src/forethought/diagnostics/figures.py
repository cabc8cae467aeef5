"""The look that all figures share: light, thin spines, colours that colour-blind readers tell apart."""

import io
import itertools
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import StorageFault
from ..storage.files import replacing

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D46", "#4D4D4D")
"""Okabe and Ito (2008), blue first, black and yellow replaced by tones that read on white."""

INK, MUTED, RULE, GRID = "#24292F", "#59636E", "#AFB8C1", "#EAEEF2"

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.0,
    "axes.titlepad": 10.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "svg.fonttype": "none",
}


def save_figure(
    path: str | PathLike[str], draw: Callable[[Any], None], *, size: tuple[float, float] = (7.2, 4.0)
) -> Path:
    """Let `draw(figure)` fill a figure of `size` inches and write it to `path`; the path.

    The ending chooses the format: .png at 150 dots per inch, or .svg. A notebook's own matplotlib backend and
    styles neither matter nor change. Raises ValueError for another ending, StorageFault if the file cannot be
    written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = Path(path)
    if target.suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"figure path {str(target)!r} ends in {target.suffix!r}; use .png or .svg")
    style: Any = {k: v for k, v in matplotlib.rcParamsDefault.items() if "backend" not in k} | _STYLE
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, dpi=150, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            drawn = io.BytesIO()
            figure.savefig(drawn, dpi=150, format=target.suffix[1:].lower())
            with replacing(target) as file:
                file.write(drawn.getvalue())
        except (OSError, StorageFault) as error:
            raise StorageFault(f"cannot write the figure {str(target)!r}: {error.__cause__ or error}") from error
    return target


def spread_labels(positions: list[float], gap: float) -> list[float]:
    """`positions` pushed apart until neighbours are `gap` from each other, their mean kept."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    moved = list(positions)
    for low, high in itertools.pairwise(order):
        moved[high] = max(moved[high], moved[low] + gap)
    drift = sum(m - p for m, p in zip(moved, positions)) / max(len(positions), 1)
    return [m - drift for m in moved]
