"""Soft actor-critic: its config and presets (Haarnoja et al. 2018, and its variants of critics)."""

import dataclasses
from typing import Literal

from .bounds import Few, Fraction, Natural, Positive, Real


@dataclasses.dataclass(frozen=True)
class SACConfig:
    """A squashed Gaussian actor, several critics and a temperature, learned from replayed transitions."""

    random_steps: Natural = 1000
    """Environment steps with uniform actions before the first update."""
    updates_per_step: int = 1
    """Gradient updates per environment action (with `action_repeat`, per so many environment steps)."""
    batch_size: int = 256
    """Transitions in a batch."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the actor and of each critic."""
    num_critics: Few = 2
    """Critics learned side by side."""
    target: Literal["min", "mean"] = "min"
    """How the critics' values are joined, in targets and in the actor's loss."""
    layer_norm: bool = False
    """Normalise the hidden layers of the critics, which makes many updates per step stable."""
    target_bounds: tuple[Real, Real] | None = None
    """Lowest and highest target of the critics, where the return is known to be bounded; None: any."""
    discount: Fraction = 0.99
    """Discount per action."""
    tau: Fraction = 0.005
    """How far the target critics move towards the critics at every update (Polyak averaging)."""
    initial_temperature: Positive = 1.0
    """Weight of the entropy at first."""
    learn_temperature: bool = True
    """Adjust the temperature so that the policy's entropy meets its target."""
    target_entropy: Real | None = None
    """Entropy to keep, in nats, of actions scaled to [-1, 1]; None: minus the number of action dimensions."""
    actor_rate: Positive = 3e-4
    """Adam's step size for the actor."""
    critic_rate: Positive = 3e-4
    """Adam's step size for the critics."""
    temperature_rate: Positive = 3e-4
    """Adam's step size for the logarithm of the temperature."""


_PENDULUM = SACConfig(updates_per_step=2, hidden=(64, 64), actor_rate=1e-3, critic_rate=1e-3, temperature_rate=1e-3)
PRESETS: dict[str, SACConfig] = {
    "default": SACConfig(),
    "pendulum": _PENDULUM,
    "paper-mujoco": SACConfig(random_steps=10_000),
}
