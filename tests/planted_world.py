"""Logged episodes of a small driven pendulum-like system, healthy, for faults to be planted in."""

import numpy as np

from forethought.diagnostics.logged import Logged, Rows
from forethought.types import Box, EnvSpec, Transition

STEPS = 40
SPEC = EnvSpec("planted", 3, Box((-2.0,), (2.0,)), max_episode_steps=STEPS)


def rows(episodes: int = 12, *, seed: int = 0, bound: float = 2.0, gain: float = 1.0) -> Rows:
    """Position, velocity and a slow drift; actions beyond `bound` act like it; the force is `gain` times the action."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(0, 0.3, episodes), rng.normal(0, 0.3, episodes), 5 + rng.normal(size=episodes)])
    kept = []
    for t in range(STEPS):
        action = rng.uniform(-2, 2, (episodes, 1))
        force = gain * np.clip(action[:, 0], -bound, bound)
        velocity = x[:, 1] + 0.2 * (force - np.sin(x[:, 0]) - 0.3 * x[:, 1])
        y = np.column_stack([x[:, 0] + 0.2 * velocity, velocity, x[:, 2] + 0.05 * np.cos(x[:, 0])])
        reward = np.cos(y[:, 0]) - 0.1 * action[:, 0] ** 2
        kept.append((x, action, reward, y, np.zeros(episodes, bool), np.full(episodes, t == STEPS - 1)))
        x = y
    columns = [np.swapaxes(np.stack(c), 0, 1) for c in zip(*kept)]
    flat = [c.reshape(-1, *c.shape[2:]) for c in columns]
    return Rows(*(c if c.dtype == bool else c.astype(np.float32) for c in flat))


def logged(data: Rows) -> Logged:
    """Cut into episodes."""
    return Logged.of_rows(Transition(*data))
