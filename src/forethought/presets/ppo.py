"""Proximal policy optimisation: its config and presets (Schulman et al. 2017)."""

import dataclasses

from .bounds import Fraction, Positive


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """A stochastic policy and a value, learned from the steps since the last round alone."""

    num_steps: int = 1024
    """Environment steps between rounds, of all environments together."""
    epochs: int = 10
    """Passes over these steps in each round."""
    num_minibatches: int = 16
    """Gradient steps in each pass."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the actor and of the critic."""
    discount: Fraction = 0.99
    """Discount per action."""
    gae_lambda: Fraction = 0.95
    """Mixture of n-step advantages: 0 is one step, 1 all that is left of the episode."""
    clip: Positive = 0.2
    """How far the probability ratio may move from 1 before the objective is flat."""
    value_clip: Positive | None = None
    """How far values may move from the old ones before their loss is flat; None: any."""
    value_weight: float = 0.5
    """Weight of the value's loss."""
    entropy_weight: float = 0.0
    """Weight of the bonus for the policy's entropy."""
    normalise_advantages: bool = True
    """Bring the advantages of each minibatch to mean 0 and variance 1."""
    initial_std: Positive = 1.0
    """Standard deviation of continuous actions at first, in units of half the range."""
    learning_rate: Positive = 3e-4
    """Adam's step size."""
    decay_steps: int | None = None
    """Environment steps over which the step size falls to 0, linearly; None: it stays."""
    max_grad_norm: Positive = 0.5
    """Largest norm of the gradient."""


PRESETS: dict[str, PPOConfig] = {
    "default": PPOConfig(),
    "cartpole": PPOConfig(learning_rate=1e-3, decay_steps=100_000),
    "pendulum": PPOConfig(num_steps=1024, discount=0.9, learning_rate=1e-3),
    "paper-mujoco": PPOConfig(num_steps=2048, num_minibatches=32),
}
