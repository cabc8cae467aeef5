"""Measures what a planner reaches on the true dynamics, and writes the returns that the cards' marks are relative to.

    python reproductions/measure_oracle.py pets-cartpole

writes reproductions/oracles/pets-cartpole.json: 4 seeds of 10 episodes each, CEM 400 x 5, 40 elites, horizon 25.
"""

import json
import pathlib
import sys
import tempfile
import time

import jax
import numpy as np

import forethought
from forethought.presets.pets import PRESETS
from forethought.presets.values import to_dict
from forethought.storage import provenance

SEEDS, EPISODES = 4, 10


def measure(env: str) -> dict:
    """Returns per seed of the paper's CEM on the true dynamics of `env`."""
    config = PRESETS["paper-cartpole"]
    returns, begun = {}, time.perf_counter()
    for seed in range(SEEDS):
        run = forethought.RunConfig(steps=1, seed=seed, oracle=True, eval_every=0, final_episodes=EPISODES, video=False)
        with tempfile.TemporaryDirectory() as folder:
            done = forethought.train("pets", env, config=config, run=run, out=f"{folder}/run", quiet=True)
            returns[seed] = done.metrics("eval")[-1]["returns"]
    everything = np.concatenate(list(returns.values()))
    return {
        "env": env,
        "planner": to_dict(config.planner),
        "returns": returns,
        "mean_return": round(float(everything.mean()), 3),
        "std_over_episodes": round(float(everything.std()), 3),
        "wall_s": round(time.perf_counter() - begun, 1),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(jax.devices()),
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = pathlib.Path(__file__).parent / "oracles" / f"{name}.json"
        path.write_text(json.dumps(measure(name), indent=1) + "\n")
