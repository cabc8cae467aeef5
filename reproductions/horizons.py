"""How far to look ahead, and with how many candidates: PETS on its cart-pole, by horizon and population.

    python reproductions/horizons.py measure   # writes reproductions/horizons/sweep.json
    python reproductions/horizons.py show      # table and heat map in docs/planners.md, from this file

Models of six seeds, learned in the first few episodes of PETS, are planned in with other horizons and populations
than they were learned with; nothing is learned meanwhile. Each plays one episode, the same with all settings.
"""

import dataclasses
import sys
import tempfile
import time
from typing import Any

import jax.random as jr
import numpy as np
from writing import DOCS, HERE, IMAGES, load, measure_or_show, put, table, write_raw

import forethought
from forethought.agents.planning import PlanningAgent
from forethought.diagnostics.figures import INK, MUTED, save_figure
from forethought.diagnostics.statistics import bootstrap_interval, paired_difference
from forethought.presets.pets import PRESETS
from forethought.presets.values import to_dict
from forethought.run.evaluate import JitEvaluator

HORIZONS, POPULATIONS = (5, 10, 20, 40, 80), (20, 100, 500)
SEEDS, STEPS = (0, 1, 2, 3, 4, 5), 600
RAW = HERE / "horizons" / "sweep.json"
CONFIG = PRESETS["cartpole"]


def learned(seed: int) -> tuple[Any, Any]:
    """The setup and the agent's state after `STEPS` steps of PETS."""
    run = forethought.RunConfig(steps=STEPS, seed=seed, eval_every=0, final_episodes=1, video=False)
    with tempfile.TemporaryDirectory() as folder:
        done = forethought.train("pets", "pets-cartpole", config=CONFIG, run=run, out=f"{folder}/run", quiet=True)
        return done.setup, done.agent_state()


def play(models: list[tuple[Any, Any]], *, horizon: int, population: int) -> list[float]:
    """The return of one episode in each model, with another planner than it was learned with."""
    sizes = {"horizon": horizon, "population": population, "elites": max(2, population // 10)}
    config = dataclasses.replace(CONFIG, planner=dataclasses.replace(CONFIG.planner, **sizes))
    setup = models[0][0]
    evaluator = JitEvaluator(PlanningAgent(setup.env.spec, config, given=setup.functions), setup.env, num_episodes=1)
    returns = [evaluator(state, key=jr.key(seed)).returns[0] for seed, (_, state) in zip(SEEDS, models)]
    return [round(float(x), 3) for x in returns]


def measure() -> dict[str, Any]:
    """Returns by horizon, population and seed."""
    models = [learned(seed) for seed in SEEDS]
    cells: dict[str, Any] = {}
    for horizon in HORIZONS:
        cells[str(horizon)] = {}
        for population in POPULATIONS:
            begun = time.perf_counter()
            returns = play(models, horizon=horizon, population=population)
            cells[str(horizon)][str(population)] = returns
            seconds = time.perf_counter() - begun
            sys.stderr.write(f"{horizon} x {population}: {np.mean(returns):.1f} in {seconds:.0f} s\n")
    return {"config": to_dict(CONFIG), "steps": STEPS, "seeds": SEEDS, "returns": cells}


def means(raw: dict[str, Any]) -> np.ndarray:
    """Mean return `[horizon, population]`."""
    return np.array([[np.mean(raw["returns"][str(h)][str(p)]) for p in POPULATIONS] for h in HORIZONS])


def by_seed(raw: dict[str, Any], horizon: int) -> np.ndarray:
    """Each seed's return at one horizon, mean over populations."""
    return np.mean([raw["returns"][str(horizon)][str(p)] for p in POPULATIONS], 0)


def best_horizon(raw: dict[str, Any]) -> int:
    """The horizon of the highest mean return over all populations."""
    return max(HORIZONS, key=lambda h: float(by_seed(raw, h).mean()))


def sweep_table(raw: dict[str, Any]) -> str:
    """Mean return by horizon and population, and how much the best horizon is above each."""
    best, rows = best_horizon(raw), []
    for horizon, row in zip(HORIZONS, means(raw)):
        cells = [str(horizon), *(f"{x:.1f}" for x in row)]
        mean = bootstrap_interval(by_seed(raw, horizon), np.mean)
        below = paired_difference(by_seed(raw, best), by_seed(raw, horizon))
        cells.append(f"{mean.estimate:.1f}")
        cells.append("" if horizon == best else f"{below.estimate:.1f} ({below.low:.1f}, {below.high:.1f})")
        rows.append(cells)
    candidates = [f"{p} candidates" for p in POPULATIONS]
    return table(["horizon", *candidates, "mean", f"below horizon {best} (95 % interval)"], rows)


def draw_sweep(raw: dict[str, Any]) -> None:
    """docs/images/horizons.png."""
    values = means(raw)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        picture = axes.imshow(values.T, origin="lower", cmap="viridis", aspect="auto")
        axes.grid(False)
        axes.set_xticks(range(len(HORIZONS)), [str(h) for h in HORIZONS])
        axes.set_yticks(range(len(POPULATIONS)), [str(p) for p in POPULATIONS])
        axes.set_xlabel("horizon, steps")
        axes.set_ylabel("candidates per iteration")
        axes.set_title(f"Return of PETS by horizon and candidates, after {raw['steps']} steps of learning")
        middle = (values.min() + values.max()) / 2
        for (i, j), value in np.ndenumerate(values):
            colour = INK if value > middle else "white"
            axes.annotate(f"{value:.0f}", (i, j), ha="center", va="center", color=colour)
        figure.colorbar(picture, ax=axes, label="mean return")
        text = f"Means over the models of {len(SEEDS)} seeds."
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "horizons.png", draw, size=(7.2, 4.0))


def show() -> None:
    """Writes tables and pictures into the docs."""
    put(DOCS / "planners.md", "horizons", sweep_table(load(RAW)))
    draw_sweep(load(RAW))


if __name__ == "__main__":
    measure_or_show(__doc__, lambda: write_raw(RAW, measure()), show)
