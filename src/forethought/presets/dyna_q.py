"""Dyna-Q and Dyna-Q+: their config, and the presets of the first (Sutton & Barto 2018, chapter 8)."""

import dataclasses
from typing import Literal

from .bounds import Fraction, Natural


@dataclasses.dataclass(frozen=True)
class TrustConfig:
    """Where planning may use the model; elsewhere values come from real steps alone."""

    min_count: int = 1
    """How often a pair must have been tried for real."""
    max_error: Fraction = 1.0
    """How far the model's outcomes of a pair may be from those that were met: 0 they agree, 1 they have nothing in
    common, as which an outcome with another reward counts too. 1 asks for nothing."""
    reward_tolerance: float = 0.1
    """Rewards that differ by less than this are the same."""


@dataclasses.dataclass(frozen=True)
class DynaQConfig:
    """Q-learning from real steps, and from steps that a learned table imagines."""

    planning_steps: Natural = 10
    """Imagined steps after every real one; 0: Q-learning."""
    step_size: Fraction = 0.1
    """Step size of every update, real or imagined."""
    discount: Fraction = 0.95
    """Discount per step."""
    epsilon: Fraction = 0.1
    """Share of uniformly random actions, while learning."""
    model: Literal["latest", "counts"] = "latest"
    """What imagined steps are drawn from: each pair's `latest` outcome (tasks without chance, or that change), or
    `counts` of all its outcomes (tasks with chance)."""
    bonus: float = 0.0
    """[Dyna-Q+] Weight of the bonus sqrt(real steps since a pair was tried), added to imagined rewards alone."""
    plan_untried: bool = False
    """[Dyna-Q+] Whether untried actions of visited states are planned with, as leading back with reward 0."""
    trust: TrustConfig = TrustConfig()


PRESETS: dict[str, DynaQConfig] = {
    "default": DynaQConfig(),
    "maze": DynaQConfig(planning_steps=50),
    "maze-5": DynaQConfig(planning_steps=5),
    "maze-0": DynaQConfig(planning_steps=0),
    "chance": DynaQConfig(planning_steps=50, discount=0.99, model="counts"),
}
