"""Draws the pictures of the result cards from the committed raw curves, and fills in their tables.

    python reproductions/figures.py

writes docs/images/CARD.png of every card (one picture of all latent agents), the tables of docs/cards.md, and,
where the runs themselves are still beside the raw files (from `forethought reproduce pets/cartpole --out
reproductions/pets-cartpole`), docs/images/pets-cartpole.gif.
"""

import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import imageio
import numpy as np
from matplotlib.ticker import MaxNLocator
from PIL import Image
from writing import DOCS, HERE, IMAGES, put, table

from forethought.cards import CARDS, ORACLES, Results, oracle_return
from forethought.cards.marks import values
from forethought.cards.policies import POLICIES
from forethought.diagnostics.curves import plot_learning_curves
from forethought.diagnostics.figures import INK, MUTED, PALETTE, save_figure
from forethought.diagnostics.statistics import bootstrap_interval

SB3 = HERE.parent / "benchmarks" / "results" / "sb3"
TITLES = {
    "pets/cartpole": "PETS on its cart-pole",
    "pets/cartpole-learned-reward": "PETS on its cart-pole, reward and termination learned",
    "pets/pendulum": "PETS on Pendulum-v1, reward and termination learned",
    "pets/lunar-lander": "PETS on LunarLanderContinuous-v3, reward and termination learned",
}
LATENT = tuple(
    name
    for name, card in CARDS.items()
    if card.agent.startswith(("planet", "dreamer")) and (HERE / card.raw[14:]).is_dir()
)
GAMES = tuple(
    name
    for name, card in CARDS.items()
    if card.agent in ("alphazero", "expert-iteration") and (HERE / card.raw[14:]).is_dir()
)
CONTROL = tuple(
    name for name, card in CARDS.items() if card.agent == "ilqr" and any((HERE / card.raw[14:]).glob("seed-*.json"))
)
LADDER = "mpc-ladder/cartpole"
ERRORS = ("holdout_error", "visited_error", "visited_error_common")
ARMS = {
    "0.5": "0.5: random data",
    "1.0": "1.0: own data too",
    "1.5": "1.5: replans",
    "oracle": "oracle: replans, true model",
}


def read(card: str, arm: str = "", base: pathlib.Path = HERE) -> list[dict[str, Any]]:
    """The raw files of one arm, by seed."""
    files = (base / card.replace("/", "-") / arm).glob("seed-*.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda raw: raw["seed"])


def curve(card: str, title: str) -> None:
    """Returns of the training episodes of all seeds: PETS explores by planning alone, so they are its performance."""
    rows = [row for raw in read(card) for row in raw["rows"]]
    env = CARDS[card].env
    path = IMAGES / f"{card.replace('/', '-')}.png"
    chance = random_return(env)
    plot_learning_curves({"PETS": rows}, path, metric="episode", oracle=oracle_return(env), random=chance, title=title)


def random_return(env: str) -> float | None:
    """Mean return of random actions; None where it was not measured."""
    if (known := ORACLES.get(env)) is not None:
        return known.random_return
    raw = HERE / "random" / f"{env}.json"
    return float(np.mean(json.loads(raw.read_text())["returns"])) if raw.is_file() else None


def ladder() -> None:
    """Final returns of the versions and the oracle, and the errors of their models on random and on own data."""

    def draw(figure: Any) -> None:
        returns, errors = figure.subplots(1, 2)
        for place, arm in enumerate(ARMS):
            finals = np.array([raw["final_return"] for raw in read(LADDER, arm)])
            colour = MUTED if arm == "oracle" else PALETTE[place]
            column(returns, place, finals, colour)
            if arm != "oracle":
                for shift, field in ((-0.12, "holdout_error"), (0.12, "visited_error")):
                    numbers = np.array([raw[field] for raw in read(LADDER, arm)])
                    column(errors, place + shift, numbers, colour, middle="median", hollow=field == "holdout_error")
        returns.set_xticks(range(len(ARMS)), [label.replace(": ", "\n") for label in ARMS.values()])
        returns.set_title("Return of the last policy")
        errors.set_title("Squared one-step error of the model")
        errors.set_yscale("log")
        errors.set_ylabel("variances of its training targets")
        errors.set_xticks(range(3), list(ARMS)[:3])
        errors.set_xlabel("hollow: held-out rows; filled: where its plans lead")
        text = "Dots: seeds. Bars: mean returns and median errors, with 95 % bootstrap intervals over seeds."
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "mpc-ladder-cartpole.png", draw, size=(9.6, 4.2))


