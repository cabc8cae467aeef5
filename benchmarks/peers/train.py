"""mbrl-lib's PETS on the cart-pole of PETS: its own training loop, with a row written after every trial.

    .venv-peers/bin/python -m benchmarks.peers.train --rows rows.jsonl

`benchmarks.time_to_oracle` runs it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import tempfile
import time

import gymnasium
import mbrl.algorithms.pets
import numpy as np
import torch

from . import mbrl_lib


class Enough(Exception):
    """As many trials as were asked for are done."""


class Trials(gymnasium.Wrapper):
    """Writes the return of every trial to a file, random ones included; changes nothing."""

    def __init__(self, env: gymnasium.Env, rows: pathlib.Path, max_trials: int | None):
        super().__init__(env)
        self.rows, self.max_trials = rows, max_trials
        self.env_steps = self.trials = 0
        self.total, self.begun = 0.0, time.perf_counter()

    def reset(self, **options):
        """Of the environment."""
        self.total = 0.0
        return self.env.reset(**options)

    def step(self, action):
        """Of the environment. Raises Enough after the last trial."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        self.env_steps += 1
        if terminated or truncated:
            self.trials += 1
            row = {"kind": "episode", "env_steps": self.env_steps, "return": self.total}
            row |= {"wall_s": time.perf_counter() - self.begun, "cpu_s": time.process_time()}
            with open(self.rows, "a") as file:
                file.write(json.dumps(row) + "\n")
            if self.max_trials is not None and self.trials >= self.max_trials:
                raise Enough
        return obs, reward, terminated, truncated, info


def main() -> None:
    """Trains until the configured number of steps, or of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=pathlib.Path, required=True, help="JSON-lines file, one row per trial")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--max-trials", type=int, help="stop after so many trials, the random one included")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    np.random.seed(options.seed)  # its environment starts from NumPy's global generator
    torch.manual_seed(options.seed)
    cfg, env, termination, reward = mbrl_lib.pets_version(options.seed)
    env = Trials(env, options.rows, options.max_trials)
    env.action_space.seed(options.seed + 2)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        mbrl.algorithms.pets.train(env, termination, reward, cfg, silent=True, work_dir=folder)


if __name__ == "__main__":
    main()
