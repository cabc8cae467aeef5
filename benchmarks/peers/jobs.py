"""A measuring process of a PyTorch library: builds what is named, and times it on command."""

import os
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch

from ..workers import Jobs


def serve(
    kinds: dict[str, Callable[..., Callable[[], Any]]],
    versions: dict[str, str],
    notes: Callable[[Any], dict[str, Any]] = lambda job: {},
) -> None:
    """Times jobs, which `kinds` build from a task and options; `notes` says more of one to the raw file."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    def made(kind: str, task: dict, options: dict) -> tuple[Callable[[], Any], dict[str, Any]]:
        np.random.seed(0)
        torch.manual_seed(0)
        job = kinds[kind](task, **options)
        return job, {**notes(job), "threads": torch.get_num_threads(), "versions": versions}

    Jobs(made).serve()


class Spaces(gymnasium.Env):
    """Nothing but spaces of those sizes, for what only asks a task for them."""

    def __init__(self, obs: int, action: int):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action,), np.float32)


def transitions(obs: int, action: int, count: int) -> tuple[np.ndarray, ...]:
    """Rows of random numbers: observations, actions, next observations, rewards, and ends, of which there are none."""
    rng = np.random.default_rng(0)
    seen, after = rng.normal(size=(2, count, obs)).astype(np.float32)
    done = rng.uniform(-1, 1, (count, action)).astype(np.float32)
    return seen, done, after, rng.normal(size=count).astype(np.float32), np.zeros(count, bool)


def peak(task: dict) -> Callable[[], None]:
    """Products of two square matrices."""
    left, right = (torch.rand(task["size"], task["size"]) for _ in range(2))
    out = torch.empty_like(left)

    def run() -> None:
        for _ in range(task["repeats"]):
            torch.matmul(left, right, out=out)

    return run
