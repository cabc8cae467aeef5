"""crocoddyl at work on the cart-pole, on command: its compiled models and solvers, nothing of it called from Python
inside a solve.

The rotor inertia of the joints is 1e-12: with exactly 0, crocoddyl 3.2.1 on pinocchio 4.1.0 takes a way that leaves out
gravity. Its compiled models of actuation drive every joint, so the pole's hinge has a motor too, whose use costs
`HINGE`: it stays at zero within 1e-9 N m.
"""

import gc
import time

import crocoddyl
import numpy as np
import pinocchio

from .. import cartpole_problem as cp
from ..workers import serve, warm

HINGE = 1e8
SOLVERS = {"ddp": crocoddyl.SolverDDP, "fddp": crocoddyl.SolverFDDP}


def mechanism() -> "pinocchio.Model":
    """Cart on a rail along x, pole on a hinge about y."""
    model = pinocchio.Model()
    cart = model.addJoint(0, pinocchio.JointModelPX(), pinocchio.SE3.Identity(), "cart")
    model.appendBodyToJoint(cart, pinocchio.Inertia(cp.CART, np.zeros(3), np.zeros((3, 3))), pinocchio.SE3.Identity())
    hinge = model.addJoint(cart, pinocchio.JointModelRY(), pinocchio.SE3.Identity(), "hinge")
    centre = np.array([0.0, 0.0, -cp.LENGTH])
    pole = pinocchio.Inertia(cp.POLE, centre, np.diag([cp.INERTIA] * 3))
    model.appendBodyToJoint(hinge, pole, pinocchio.SE3.Identity())
    model.gravity.linear = np.array([0.0, 0.0, -cp.GRAVITY])
    return model


def problem(x: np.ndarray, horizon: int) -> "crocoddyl.ShootingProblem":
    """The problem from `x`."""
    state = crocoddyl.StateMultibody(mechanism())
    actuation = crocoddyl.ActuationModelFull(state)

    def stage(weights: tuple, force: float | None) -> "crocoddyl.DifferentialActionModelFreeFwdDynamics":
        costs = crocoddyl.CostModelSum(state, actuation.nu)
        away = crocoddyl.ResidualModelState(state, np.array(cp.GOAL), actuation.nu)
        costs.addCost("away", crocoddyl.CostModelResidual(state, quadratic(weights), away), 1.0)
        if force is not None:
            push = crocoddyl.ResidualModelControl(state, actuation.nu)
            costs.addCost("force", crocoddyl.CostModelResidual(state, quadratic((force, HINGE)), push), 1.0)
        model = crocoddyl.DifferentialActionModelFreeFwdDynamics(state, actuation, costs)
        model.armature = np.full(2, 1e-12)
        return model

    running = crocoddyl.IntegratedActionModelEuler(stage(cp.RUNNING, cp.FORCE), cp.DT)
    terminal = crocoddyl.IntegratedActionModelEuler(stage(cp.TERMINAL, None), 0.0)
    made = crocoddyl.ShootingProblem(np.asarray(x, float), [running] * horizon, terminal)
    made.nthreads = 1  # more of them only wait for one another here
    return made


def quadratic(weights: tuple) -> "crocoddyl.ActivationModelWeightedQuad":
    """One half of the weighted squares."""
    return crocoddyl.ActivationModelWeightedQuad(np.array(weights))


class Runs:
    """Problems that are built once and solved on command."""

    def __init__(self) -> None:
        self.solvers, self.cost = {}, 1.0

    def prepare(self, solver: str, starts: list, u: list, cost: float) -> dict:
        """Problems from each of `starts`, with first forces `u`; `cost` scales the tolerance. Says what is found."""
        first = [np.array([force, 0.0]) for force in u]
        self.solvers[solver] = []
        found = []
        for x in starts:
            made = SOLVERS[solver](problem(np.array(x), len(u)))
            made.th_stop = cp.TOLERANCE * (1 + cost)
            self.solvers[solver].append((made, first))
            solved(made, first)
            iterations, states = made.iter + 1, np.array(made.xs)
            found.append({"u": [float(u[0]) for u in made.us], "cost": made.cost, "iterations": iterations})
            found[-1] |= {"last": states[-1].tolist(), "hinge": max(abs(float(u[1])) for u in made.us)}
        return {"found": found, "version": crocoddyl.__version__, "pinocchio": pinocchio.__version__}

    def time(self, solver: str, count: int) -> dict:
        """One timing of solving the first `count` problems one after another."""
        gc.collect()
        return warm(lambda: [solved(made, first) for made, first in self.solvers[solver][:count]])

    def replan(self, solver: str, iterations: int, steps: int, states: list, u: list) -> dict:
        """Milliseconds of every plan along `states`, each from the plan before moved one step on."""
        made = SOLVERS[solver](problem(np.array(states[0]), len(u)))
        plan, taken = [np.array([force, 0.0]) for force in u], []
        for x in states[:steps]:
            begun = time.perf_counter()
            made.problem.x0 = np.array(x)
            solved(made, plan, iterations)
            plan = [*list(made.us)[1:], made.us[-1]]
            taken.append(1e3 * (time.perf_counter() - begun))
        return {"milliseconds": taken}


def solved(made: object, first: list, iterations: int = cp.MAX_ITERATIONS) -> None:
    """Solves from the trajectory of the first controls."""
    made.solve(made.problem.rollout(first), first, iterations, True)


if __name__ == "__main__":
    runs = Runs()
    serve({"prepare": runs.prepare, "time": runs.time, "replan": runs.replan})
