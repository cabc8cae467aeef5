"""Draws the pictures of the cards of trials from their committed raw files, and fills in their table.

    python reproductions/trials.py

writes docs/images/CARD-trials.png (cost of every trial, all seeds), docs/images/CARD-forecasts.png (what was predicted
of the trials of seed 0 and what happened) and the table of docs/cards.md.
"""

import json
import statistics
from typing import Any

import numpy as np
from writing import DOCS, HERE, IMAGES, put, table

from forethought.cards import CARDS
from forethought.diagnostics.figures import PALETTE, save_figure
from forethought.diagnostics.forecast_figure import Trial, plot_forecasts

SECONDS = 0.1  # a step
NAMES = {
    "pilco/pendulum": ["angle", "velocity"],
    "pilco/cartpole-swingup": ["position", "angle", "velocity", "angular velocity"],
}


def read(card: str) -> list[dict[str, Any]]:
    """The raw files of a card, by seed."""
    files = (HERE / card.replace("/", "-")).glob("seed-*.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda raw: raw["seed"])


def block() -> str:
    """The table, the pictures, and what is not measured."""
    header = ["card", "seeds whose last policy balances", "seeds with a balanced trial"]
    header += ["seconds of data until then, median (most)", "marks", "minutes a seed"]
    rows, below = [], []
    for card in NAMES:
        raws = read(card)
        if not raws:
            below.append(f"`{card}`: not measured yet.")
            continue
        balancing = sum(raw["balanced"] >= 0.9 for raw in raws)
        after = [SECONDS * raw["balanced_after"] for raw in raws if raw["balanced_after"] is not None]
        results = {"": {raw["seed"]: raw for raw in raws}}
        passed = "passed" if all(mark.passed(mark.measure(results)) for mark in CARDS[card].marks) else "missed"
        minutes = statistics.median(raw["wall_s"] for raw in raws) / 60
        taken = f"{statistics.median(after):.0f} ({max(after):.0f})" if after else ""
        counts = [f"{count} of {len(raws)}" for count in (balancing, len(after))]
        rows.append([f"`{card}`", *counts, taken, passed, f"{minutes:.1f}"])
        slug = card.replace("/", "-")
        below += [
            f"![Cost of every trial of {card}](images/{slug}-trials.png)",
            f"![What was predicted of the trials of {card}, and what happened](images/{slug}-forecasts.png)",
        ]
    return "\n\n".join([*([table(header, rows)] if rows else []), "\n".join(below)])


def draw(card: str, raws: list[dict[str, Any]]) -> None:
    """Both pictures of a card."""
    slug = card.replace("/", "-")

    def costs(figure: Any) -> None:
        axes = figure.subplots()
        for raw in raws:
            data = [SECONDS * trial["end"] for trial in raw["trials"]]
            total = [trial["cost"] for trial in raw["trials"]]
            axes.plot(data, total, color=PALETTE[0], linewidth=1, alpha=0.6)
            held = [t["worst_at_end"] < 0.1 for t in raw["trials"]]
            dots = [(x, y) for x, y, good in zip(data, total, held) if good]
            axes.plot(*zip(*dots) if dots else ([], []), "o", color=PALETTE[2], markersize=4)
        axes.set_ylim(0, 41)
        axes.set_xlabel("seconds of data at the end of the trial, the random one first")
        axes.set_ylabel("cost of the trial, 40 at most")
        axes.set_title("A line per seed; green: balanced in the last second")

    save_figure(IMAGES / f"{slug}-trials.png", costs, size=(7.2, 3.6))
    said = next(raw["forecasts"] for raw in raws if "forecasts" in raw)
    trials = [Trial(f["trial"], *(np.array(f[name]) for name in ("mean", "std", "real"))) for f in said]
    plot_forecasts(trials, IMAGES / f"{slug}-forecasts.png", names=NAMES[card])


if __name__ == "__main__":
    for name in NAMES:
        if found := read(name):
            draw(name, found)
    put(DOCS / "cards.md", "trials", block())
