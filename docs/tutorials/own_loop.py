"""The training loop in your own hands: a driver is a generator of everything that a run consists of."""

import jax

from forethought import Given, make_env
from forethought.agents.planning import PlanningAgent
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PETSConfig
from forethought.run.evaluate import JitEvaluator
from forethought.run.jit import JitDriver

env = make_env("point-mass")
config = PETSConfig(
    random_steps=100,
    update_every=100,
    model=EnsembleConfig(hidden=(32,), particles=5, min_steps=500),
    planner=PlannerConfig(horizon=15, population=64, elites=8, iterations=3),
)
agent = PlanningAgent(env.spec, config, given=Given(env.reward_function, env.termination_function))

driver = JitDriver(agent, env)  # forethought.run.steps.StepDriver for environments stepped from Python
start = driver.start(agent.data(capacity=400, num_envs=1), seed=0)
for progress in driver.train(start, total_steps=400):
    for name, metrics in progress.metrics.items():  # of the rounds that were called since the last yield
        print(f"step {int(progress.env_steps)}: {name} loss {float(metrics['model/loss']):.3f}")
# A progress is valid until the generator goes on, because its buffers are donated; the last one stays valid.

evaluation = JitEvaluator(agent, env, num_episodes=4)(progress.agent_state, key=jax.random.key(1))
print("returns", evaluation.returns)
