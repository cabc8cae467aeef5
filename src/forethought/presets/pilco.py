"""PILCO: its config and presets (Deisenroth & Rasmussen 2011, and the scenarios of the authors' software)."""

import dataclasses
from typing import Literal

from .bounds import Positive, Real
from .parts import GPConfig


@dataclasses.dataclass(frozen=True)
class PILCOConfig:
    """Improve a policy by the gradients of its expected return in Gaussian processes, run it for one trial, repeat."""

    random_steps: int = 40
    """Environment steps with uniform actions before the first update: the first trials, whole ones."""
    random_hold: int = 1
    """Steps for which each of these actions is held."""
    update_every: int = 40
    """Environment steps between updates: one trial."""
    horizon: int = 40
    """Steps ahead over which the expected return is summed."""
    policy: Literal["rbf", "linear"] = "rbf"
    """Radial basis functions, or linear in the features; squashed into the bounds of the actions."""
    centres: int = 30
    """Of the radial basis functions."""
    restarts: int = 1
    """Policies that each update improves: the last one, then fresh ones. The best by expected return is taken."""
    evaluations: int = 100
    """Evaluations of the expected return and its gradient for each of these policies, at most."""
    start_mean: tuple[Real, ...] | None = None
    """Mean of the first observation; default: the mean of those seen."""
    start_std: Positive = 0.1
    """Standard deviation of the first observation, in every dimension."""
    model: GPConfig = GPConfig()


PRESETS: dict[str, PILCOConfig] = {
    "default": PILCOConfig(),
    "pendulum": PILCOConfig(
        random_hold=5,
        start_mean=(0.0, 0.0),
        centres=20,
        restarts=3,
        evaluations=150,
        model=GPConfig(max_points=160),
    ),
    "cartpole": PILCOConfig(start_mean=(0.0,) * 4, model=GPConfig(max_points=160)),
    "paper-pendulum": PILCOConfig(start_mean=(0.0, 0.0), centres=20, evaluations=2250, model=GPConfig(max_points=300)),
    "paper-cartpole": PILCOConfig(start_mean=(0.0,) * 4, centres=10, evaluations=4500, model=GPConfig(max_points=300)),
}
