"""Measures what uniformly random actions get in a Gymnasium environment: what a mark "above random" is held against.

    python reproductions/random_returns.py LunarLanderContinuous-v3

writes reproductions/random/NAME.json: the returns of 400 episodes, seeds 0 to 399.
"""

import sys
from typing import Any

import gymnasium
import numpy as np
from writing import HERE, write_raw

from forethought.diagnostics.statistics import bootstrap_interval

EPISODES = 400


def measure(name: str) -> dict[str, Any]:
    """Returns of random actions, their mean and its 95 % bootstrap interval."""
    env, returns = gymnasium.make(name), []
    for seed in range(EPISODES):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        returns.append(round(total, 3))
    interval = bootstrap_interval(returns, lambda x: x.mean())
    return {
        "env": name,
        "returns": returns,
        "mean_return": round(float(np.mean(returns)), 3),
        "interval": [round(interval.low, 3), round(interval.high, 3)],
    }


if __name__ == "__main__":
    for env in sys.argv[1:]:
        write_raw(HERE / "random" / f"{env}.json", measure(env))
