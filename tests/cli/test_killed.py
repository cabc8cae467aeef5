"""MBPO from the command line, killed outright again and again: it goes on bit for bit, its pool included."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from forethought.storage.run_folder import RunFolder

TINY = [
    *("--steps", "70", "--eval-every", "0", "--final-episodes", "1", "--checkpoint-seconds", "0.02", "--quiet"),
    *("--no-video", "--threads", "1"),
    *("--sac.random-steps", "20", "--sac.updates-per-step", "2", "--sac.hidden", "8", "--sac.batch-size", "16"),
    *("--model.num-members", "2", "--model.num-elites", "2", "--model.particles", "2", "--model.hidden", "8"),
    *("--model.epochs", "2", "--model.min-steps", "0", "--model-every", "10", "--rollouts", "40"),
    *("--rollout-length", "1", "2", "1", "3", "--epoch-steps", "15", "--seed", "3"),
]


def started(*command):
    return subprocess.Popen([sys.executable, "-m", "forethought", *map(str, command)], stderr=subprocess.PIPE)


def arrays(path):
    """The last checkpoint."""
    with np.load(RunFolder.open(path).checkpoints()[70]) as held:
        return {name: held[name] for name in held.files if name.startswith(".")}


@pytest.mark.slow
def test_killed_outright_again_and_again_it_ends_as_if_it_had_not_been(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    child = started("train", "mbpo", "InvertedPendulum-v5", *TINY, "--out", whole)
    assert child.wait() == 0, child.stderr.read().decode()
    draw, command, killed_at = random.Random(0), ("train", "mbpo", "InvertedPendulum-v5", *TINY, "--out", cut), []
    for _ in range(4):
        child, before = started(*command), max(RunFolder.open(cut).checkpoints(), default=0) if cut.exists() else 0
        wanted = before + draw.randint(1, 20)
        while child.poll() is None and max(saved(cut), default=0) < wanted:
            time.sleep(0.005)
        child.kill()
        child.wait()
        killed_at.append(max(saved(cut), default=0))
        command = ("resume", cut, "--quiet", "--threads", "1")
    child = started("resume", cut, "--quiet", "--threads", "1")
    assert child.wait() == 0, child.stderr.read().decode()
    assert len(set(killed_at)) > 1 and min(killed_at) < 70
    one, other = arrays(whole), arrays(cut)
    assert one.keys() == other.keys() and any("data['model']" in name for name in one)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def saved(path):
    names = os.listdir(path / "checkpoints") if (path / "checkpoints").exists() else []
    return [int(name[5:-4]) for name in names if name.startswith("step-") and name.endswith(".npz")]
