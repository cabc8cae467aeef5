"""Optimal control beside crocoddyl: the same discretised cart-pole swing-up, solved alone, 64 at once, and replanned.

    python -m benchmarks.optimal_control

Three parts, alternating in one run, each arm on one thread:

  solve   one problem from rest, to convergence: iLQR and DDP here (float64, compiled once), crocoddyl's DDP and FDDP
          (compiled models; its "DDP" leaves out the dynamics' second derivatives, as iLQR does)
  batch   64 problems from different starts: one call here (`solve_many`), one after another there
  replan  every plan of a closed loop at horizon 50, one or two iterations from the plan before: p50 and p99

Every solution's controls are rolled out in our dynamics and cost, so that costs can be compared. Each arm's problem is
built, and ours compiled, before it is timed. A few minutes.
"""

import time
from collections.abc import Callable
from typing import Any

from forethought.cli import machine

from . import cartpole_problem as cp
from . import options
from .latency import described
from .peers.install import python_of
from .record import Recorder, summary
from .workers import Worker, thread_env, timed

PEERS = ("ddp", "fddp")


def functions() -> tuple[Callable, Callable, Callable]:
    """Dynamics, cost and terminal cost, in jax.numpy."""
    import jax.numpy as jnp

    def dynamics(x: Any, u: Any) -> Any:
        sin, cos = jnp.sin(x[1]), jnp.cos(x[1])
        coupling = -cp.POLE * cp.LENGTH * cos
        inertia, mass = cp.INERTIA + cp.POLE * cp.LENGTH**2, cp.CART + cp.POLE
        push = u[0] - cp.POLE * cp.LENGTH * sin * x[3] ** 2
        torque = -cp.POLE * cp.GRAVITY * cp.LENGTH * sin
        determinant = mass * inertia - coupling**2
        acceleration = jnp.stack([inertia * push - coupling * torque, mass * torque - coupling * push]) / determinant
        velocity = x[2:] + cp.DT * acceleration
        return jnp.concatenate([x[:2] + cp.DT * velocity, velocity])

    squares = lambda weights, x: 0.5 * jnp.sum(jnp.array(weights) * (x - jnp.array(cp.GOAL)) ** 2)
    cost = lambda x, u: cp.DT * (squares(cp.RUNNING, x) + 0.5 * cp.FORCE * u[0] ** 2)
    return dynamics, cost, lambda x: squares(cp.TERMINAL, x)


class Ours:
    """Compiled solvers of the problem, all in double precision."""

    def __init__(self) -> None:
        import jax

        from forethought.planners import ilqr

        self.jax, self.ilqr = jax, ilqr
        self.problem = ilqr.Problem.of(*functions())
        self.options = {
            "iLQR": ilqr.Options(tolerance=cp.TOLERANCE, max_iterations=cp.MAX_ITERATIONS),
            "DDP": ilqr.Options(tolerance=cp.TOLERANCE, max_iterations=cp.MAX_ITERATIONS, second_order=True),
        }

    def solver(self, name: str, batch: bool = False) -> Callable:
        """(x, u) -> Solution; with leading axes if `batch`."""
        solve = self.ilqr.solve_many if batch else self.ilqr.solve
        return self.jax.jit(lambda x, u: solve(self.problem, x, u, self.options[name]))

    def cost(self, x: Any, u: Any) -> float:
        """Of controls, whoever found them."""
        return float(self.ilqr.start(self.problem, x, u).cost)

    def replanner(self, iterations: int) -> Callable:
        """(x, plan) -> (force, plan one step on)."""
        jnp, options = self.jax.numpy, self.options["iLQR"]

        def replan(x: Any, u: Any) -> tuple[Any, Any]:
            found = self.ilqr.start(self.problem, x, u)
            for _ in range(iterations):
                found = self.ilqr.iterate(self.problem, found, options)
            return found.u[0], jnp.concatenate([found.u[1:], found.u[-1:]])

        return self.jax.jit(replan)

    def loop(self, iterations: int, steps: int, u: Any) -> tuple[list[float], list[list[float]]]:
        """Milliseconds of every plan of a closed loop from rest, and the states it went through."""
        import numpy as np

        replan, move = self.replanner(iterations), self.jax.jit(self.problem.step)
        x, states, taken = np.zeros(4), [], []
        self.jax.block_until_ready((replan(x, u), move(x, u[0], 0)))
        for _ in range(steps):
            states.append([float(v) for v in x])
            begun = time.perf_counter()
            force, u = replan(x, u)
            force = np.asarray(force)
            taken.append(1e3 * (time.perf_counter() - begun))
            x = np.asarray(move(x, force, 0)[0])
        return taken, states


def starts(count: int) -> Any:
    """States near hanging `[count, 4]`; the first is at rest."""
    import numpy as np

    rng = np.random.default_rng(0)
    return np.concatenate([np.zeros((1, 4)), rng.normal(scale=(0.2, 0.3, 0.2, 0.3), size=(count - 1, 4))])


