"""Compares the planners on true dynamics, at equal model calls per action.

    python reproductions/planners.py measure   # writes reproductions/planners/{tasks,dimensions}.json; or name a part
    python reproductions/planners.py show      # tables and picture in docs/planners.md, from these files

Every planner may imagine 500 sequences per action. A gradient step of one sequence counts as three: the backward
pass costs about two forward ones. Episodes start alike for all planners, so that they can be compared in pairs.
"""

import dataclasses
import json
import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from writing import DOCS, HERE, IMAGES, put, table, write_raw

from forethought.agents.planning import PlanningAgent
from forethought.cli import machine
from forethought.core import AbstractEnv
from forethought.diagnostics.figures import MUTED, PALETTE, save_figure, spread_labels
from forethought.diagnostics.statistics import bootstrap_interval, paired_difference
from forethought.envs.cartpole_swingup import CartPoleSwingUp
from forethought.envs.mountain_car import MountainCarContinuous
from forethought.envs.pendulum import Pendulum
from forethought.envs.pets_cartpole import PetsCartPole
from forethought.envs.point_mass import PointMass
from forethought.envs.repeat import ActionRepeat
from forethought.models.simulator import Simulator
from forethought.planners.choice import make_planner
from forethought.presets.parts import PlannerConfig
from forethought.presets.values import to_dict
from forethought.run.evaluate import JitEvaluator
from forethought.types import Given

EPISODES, TUNING_EPISODES = 20, 5
TASKS: dict[str, tuple[AbstractEnv, int]] = {  # with the horizon
    "pets-cartpole": (PetsCartPole(), 25),
    "cartpole-swingup": (CartPoleSwingUp(), 20),
    "pendulum": (Pendulum(), 30),
    "mountain-car-continuous": (ActionRepeat(MountainCarContinuous(), 4), 40),
    "point-mass": (PointMass(), 20),
    "point-mass-8d": (PointMass(8), 20),
}
SPARSE = ("mountain-car-continuous",)  # its only reward is at the goal, where CEM's mean seldom gets
DIMENSIONS, DIMENSION_HORIZON, TIMED_ACTIONS = (1, 2, 4, 8, 16), 20, 200
TEMPERATURES, DIMENSION_TEMPERATURE = (0.1, 1.0, 10.0), 0.1
PLANNERS: dict[str, PlannerConfig] = {
    "shooting": PlannerConfig(kind="shooting", population=500, iterations=1),
    "cem": PlannerConfig(kind="cem", population=100, iterations=5, elites=10),
    "icem": PlannerConfig(kind="icem", population=100, iterations=5, elites=10),
    "mppi": PlannerConfig(kind="mppi", population=100, iterations=5),
    "gradient": PlannerConfig(kind="gradient", restarts=8, gradient_steps=21),
}
NAMES = {"shooting": "random shooting", "cem": "CEM", "icem": "iCEM", "mppi": "MPPI", "gradient": "gradient"}
RAW = HERE / "planners"


def agent(env: AbstractEnv, planner: PlannerConfig) -> PlanningAgent:
    """Replans at every step on the true dynamics."""
    given = Given(env.reward_function, env.termination_function, Simulator(env))
    return PlanningAgent(env.spec, given=given, planner=make_planner(env.spec.action, planner))


def play(env: AbstractEnv, planner: PlannerConfig, *, episodes: int, seed: int) -> list[float]:
    """Returns of `episodes` episodes; their starts depend on `seed` alone."""
    chosen = agent(env, planner)
    evaluation = JitEvaluator(chosen, env, num_episodes=episodes)(chosen.init(key=jr.key(0)), key=jr.key(seed))
    return [round(float(x), 4) for x in evaluation.returns]


def tuned(env: AbstractEnv, planner: PlannerConfig) -> PlannerConfig:
    """MPPI at the temperature that does best on other episodes, for it is in units of the task's return."""
    if planner.kind != "mppi":
        return planner
    tried = [dataclasses.replace(planner, temperature=t) for t in TEMPERATURES]
    return max(tried, key=lambda p: float(np.mean(play(env, p, episodes=TUNING_EPISODES, seed=1000))))


def measure_tasks() -> dict[str, Any]:
    """Returns of every planner's episodes on every task."""
    found: dict[str, Any] = {}
    for task, (env, horizon) in TASKS.items():
        found[task] = {"horizon": horizon, "action_repeat": env.spec.action_repeat, "planners": {}}
        for name, config in PLANNERS.items():
            planner = tuned(env, dataclasses.replace(config, horizon=horizon))
            begun = time.perf_counter()
            returns = play(env, planner, episodes=EPISODES, seed=0)
            wall = round(time.perf_counter() - begun, 1)
            found[task]["planners"][name] = {"settings": to_dict(planner), "wall_s": wall, "returns": returns}
            note(f"{task} {name}: {np.mean(returns):.3f} in {wall} s")
    return found


def measure_dimensions() -> dict[str, Any]:
    """Return per dimension, and milliseconds per action, of point masses in more and more dimensions."""
    found: dict[str, Any] = {}
    for dims in DIMENSIONS:
        env = PointMass(dims)
        found[str(dims)] = {}
        for name, config in PLANNERS.items():
            planner = dataclasses.replace(config, horizon=DIMENSION_HORIZON, temperature=DIMENSION_TEMPERATURE)
            returns = play(env, planner, episodes=EPISODES, seed=0)
            found[str(dims)][name] = {"returns": returns, "milliseconds": latency(env, planner)}
            note(f"{dims} dimensions, {name}: {np.mean(returns) / dims:.3f} per dimension")
    return found


