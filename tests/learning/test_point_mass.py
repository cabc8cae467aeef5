"""Each agent learns the smallest task that can fail it: 600 steps of the point mass, which random actions lose."""

import dataclasses

import jax.random as jr
import pytest
from tiny import KINDS, ONE_NETWORK

from forethought.agents.planning import PlanningAgent
from forethought.envs.point_mass import PointMass, point_mass_reward
from forethought.presets.mpc_ladder import MPCLadderConfig
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PETSConfig
from forethought.presets.random_shooting import RandomShootingConfig
from forethought.replay.uniform import UniformReplay
from forethought.run.evaluate import JitEvaluator
from forethought.run.jit import JitDriver
from forethought.types import Given, never_terminates

pytestmark = pytest.mark.slow

PLANNER = PlannerConfig(horizon=15, population=100, elites=10, iterations=3)
NETWORK = dataclasses.replace(ONE_NETWORK, hidden=(32,), min_steps=600, batch_size=32)
SCHEDULE = {"random_steps": 200, "update_every": 200}
AGENTS = {
    "pets": PETSConfig(
        model=EnsembleConfig(num_members=3, particles=3, hidden=(32,), min_steps=600), planner=PLANNER, **SCHEDULE
    ),
    "random-shooting": RandomShootingConfig(
        model=NETWORK, planner=PlannerConfig(kind="shooting", horizon=15, population=500, iterations=1), **SCHEDULE
    ),
    **{
        f"mpc-ladder-{v}": MPCLadderConfig(version=v, model=NETWORK, planner=PLANNER, **SCHEDULE)
        for v in ("0.5", "1.0", "1.5")
    },
}


def learn(name: str, seed: int) -> tuple[float, float]:
    """Mean evaluation return before any learning and after 600 steps."""
    env = PointMass()
    kind = KINDS.get(name, PlanningAgent)
    agent = kind(env.spec, AGENTS[name], given=Given(point_mass_reward, never_terminates))
    driver = JitDriver(agent, env)
    evaluate = JitEvaluator(agent, env, num_episodes=4)
    progress = driver.start({"env": UniformReplay.empty(env.spec, 600)}, seed=seed)
    before = evaluate(progress.agent_state, key=jr.key(100)).returns.mean()
    *_, end = driver.train(progress, total_steps=600)
    return float(before), float(evaluate(end.agent_state, key=jr.key(100)).returns.mean())


# Measured over seeds 0 to 2: pets -5.28 to -5.25, random shooting -6.26 to -6.12, the ladder -7.55 to -7.13 (0.5),
# -7.13 to -7.01 (1.0) and -5.26 to -5.23 (1.5). Planning in untrained networks returns below -200.
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pets", -6.0),
        ("random-shooting", -7.5),
        ("mpc-ladder-0.5", -9.0),
        ("mpc-ladder-1.0", -9.0),
        ("mpc-ladder-1.5", -6.0),
    ],
)
def test_agent_learns_the_point_mass_in_600_steps(name, wanted):
    before, after = learn(name, seed=0)
    assert before < -100 and after > wanted
