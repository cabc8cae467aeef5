"""Coverage of the 90 % intervals by horizon, before and after recalibration, on fresh on-policy episodes.

    python reproductions/doctor_coverage.py measure   # writes reproductions/doctor/coverage.json
    python reproductions/doctor_coverage.py show      # picture and table in docs/doctor.md, from this file

On each of three tasks PETS is trained, its policy plays EPISODES episodes from which the recalibration is made, and as
many again, from other starts, on which coverage is measured.
"""

import dataclasses
import json
import sys
import tempfile
import time
from typing import Any

import jax.random as jr
import numpy as np
from writing import DOCS, HERE, IMAGES, put, table, write_raw

import forethought
from forethought.diagnostics.calibration import coverage_change, recalibrate
from forethought.diagnostics.figures import MUTED, PALETTE, save_figure
from forethought.models.recalibrated import Recalibrated
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PETSConfig
from forethought.presets.values import to_dict
from forethought.run.evaluate import JitEvaluator

RAW = HERE / "doctor" / "coverage.json"
EPISODES, HORIZON, SEED = 40, 20, 0
GOAL = (0.87, 0.93)
MODEL = EnsembleConfig(hidden=(64, 64), particles=5, epochs=5, min_steps=1000)
SMALL = PlannerConfig(horizon=15, population=60, elites=8, iterations=2)
TASKS = {
    "pets-cartpole": (2000, PETSConfig(model=MODEL, planner=dataclasses.replace(SMALL, horizon=25, population=100))),
    "pendulum": (2000, PETSConfig(model=MODEL, planner=SMALL)),
    "point-mass": (1000, PETSConfig(model=MODEL, planner=SMALL)),
}


def measure() -> dict[str, Any]:
    """Rows of (horizon, before, after, starts) for every task."""
    found: dict[str, Any] = {"episodes": EPISODES, "seed": SEED, "tasks": {}}
    for env, (steps, config) in TASKS.items():
        begun = time.perf_counter()
        run = forethought.RunConfig(steps=steps, seed=SEED, eval_every=0, final_episodes=2, video=False)
        with tempfile.TemporaryDirectory() as folder:
            trained = forethought.train("pets", env, config=config, run=run, out=f"{folder}/run", quiet=True)
            state = trained.agent_state()
        setup = trained.setup
        evaluator = JitEvaluator(setup.agent, setup.env, num_episodes=EPISODES)
        made, fresh = (evaluator(state, key=jr.key(1000 + i)) for i in range(2))
        model, spec = setup.agent.model(state), setup.env.spec
        recalibration = recalibrate(model, made.trajectories, spec, horizon=HORIZON, key=jr.key(1))
        better = Recalibrated(model, recalibration, spec, given=setup.functions)
        change = coverage_change(model, better, fresh.trajectories, spec, horizon=HORIZON, key=jr.key(2))
        found["tasks"][env] = {
            "steps": steps,
            "config": json.dumps(to_dict(config)),
            "mean_return": round(float(np.mean(fresh.returns)), 3),
            "rows": [[r["horizon"], round(r["before"], 4), round(r["after"], 4), r["starts"]] for r in change.rows()],
            "wall_s": round(time.perf_counter() - begun, 1),
        }
        sys.stderr.write(f"{env}: {found['tasks'][env]['rows']}\n")
    return found


def table_rows(raw: dict[str, Any]) -> list[list[str]]:
    """Per task the lowest and highest coverage over the horizons, before and after."""
    span = lambda values: f"{100 * min(values):.1f} to {100 * max(values):.1f} %"
    lines = []
    for env, task in raw["tasks"].items():
        before, after = ([row[i] for row in task["rows"]] for i in (1, 2))
        inside = sum(GOAL[0] <= a <= GOAL[1] for a in after)
        lines.append([f"`{env}`", span(before), span(after), f"{inside} of {len(after)}"])
    return lines


def draw(raw: dict[str, Any]) -> None:
    """One panel per task: coverage by horizon, before and after, and the goal."""

    def fill(figure: Any) -> None:
        panels = figure.subplots(1, len(raw["tasks"]), sharey=True)
        for axes, (env, task) in zip(panels, raw["tasks"].items()):
            steps, before, after, _ = np.array(task["rows"]).T
            axes.axhspan(100 * GOAL[0], 100 * GOAL[1], color="#EAEEF2", linewidth=0)
            for values, colour, label in ((before, PALETTE[1], "before"), (after, PALETTE[0], "after")):
                axes.plot(steps, 100 * values, color=colour, linewidth=2, label=label)
            axes.set_title(env)
            axes.set_xlabel("steps ahead")
            axes.set_xticks([1, 5, 10, 15, 20])
        panels[0].set_ylabel("inside 90 % intervals, %")
        panels[-1].legend(frameon=False, loc="lower right")
        note = f"Shaded: 87 to 93 %. {raw['episodes']} fresh episodes of the policy each, none used to recalibrate."
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "doctor-coverage.png", fill, size=(9.0, 3.2))


def show(raw: dict[str, Any]) -> None:
    """Picture and table, into the page."""
    draw(raw)
    head = ["task", "before", "after", "horizons within 87 to 93 %"]
    put(DOCS / "doctor.md", "coverage", table(head, table_rows(raw)))


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        write_raw(RAW, measure())
    else:
        show(json.loads(RAW.read_text()))
