"""Deep Q-learning: its config and presets (Mnih et al. 2015, van Hasselt et al. 2016)."""

import dataclasses

from .bounds import Fraction, Natural, Positive


@dataclasses.dataclass(frozen=True)
class DQNConfig:
    """A network of action values, learned from replayed transitions."""

    random_steps: Natural = 1000
    """Environment steps with uniform actions before the first update."""
    update_every: int = 1
    """Environment actions between rounds of learning."""
    updates: int = 2
    """Gradient updates in each round."""
    batch_size: int = 256
    """Transitions in a batch."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    layer_norm: bool = True
    """Normalise the hidden layers, which keeps the values from running away."""
    double: bool = True
    """Let the network choose the action that the target network values (double Q-learning)."""
    discount: Fraction = 0.99
    """Discount per action."""
    target_every: int = 1
    """Gradient updates between moves of the target network."""
    tau: Fraction = 0.01
    """How far it moves towards the network: 1 is a copy; small, with `target_every` 1, is Polyak averaging."""
    error_clip: Positive | None = None
    """Size of an error from which on its loss is linear, as in the paper (Huber's loss); None: always squared."""
    learning_rate: Positive = 2e-3
    """Adam's step size."""
    decay_steps: int | None = None
    """Environment steps over which the step size falls to 0, linearly; None: it stays."""
    max_grad_norm: Positive = 10.0
    """Largest norm of the gradient."""
    epsilon_first: Fraction = 1.0
    """Probability of a uniform action at first."""
    epsilon_last: Fraction = 0.04
    """The same after `epsilon_steps`."""
    epsilon_steps: int = 10_000
    """Environment steps over which it falls, linearly."""


PRESETS: dict[str, DQNConfig] = {
    "default": DQNConfig(),
    "cartpole": DQNConfig(decay_steps=50_000),
    "paper-atari": DQNConfig(
        random_steps=200_000,
        update_every=4,
        updates=1,
        batch_size=32,
        hidden=(512,),
        layer_norm=False,
        target_every=10_000,
        tau=1.0,
        error_clip=1.0,
        learning_rate=2.5e-4,
        epsilon_last=0.1,
        epsilon_steps=4_000_000,
    ),
}
