"""Draws the pictures of the result cards from the committed raw curves.

    python reproductions/figures.py

writes docs/images/CARD.png of every card, and, where the runs themselves are still beside them (from
`forethought reproduce pets/cartpole --out reproductions/pets-cartpole`), docs/images/pets-cartpole.gif.
"""

import json
import pathlib
from typing import Any

import imageio
import numpy as np
from PIL import Image
from writing import HERE, IMAGES

from forethought.cards import CARDS, ORACLES, oracle_return
from forethought.diagnostics.curves import plot_learning_curves
from forethought.diagnostics.figures import INK, MUTED, PALETTE, save_figure
from forethought.diagnostics.statistics import bootstrap_interval

TITLES = {
    "pets/cartpole": "PETS on its cart-pole",
    "pets/cartpole-learned-reward": "PETS on its cart-pole, reward and termination learned",
    "pets/pendulum": "PETS on Pendulum-v1, reward and termination learned",
}
LADDER = "mpc-ladder/cartpole"
ARMS = {
    "0.5": "0.5: random data",
    "1.0": "1.0: own data too",
    "1.5": "1.5: replans",
    "oracle": "oracle: replans, true model",
}


def read(card: str, arm: str = "") -> list[dict[str, Any]]:
    """The raw files of one arm, by seed."""
    files = (HERE / card.replace("/", "-") / arm).glob("seed-*.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda raw: raw["seed"])


def curve(card: str, title: str) -> None:
    """Returns of the training episodes of all seeds: PETS explores by planning alone, so they are its performance."""
    rows = [row for raw in read(card) for row in raw["rows"]]
    env = CARDS[card].env
    path = IMAGES / f"{card.replace('/', '-')}.png"
    chance = ORACLES[env].random_return
    plot_learning_curves({"PETS": rows}, path, metric="episode", oracle=oracle_return(env), random=chance, title=title)


def ladder() -> None:
    """Final returns of the versions and the oracle, and the errors of their models on random and on own data."""

    def draw(figure: Any) -> None:
        returns, errors = figure.subplots(1, 2)
        for place, arm in enumerate(ARMS):
            values = np.array([raw["final_return"] for raw in read(LADDER, arm)])
            colour = MUTED if arm == "oracle" else PALETTE[place]
            column(returns, place, values, colour)
            if arm != "oracle":
                for shift, field in ((-0.12, "holdout_error"), (0.12, "visited_error")):
                    column(errors, place + shift, np.array([raw[field] for raw in read(LADDER, arm)]), colour, field)
        returns.set_xticks(range(len(ARMS)), [label.replace(": ", "\n") for label in ARMS.values()])
        returns.set_title("Return of the last policy")
        errors.set_title("One-step error of the model")
        errors.set_yscale("log")
        errors.set_ylabel("standard deviations of random data")
        errors.set_xticks(range(3), list(ARMS)[:3])
        errors.set_xlabel("hollow: held-out random episodes; filled: where its own plans lead")
        text = "Dots: seeds. Bars: means with 95 % bootstrap intervals over seeds."
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "mpc-ladder-cartpole.png", draw, size=(9.6, 4.2))


def column(axes: Any, place: float, values: np.ndarray, colour: str, field: str = "") -> None:
    """Seeds as dots, their mean with its interval beside them."""
    found = bootstrap_interval(values, np.mean)
    fill = "none" if field == "holdout_error" else colour
    axes.scatter(np.full(len(values), place), values, s=22, facecolors=fill, edgecolors=colour, linewidths=1, alpha=0.7)
    beside = place + 0.07
    axes.plot([beside, beside], [found.low, found.high], color=INK, linewidth=1.4)
    axes.plot([beside], [found.estimate], marker="_", color=INK, markersize=9)


def film(video: pathlib.Path, path: pathlib.Path) -> None:
    """Every second frame, at half size."""
    frames = [Image.fromarray(f).resize((240, 160), Image.Resampling.LANCZOS) for f in imageio.get_reader(video)]
    few = [f.quantize(32) for f in frames[::2]]
    few[0].save(path, save_all=True, append_images=few[1:], duration=67, loop=0, optimize=True)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name, title in TITLES.items():
        curve(name, title)
    ladder()
    video = HERE / "pets-cartpole" / "runs" / "seed-0" / "videos" / "policy.mp4"
    if video.is_file():
        film(video, IMAGES / "pets-cartpole.gif")