def latency(env: AbstractEnv, planner: PlannerConfig) -> list[float]:
    """Milliseconds of each of 200 actions, one at a time, compiled beforehand."""
    chosen = agent(env, planner)
    state = chosen.init(key=jr.key(0))
    act = eqx.filter_jit(lambda memory, obs, key: chosen.act(state, memory, obs, key=key, explore=False)[:2])
    _, obs = env.reset(key=jr.key(0))
    _, memory = act(chosen.init_memory(state), obs, jr.key(0))
    times = []
    for i in range(TIMED_ACTIONS + 1):
        begun = time.perf_counter()
        _, memory = jax.block_until_ready(act(memory, obs, jr.key(i)))
        times.append(round(1000 * (time.perf_counter() - begun), 3))
    return times[1:]  # the first is traced again where the memory has become strongly typed


def note(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(text + "\n")


# ---- what the documentation shows


def interval(returns: list[float]) -> str:
    """Mean with its 95 % bootstrap interval over episodes."""
    found = bootstrap_interval(returns, np.mean)
    return f"{found.estimate:.1f} ({found.low:.1f}, {found.high:.1f})"


def tasks_table(raw: dict[str, Any]) -> str:
    """Mean return of every planner on every task."""
    rows = []
    for task, found in raw["tasks"].items():
        planners = found["planners"]
        best = max(planners, key=lambda name: np.mean(planners[name]["returns"]))
        cells = {name: interval(planners[name]["returns"]) for name in PLANNERS}
        rows.append([f"`{task}`", *(f"**{text}**" if name == best else text for name, text in cells.items())])
    return table(["task", *NAMES.values()], rows)


def cem_above_shooting(raw: dict[str, Any]) -> dict[str, Any]:
    """By task, how much more CEM returns than random shooting: mean over paired episodes, with its interval."""
    planners = {task: found["planners"] for task, found in raw["tasks"].items()}
    return {task: paired_difference(p["cem"]["returns"], p["shooting"]["returns"]) for task, p in planners.items()}


def pairs_table(raw: dict[str, Any]) -> str:
    """CEM against random shooting."""
    return table(
        ["task", "CEM minus random shooting, mean of 20 pairs", "95 % interval"],
        [
            [f"`{task}`", f"{x.estimate:.2f}", f"{x.low:.2f} to {x.high:.2f}"]
            for task, x in cem_above_shooting(raw).items()
        ],
    )


def dimensions_table(raw: dict[str, Any]) -> str:
    """Return per dimension and latency."""
    rows = []
    for dims, found in raw["dimensions"].items():
        returns = [f"{np.mean(found[name]['returns']) / int(dims):.2f}" for name in PLANNERS]
        times = [f"{np.median(found[name]['milliseconds']):.1f}" for name in PLANNERS]
        rows.append([dims, *(f"{a} ({b} ms)" for a, b in zip(returns, times, strict=True))])
    return table(["action dimensions", *NAMES.values()], rows)


def draw_dimensions(raw: dict[str, Any]) -> None:
    """docs/images/planner-dimensions.png."""
    dims = [int(d) for d in raw["dimensions"]]

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for name, colour in zip(PLANNERS, PALETTE):
            cells = [raw["dimensions"][str(d)][name] for d in dims]
            bands = [bootstrap_interval(np.asarray(c["returns"]) / d, np.mean) for c, d in zip(cells, dims)]
            left.fill_between(dims, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.16)
            left.plot(dims, [b.estimate for b in bands], color=colour, marker="o", markersize=3.6, linewidth=2)
            times = [float(np.median(c["milliseconds"])) for c in cells]
            right.plot(dims, times, color=colour, marker="o", markersize=3.6, linewidth=2)
        for axes, title in ((left, "Return per dimension"), (right, "Milliseconds per action")):
            axes.set_title(title)
            axes.set_xscale("log", base=2)
            axes.set_xticks(dims, [str(d) for d in dims])
            axes.set_xlabel("action dimensions")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            label_ends(axes, [float(line.get_ydata()[-1]) for line in axes.get_lines()])
        text = "Left: means of 20 episodes with 95 % bootstrap intervals. Right: medians of 200 actions."
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "planner-dimensions.png", draw, size=(9.6, 3.8))


def label_ends(axes: Any, ends: list[float]) -> None:
    """The planners' names at the right ends of their lines."""
    low, high = axes.get_ylim()
    for name, height, colour in zip(NAMES.values(), spread_labels(ends, (high - low) * 0.065), PALETTE):
        place = (1, height), (6, 0), axes.get_yaxis_transform(), "offset points"
        axes.annotate(name, *place, va="center", color=colour, fontsize=9, annotation_clip=False)


def load() -> dict[str, Any]:
    """The raw files."""
    read = lambda name: json.loads((RAW / f"{name}.json").read_text())[name]
    return {name: read(name) for name in ("tasks", "dimensions")}


PARTS = {"tasks": measure_tasks, "dimensions": measure_dimensions}
BLOCKS = {"planner tasks": tasks_table, "cem and shooting": pairs_table, "planner dimensions": dimensions_table}

if __name__ == "__main__":
    machine.prepare()
    if sys.argv[1:2] == ["measure"] and set(sys.argv[2:]) <= set(PARTS):
        for part in sys.argv[2:] or PARTS:
            write_raw(RAW / f"{part}.json", {part: PARTS[part]()})
    elif sys.argv[1:] == ["show"]:
        for block, text in BLOCKS.items():
            put(DOCS / "planners.md", block, text(load()))
        draw_dimensions(load())
    else:
        sys.exit(__doc__)