def compare(given: Any, recorder: Recorder, peer: Worker | None) -> None:
    """Times all arms in turn."""
    import jax
    import numpy as np

    ours, x = Ours(), starts(given.batch)
    first = 0.1 * np.random.default_rng(1).normal(size=cp.HORIZON)
    u = np.broadcast_to(first[None, :, None], (given.batch, cp.HORIZON, 1))
    jobs: dict[str, Callable[[], Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name in ours.options:
        for label, solve, inputs in (
            (f"{name}, 1", ours.solver(name), (x[0], u[0])),
            (f"{name}, {given.batch}", ours.solver(name, batch=True), (x, u)),
        ):
            begun = time.perf_counter()
            solution = jax.block_until_ready(solve(*inputs))
            compile_s = round(time.perf_counter() - begun, 2)
            jobs[label] = lambda solve=solve, inputs=inputs: timed(lambda: jax.block_until_ready(solve(*inputs)))
            costs = np.atleast_1d(np.asarray(solution.cost)).round(6).tolist()
            iterations = np.atleast_1d(np.asarray(solution.iterations)).tolist()
            converged = int((np.asarray(solution.status) == ours.ilqr.CONVERGED).sum())
            found[label] = {"costs": costs, "iterations": iterations, "converged": converged, "first_s": compile_s}
    if peer is not None:
        scale = found["iLQR, 1"]["costs"][0]
        for name in PEERS:
            said = peer.call("prepare", solver=name, starts=x.tolist(), u=first.tolist(), cost=scale)
            kept = said["found"]
            costs = [round(ours.cost(at, np.array(one["u"])[:, None]), 6) for at, one in zip(x, kept)]
            iterations, label = [one["iterations"] for one in kept], f"crocoddyl {name.upper()}"
            own = {"own_costs": [round(one["cost"], 6) for one in kept], "hinge": max(one["hinge"] for one in kept)}
            versions = {"crocoddyl": said["version"], "pinocchio": said["pinocchio"]}
            for count in (1, given.batch):
                arm = {"costs": costs[:count], "iterations": iterations[:count], **own, "versions": versions}
                found[f"{label}, {count}"] = arm
                call = lambda name=name, count=count: peer.call("time", solver=name, count=count)
                jobs[f"{label}, {count}"] = call
    timings: dict[str, list[float]] = {label: [] for label in jobs}
    order = list(jobs)
    for turn in range(given.rounds):
        for label in order[turn % len(order) :] + order[: turn % len(order)]:
            timings[label].append(jobs[label]()["wall_s"])
        arms = {name: {**found[name], "wall_s": summary(times), "all": times} for name, times in timings.items()}
        recorder.save(solve=arms)
    for name, times in timings.items():
        median = summary(times)["median"]
        recorder.say(f"{name:>20}: {1e3 * median:9.2f} ms, cost from rest {found[name]['costs'][0]:.6f}")


def replanning(given: Any, recorder: Recorder, peer: Worker | None) -> None:
    """Times every plan of closed loops; the peer replans along the states that ours went through."""
    import numpy as np

    ours, parts = Ours(), {}
    first = np.asarray(ours.solver("iLQR")(starts(1)[0], 0.1 * np.ones((cp.MPC_HORIZON, 1))).u)
    for iterations in (1, 2):
        taken, states = ours.loop(iterations, given.steps, first)
        away = abs(np.array(states[-1]) - np.array(cp.GOAL)).max()
        parts[f"iLQR, {iterations}"] = described(taken, last_away=round(float(away), 4))
        if peer is not None:
            plan = {"states": states, "u": first[:, 0].tolist(), "iterations": iterations, "steps": given.steps}
            said = peer.call("replan", solver="ddp", **plan)
            parts[f"crocoddyl DDP, {iterations}"] = described(said["milliseconds"])
        recorder.save(replan=parts)
    for name, part in parts.items():
        rate = 1e3 / part["p50_ms"]
        recorder.say(f"{name:>20}: p50 {part['p50_ms']:.3f} ms ({rate:,.0f} a second), p99 {part['p99_ms']:.3f} ms")


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "optimal_control"))
    parser.set_defaults(threads=1)
    parser.add_argument("--batch", type=options.positive, default=64, help="problems at once (%(default)s)")
    parser.add_argument("--rounds", type=options.positive, default=20, help="timings of every arm (%(default)s)")
    parser.add_argument("--steps", type=options.positive, default=2000, help="plans of each closed loop (%(default)s)")
    given = parser.parse_args(argv)
    machine.prepare(given.threads)
    import jax

    settings = {name: getattr(given, name) for name in ("threads", "batch", "rounds", "steps")}
    settings["problem"] = {name: value for name, value in vars(cp).items() if name.isupper()}
    recorder = Recorder(given.out, benchmark="optimal_control", settings=settings, quiet=given.quiet)
    with jax.enable_x64(True):
        if given.no_peers:
            compare(given, recorder, None)
            replanning(given, recorder, None)
        else:
            module, python = "benchmarks.peers.crocoddyl_cartpole", python_of(given.venv)
            with Worker("crocoddyl", module, python=python, env=thread_env(given.threads)) as peer:
                recorder.watch.workers.add(peer.pid)
                compare(given, recorder, peer)
                replanning(given, recorder, peer)
    recorder.say(f"wrote {given.out}")


if __name__ == "__main__":
    main()
