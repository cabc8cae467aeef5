"""Prioritised sweeping: its config and presets (Moore & Atkeson 1993; Sutton & Barto 2018, section 8.4)."""

import dataclasses
from typing import Literal

from .bounds import Fraction, Positive


@dataclasses.dataclass(frozen=True)
class PrioritisedSweepingConfig:
    """Values from a learned table, updated first where they would change most."""

    planning_steps: int = 5
    """Updates after every real step, at most."""
    threshold: Positive = 1e-4
    """Changes of a value below this are left out."""
    step_size: Fraction = 1.0
    """Step size of an update; 1 puts what the model expects in the old value's place."""
    discount: Fraction = 0.95
    """Discount per step."""
    epsilon: Fraction = 0.1
    """Share of uniformly random actions, while learning."""
    model: Literal["latest", "counts"] = "latest"
    """What the model of a pair is: its `latest` outcome (tasks without chance), or `counts` of all (with chance)."""


PRESETS: dict[str, PrioritisedSweepingConfig] = {
    "default": PrioritisedSweepingConfig(),
    "chance": PrioritisedSweepingConfig(planning_steps=20, discount=0.99, model="counts"),
}
