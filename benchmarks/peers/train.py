"""mbrl-lib's PETS on the cart-pole of PETS: its own training loop, with a row written after every trial.

    .venv-peers/bin/python -m benchmarks.peers.train --rows rows.jsonl

`benchmarks.time_to_oracle` runs it.
"""

import argparse
import contextlib
import os
import pathlib
import tempfile

import mbrl.algorithms.pets
import numpy as np
import torch

from . import mbrl_lib
from .trials import Enough, Trials


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