def column(
    axes: Any, place: float, numbers: np.ndarray, colour: str, *, middle: str = "mean", hollow: bool = False
) -> None:
    """Seeds as dots, their mean or median with its interval beside them."""
    found = bootstrap_interval(numbers, np.mean if middle == "mean" else np.median)
    fill = "none" if hollow else colour
    axes.scatter(np.full(len(numbers), place), numbers, s=22, facecolors=fill, edgecolors=colour, linewidths=1)
    beside = place + 0.07
    axes.plot([beside, beside], [found.low, found.high], color=INK, linewidth=1.4)
    axes.plot([beside], [found.estimate], marker="_", color=INK, markersize=9)


def results_table() -> str:
    """Final returns of the cards with one arm."""
    rows = []
    for name in (*TITLES, *CONTROL):
        card, found = CARDS[name], results(name)
        finals = values(found, "", "final_return")
        oracle, median = ORACLES.get(card.env), statistics.median(finals)
        cells = [f"{x:.1f}" for x in (median, min(finals), max(finals))]
        if oracle is None:
            cells += ["", ""]
        else:
            floor = oracle.random_return or 0.0
            share = 100 * (median - floor) / (oracle.mean_return - floor)
            cells += [f"{oracle.mean_return:.1f}", f"{share:.1f} %"]
        mark = card.marks[0]
        passed = "passed" if mark.passed(mark.measure(found)) else "missed"
        rows.append([f"`{name}`", *cells, f"{mark.bound:.1f}", passed])
    return table(["card", "median", "lowest seed", "highest seed", "oracle", "of the oracle", "mark", ""], rows)


def latent_table() -> str:
    """Final returns of the agents with latent world models, and what a seed costs."""
    rows = []
    for name in LATENT:
        card, found = CARDS[name], results(name)
        finals, minutes = values(found, "", "final_return"), statistics.median(values(found, "", "wall_s")) / 60
        mark, median = card.marks[0], statistics.median(finals)
        cells = [f"{x:.{places(mark.bound)}f}" for x in (median, min(finals), max(finals), mark.bound)]
        steps = f"{card.arms[0].run.steps:,}"
        verdict = "passed" if mark.passed(median) else "missed"
        rows.append([f"`{name}`", str(len(finals)), steps, *cells, verdict, f"{minutes:.1f}"])
    heads = ["seeds", "steps", "median", "lowest seed", "highest seed", "mark", "", "minutes a seed"]
    return table(["card", *heads], rows)


def games_table() -> str:
    """What the marks of the agents that search trees ask for, what was measured, and what a seed costs."""
    return table_of_marks(GAMES)


def policies_table() -> str:
    """The same of policies learned from replayed and imagined transitions, as far as they are measured."""
    return table_of_marks([card.name for card in POLICIES if (HERE / card.raw[14:]).is_dir()])


def beside_table() -> str:
    """Final returns of model-free cards, and those of stable-baselines3 at equal steps, seed by seed."""
    rows = []
    for name in ("sac/pendulum", "ppo/cartpole", "dqn/cartpole"):
        folder = name.replace("/", "-")
        peers = [json.loads(file.read_text()) for file in sorted((SB3 / folder).glob("seed-*.json"))]
        ours, theirs = values(results(name), "", "final_return"), [each["final_return"] for each in peers]
        rows.append(
            [f"`{name}`", f"{peers[0]['steps']:,}", *(", ".join(f"{x:.0f}" for x in y) for y in (ours, theirs))]
        )
    return table(["card", "steps", "Forethought, seeds 0 to 4", "stable-baselines3, seeds 0 to 4"], rows)


def fresh_table() -> str:
    """The same of one seed that nobody had used, of every short card, on the present core."""
    base = HERE / "fresh"
    if not base.is_dir():
        return "Not measured yet."
    return table_of_marks([name for name in CARDS if (base / name.replace("/", "-")).is_dir()], base)


