"""Measures what a planner reaches on the true dynamics, and what random actions do: what the marks are relative to.

    python reproductions/measure_oracle.py pets-cartpole Pendulum-v1 cartpole-swingup

writes reproductions/oracles/NAME.json: 4 seeds of 10 episodes each, CEM 400 x 5, 40 elites, horizon 25. Plans on
Pendulum-v1 are made in our `pendulum`, which equals it step by step, and executed in Gymnasium's.
"""

import sys
import tempfile
import time
from typing import Any

import numpy as np
from writing import HERE, write_raw

import forethought
from forethought.agents.planning import PlanningAgent
from forethought.agents.uniform import Uniform
from forethought.envs.pendulum import Pendulum
from forethought.models.simulator import Simulator
from forethought.presets.pets import PRESETS
from forethought.presets.values import to_dict
from forethought.types import EnvSpec, Given

SEEDS, EPISODES = 4, 10
CONFIG = PRESETS["paper-cartpole"]


def pendulum_oracle(spec: EnvSpec, given: Given) -> PlanningAgent:
    """Plans on the true dynamics of Pendulum-v1."""
    return PlanningAgent(spec, CONFIG, given=Given(given.reward, given.termination, Simulator(Pendulum())))


def uniform(spec: EnvSpec, given: Given) -> Uniform:
    """Random actions."""
    return Uniform(spec)


def play(env: str, agent: Any, *, oracle: bool = False) -> dict[int, list[float]]:
    """Returns per seed of the agent's final evaluation."""
    returns = {}
    for seed in range(SEEDS):
        run = forethought.RunConfig(
            steps=1, seed=seed, oracle=oracle, eval_every=0, final_episodes=EPISODES, video=False
        )
        config = CONFIG if isinstance(agent, str) else None
        with tempfile.TemporaryDirectory() as folder:
            done = forethought.train(agent, env, config=config, run=run, out=f"{folder}/run", quiet=True)
            returns[seed] = done.metrics("eval")[-1]["returns"]
    return returns


def measure(env: str) -> dict[str, Any]:
    """Returns of the paper's CEM on the true dynamics of `env`, and of random actions."""
    begun = time.perf_counter()
    ours = env != "Pendulum-v1"
    returns = play(env, "pets" if ours else pendulum_oracle, oracle=ours)
    chance = play(env, uniform)
    everything = np.concatenate(list(returns.values()))
    return {
        "env": env,
        "planner": to_dict(CONFIG.planner),
        "returns": returns,
        "mean_return": round(float(everything.mean()), 3),
        "std_over_episodes": round(float(everything.std()), 3),
        "random_returns": chance,
        "random_mean_return": round(float(np.mean(list(chance.values()))), 3),
        "wall_s": round(time.perf_counter() - begun, 1),
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write_raw(HERE / "oracles" / f"{name}.json", measure(name))
