"""Guided policy search: config and presets (Montgomery & Levine 2016, and the authors' code)."""

import dataclasses

from .bounds import Positive
from .local_control import LocalControlConfig


@dataclasses.dataclass(frozen=True)
class ImitationConfig:
    """The network, and how it is fitted to the local controllers."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    learning_rate: Positive = 1e-3
    """Adam's step size; it falls to nothing along each round."""
    steps: int = 3000
    """Gradient steps in a round."""
    batch_size: int = 256
    """Visited states in a gradient step."""


@dataclasses.dataclass(frozen=True)
class GPSConfig:
    """One network from several local controllers, by mirror descent: the controllers stay near the network."""

    control: LocalControlConfig = LocalControlConfig(starts=8)
    policy: ImitationConfig = ImitationConfig()


PRESETS: dict[str, GPSConfig] = {
    "default": GPSConfig(),
    "point-mass": GPSConfig(),
    "reacher": GPSConfig(LocalControlConfig(starts=24), ImitationConfig(hidden=(32, 32))),
    "block-pushing": GPSConfig(LocalControlConfig(starts=32), ImitationConfig(hidden=(32, 32))),
    "paper": GPSConfig(
        LocalControlConfig(starts=4, kl_step=2.0, initial_std=1.0, prior_episodes=40),
        ImitationConfig(hidden=(42, 42), batch_size=25),
    ),
}