def table_of_marks(cards: Sequence[str], base: pathlib.Path = HERE) -> str:
    """Marks, what was measured, and what a seed of a card's first arm costs."""
    rows = []
    for name in cards:
        found = results(name, base)
        minutes = statistics.median(values(found, CARDS[name].arms[0].name, "wall_s")) / 60
        for mark in CARDS[name].marks:
            measured = mark.measure(found)
            verdict = "passed" if mark.passed(measured) else "missed"
            bound = f"{'at most' if mark.at_most else 'at least'} {mark.bound:.2f}"
            rows.append([f"`{name}`", mark.what, f"{measured:.2f}", bound, verdict, f"{minutes:.1f}"])
    return table(["card", "mark", "measured", "wanted", "", "minutes a seed"], rows)


def places(mark: float) -> int:
    """Digits behind the point: more for small returns."""
    return 2 if abs(mark) < 10 else 1


def latent_curves() -> None:
    """Returns of the training episodes of every seed, as means over a fortieth of the run; dashed: the mark."""

    def draw(figure: Any) -> None:
        columns = 5
        axes = figure.subplots(-(-len(LATENT) // columns), columns, squeeze=False).ravel()
        for place, name in zip(axes, LATENT, strict=False):
            card = CARDS[name]
            for number, raw in enumerate(read(name)):
                episodes = [row for row in raw["rows"] if row["kind"] == "episode"]
                steps = np.array([row["env_steps"] for row in episodes])
                bins = np.minimum(40 * steps // card.arms[0].run.steps, 39)
                returns = np.array([row["return"] for row in episodes])
                means = [(steps[bins == b].mean(), returns[bins == b].mean()) for b in np.unique(bins)]
                place.plot(*np.array(means).T, color=PALETTE[number], linewidth=1.2)
                place.plot(card.arms[0].run.steps, raw["final_return"], "o", color=PALETTE[number], markersize=4)
            place.axhline(card.marks[0].bound, color=MUTED, linewidth=0.8, linestyle="--")
            place.set_title(name.replace("/", "\n"), fontsize=9)
            place.set_xlim(0, 1.04 * card.arms[0].run.steps)
            place.xaxis.set_major_locator(MaxNLocator(3))
            place.tick_params(labelsize=8)
        for place in axes[len(LATENT) :]:
            place.set_axis_off()
        text = (
            "Environment steps. Lines: returns of training episodes, one line a seed. Dots: final evaluation. "
            "Dashed: the mark."
        )
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "latent-cards.png", draw, size=(11, 4.8))


def ladder_table() -> str:
    """Returns and errors of the versions."""
    rows, found = [], results(LADDER)
    for arm in ARMS:
        spread = bootstrap_interval(values(found, arm, "final_return"), np.mean)
        row = [arm, f"{spread.estimate:.1f} ({spread.low:.1f}, {spread.high:.1f})"]
        medians = (
            [f"{statistics.median(values(found, arm, f)):.3f}" for f in ERRORS] if arm != "oracle" else ["", "", ""]
        )
        rows.append(row + medians)
    heads = ["its own held-out rows", "where its plans lead", "where its plans lead, common units"]
    return table(["version", "return (95 % interval)", *heads], rows)


def marks_table() -> str:
    """What the ladder's marks ask for and what was measured."""
    found = results(LADDER)
    rows = [[mark.what, f"{mark.measure(found):.2f}", f"{mark.bound:.0f}"] for mark in CARDS[LADDER].marks]
    return table(["mark", "measured", "at least"], rows)


def results(card: str, base: pathlib.Path = HERE) -> Results:
    """The committed raw files of all arms."""
    return {arm.name: {raw["seed"]: raw for raw in read(card, arm.name, base)} for arm in CARDS[card].arms}


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
    latent_curves()
    for block, text in (
        ("results", results_table),
        ("latent", latent_table),
        ("games", games_table),
        ("policies", policies_table),
        ("beside", beside_table),
        ("fresh", fresh_table),
        ("ladder", ladder_table),
        ("ladder marks", marks_table),
    ):
        put(DOCS / "cards.md", block, text())
    video = HERE / "pets-cartpole" / "runs" / "seed-0" / "videos" / "policy.mp4"
    if video.is_file():
        film(video, IMAGES / "pets-cartpole.gif")
