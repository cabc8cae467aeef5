"""How an agent that plans in a model goes about it: what PETS, random shooting, the ladder and iLQR differ in."""

import dataclasses
from typing import Protocol

from .parts import EnsembleConfig, PlannerConfig


@dataclasses.dataclass(frozen=True)
class Planning:
    """When it acts at random, fits and plans, and how its data are treated. Not set by users: configs say it."""

    random_steps: int
    """Environment steps with uniform actions before the first fit."""
    update_every: int | None
    """Environment steps between fits; None: one fit only."""
    random_hold: int = 1
    """Actions for which each uniform action is held."""
    whole_plans: bool = False
    """Execute all of a plan before planning again, in place of its first action."""
    action_noise: float = 0.0
    """Standard deviation of the noise on executed actions while training, as a part of half the action range."""
    data_noise: float = 0.0
    """Standard deviation of the noise on the data of a fit, in normalised units."""
    new_data_fraction: float | None = None
    """Part of each minibatch drawn from data gathered by planning; None: rows as they are."""


class PlanningConfig(Protocol):
    """What configs of planning agents have in common."""

    @property
    def model(self) -> EnsembleConfig:
        """The model."""
        ...

    @property
    def planner(self) -> PlannerConfig:
        """The planner."""
        ...

    @property
    def planning(self) -> Planning:
        """How they are used. Raises ValueError for invalid settings."""
        ...
