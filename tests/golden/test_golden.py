"""Small files of expected numbers. Regenerate on purpose, in a commit of its own: python tests/golden/test_golden.py"""

import json
import pathlib
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.pets_cartpole import PetsCartPole
from forethought.learners.model_planning import ensemble_learner
from forethought.models.simulator import Simulator
from forethought.planners.choice import make_planner
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.replay.uniform import UniformReplay
from forethought.types import Given, Transition

FILE = pathlib.Path(__file__).with_name("golden.json")
KINDS = ("cem", "icem", "mppi", "shooting", "gradient")


def plan(kind: str) -> list[float]:
    """The plan for the hanging cart-pole on its true dynamics."""
    env = PetsCartPole()
    config = PlannerConfig(kind=kind, horizon=6, population=20, elites=4, iterations=2, restarts=2, gradient_steps=3)
    planner, model = make_planner(env.spec.action, config), Simulator(env)
    belief = model.init(jnp.array([0.1, 0.2, 0.0, 0.0]), key=jr.key(0))
    _, chosen = eqx.filter_jit(planner)(model, belief, planner.init(), key=jr.key(1))
    return np.asarray(chosen.actions).ravel().tolist()


def update() -> dict[str, float]:
    """Metrics of one fit of a small ensemble to 30 random transitions."""
    env = PetsCartPole()
    obs = 0.3 * jr.normal(jr.key(0), (30, 4))
    action = env.spec.action.sample((30,), key=jr.key(1))
    no = jnp.zeros(30, bool)
    replay = UniformReplay.empty(env.spec, 40).add(Transition(obs, action, obs[:, 0], 0.9 * obs, no, no))
    config = EnsembleConfig(num_members=2, hidden=(8,), particles=2, epochs=2, batch_size=8, holdout_ratio=0.2)
    learner = ensemble_learner(env.spec, config, given=Given(), key=jr.key(2))
    _, metrics = eqx.filter_jit(lambda learner, rows: learner.fit(rows, key=jr.key(3)))(learner, replay)
    return {name: float(value) for name, value in metrics.items()}


def everything() -> dict:
    """What the golden file holds."""
    return {"plans": {kind: plan(kind) for kind in KINDS}, "update": update()}


@pytest.mark.parametrize("kind", KINDS)
def test_plans_are_as_recorded(kind):
    np.testing.assert_allclose(plan(kind), json.loads(FILE.read_text())["plans"][kind], atol=2e-3)


def test_metrics_of_an_update_are_as_recorded():
    assert update() == pytest.approx(json.loads(FILE.read_text())["update"], rel=2e-3)


if __name__ == "__main__":
    FILE.write_text(json.dumps(everything(), indent=1) + "\n")
    sys.stdout.write(f"written with jax {jax.__version__}\n")
