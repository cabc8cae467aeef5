"""Solves four tasks from rest by iLQR and DDP, once each, and draws two of the solutions.

    python reproductions/swing_up.py measure   # writes reproductions/swing-up/solved.json
    python reproductions/swing_up.py show      # table and picture of docs/algorithms/ilqr.md, from this file

Each is one problem over the whole horizon, with control limits and a terminal cost, in double precision, from small
random controls (a system at rest stays there under none).
"""

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from PIL import Image
from writing import DOCS, HERE, IMAGES, put, table, write_raw

from forethought.cli import machine
from forethought.envs.acrobot_swingup import AcrobotSwingUp
from forethought.envs.cartpole_swingup import CartPoleSwingUp
from forethought.envs.pendulum import Pendulum
from forethought.envs.quadrotor import HOVER, PlanarQuadrotor
from forethought.planners import ilqr

RAW = HERE / "swing-up" / "solved.json"
# task: environment, start, steps, goal, weights of a step and of the end, of the controls, first controls
TASKS: dict[str, tuple[Any, ...]] = {
    "pendulum": (Pendulum(), (np.pi, 0.0), 80, (0.0, 0.0), (0.1, 0.01), (100.0, 10.0), 0.001, 0.0),
    "cart-pole": (CartPoleSwingUp(), (0.0,) * 4, 40, (0, np.pi, 0, 0), (0.1,) * 4, (100.0,) * 4, 0.001, 0.0),
    "acrobot": (AcrobotSwingUp(), (0.0,) * 4, 120, (np.pi, 0, 0, 0), (0.001,) * 4, (100.0,) * 4, 0.002, 0.0),
    "quadrotor": (PlanarQuadrotor(), (1.5, -1.5, 3.0, 0, 0, 0), 80, (0,) * 6, (0.1,) * 6, (100.0,) * 6, 0.01, HOVER),
}
METHODS = {"iLQR": False, "DDP": True}
FRAMES = 8


def solve(name: str, second_order: bool) -> dict[str, Any]:
    """One task, one method."""
    env, start, steps, goal, running, terminal, control, rest = TASKS[name]
    goal, angles = jnp.array(goal, float), [d for d in range(len(goal)) if d in _angles(name)]

    def squares(weights: tuple[float, ...], x: Any) -> Any:
        away = x - goal
        square = away**2
        for d in angles:
            square = square.at[d].set(2 * (1 - jnp.cos(away[d])))
        return 0.5 * jnp.sum(jnp.array(weights) * square)

    cost = lambda x, u: squares(running, x) + 0.5 * control * jnp.sum((u - rest) ** 2)
    low, high = jnp.array(env.spec.action.low), jnp.array(env.spec.action.high)
    limits = {"low": low, "high": high}
    problem = ilqr.Problem.of(env.advance, cost, lambda x: squares(terminal, x), **limits)
    options = ilqr.Options(second_order=second_order, max_iterations=300, tolerance=1e-6)
    u = rest + 0.02 * (high - low) * jr.normal(jr.key(0), (steps, len(low)))
    found = jax.jit(lambda x, u: ilqr.solve(problem, x, u, options))(jnp.array(start, float), u)
    away = np.array(found.states[-1] - goal)
    away[angles] = (away[angles] + np.pi) % (2 * np.pi) - np.pi
    return {
        "status": ["running", "converged", "gave up"][int(found.status)],
        "iterations": int(found.iterations),
        "cost": round(float(found.cost), 6),
        "away": round(float(np.abs(away).max()), 5),
        "states": np.asarray(found.states).round(5).tolist(),
    }


def _angles(name: str) -> tuple[int, ...]:
    return {"pendulum": (0,), "cart-pole": (1,), "acrobot": (0, 1), "quadrotor": (2,)}[name]


def measure() -> None:
    """All tasks by both methods."""
    found = {}
    for name in TASKS:
        for method, second_order in METHODS.items():
            found[f"{name}, {method}"] = solve(name, second_order)
    write_raw(RAW, {"solved": found})


def solved_table() -> str:
    """How each ended."""
    raw = json.loads(RAW.read_text())["solved"]
    rows = [
        [name, one["status"], str(one["iterations"]), f"{one['cost']:.4f}", f"{one['away']:.4f}"]
        for name, one in raw.items()
    ]
    return table(["task, method", "", "iterations", "cost", "farthest from the goal at the end"], rows)


def picture() -> None:
    """Moments of the cart-pole's and the acrobot's solutions, side by side."""
    raw, rows = json.loads(RAW.read_text())["solved"], []
    for name in ("cart-pole", "acrobot"):
        states = np.array(raw[f"{name}, iLQR"]["states"])
        chosen = np.linspace(0, len(states) - 1, FRAMES).round().astype(int)
        frames = [Image.fromarray(TASKS[name][0].draw(states[t])).crop((80, 0, 400, 320)) for t in chosen]
        rows.append(
            np.concatenate([np.asarray(frame.resize((120, 120), Image.Resampling.LANCZOS)) for frame in frames], 1)
        )
    Image.fromarray(np.concatenate(rows)).quantize(64).save(IMAGES / "ilqr-swing-up.png", optimize=True)


if __name__ == "__main__":
    machine.prepare()
    if "measure" in sys.argv:
        with jax.enable_x64(True):
            measure()
    if "show" in sys.argv:
        put(DOCS / "algorithms" / "ilqr.md", "solved", solved_table())
        picture()
