"""A ladder of ratings, drawn."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from .figures import MUTED, PALETTE, save_figure


def plot_ladder(record: Mapping[str, Any], path: str | PathLike[str]) -> Path:
    """Draw the Elo rating of every stage against environment steps, others as dashed lines; the path.

    `record` is what `forethought ladder` writes: `stages` (steps by name), `ratings` (name, elo, low, high), `games`.
    """
    stages, found = record["stages"], {rating["name"]: rating for rating in record["ratings"]}
    rows = sorted((steps, found[name]) for name, steps in stages.items())

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        x = [steps for steps, _ in rows]
        low, elo, high = ([rating[field] for _, rating in rows] for field in ("low", "elo", "high"))
        axes.fill_between(x, low, high, color=PALETTE[0], alpha=0.16, linewidth=0)
        axes.plot(x, elo, color=PALETTE[0], linewidth=2, marker="o", markersize=3.6)
        for name, rating in found.items():
            if name not in stages:
                axes.axhline(rating["elo"], color=MUTED, linewidth=1, dashes=(5, 3))
                axes.annotate(name, (x[-1], rating["elo"]), color=MUTED, fontsize=9, ha="right", va="bottom")
        axes.set_title("Elo rating by stage; random play is 0")
        axes.set_ylabel("Elo")
        axes.set_xlabel("environment steps")
        caption = f"95 % intervals over games, {record['games']} of each pair"
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=MUTED)

    return save_figure(path, draw)
