"""Expert iteration: its config and presets (Anthony et al. 2017)."""

import dataclasses
from typing import Literal

from .bounds import Fraction, Natural
from .search import OpeningConfig, PolicyValueConfig


@dataclasses.dataclass(frozen=True)
class ExpertIterationConfig:
    """A tree search is the expert, a network its apprentice; each iteration makes both better."""

    update_every: int = 512
    """Moves, all games together, between rounds of gradient steps: an iteration."""
    updates: int = 16
    """Gradient steps in a round."""
    simulations: Natural = 64
    """Simulations of the expert's search."""
    exploration: float = 0.3
    """c of the expert's confidence bounds."""
    prior_weight: float = 10.0
    """Weight of the apprentice's policy in the expert's search."""
    value_weight: float = 0.75
    """Weight of the apprentice's value beside the result of random play; 0: the apprentice has no value."""
    play: Literal["apprentice", "expert"] = "apprentice"
    """Whose moves lead to the positions that are learned from."""
    discount: Fraction = 1.0
    """Discount per move."""
    play_out: int = 1000
    """Most moves of a random play; then nothing more is counted."""
    opening: OpeningConfig = OpeningConfig()
    network: PolicyValueConfig = PolicyValueConfig()


PRESETS: dict[str, ExpertIterationConfig] = {
    "default": ExpertIterationConfig(),
    "tic-tac-toe": ExpertIterationConfig(update_every=1280, updates=64, simulations=32, opening=OpeningConfig(moves=4)),
    "connect-four": ExpertIterationConfig(
        update_every=4096,
        updates=64,
        simulations=32,
        opening=OpeningConfig(moves=4),
        network=PolicyValueConfig(kind="resnet", units=64),
    ),
    "gridworld": ExpertIterationConfig(
        update_every=512, updates=32, simulations=32, discount=0.95, play_out=50, network=PolicyValueConfig(units=64)
    ),
    "paper": ExpertIterationConfig(
        update_every=8192,
        updates=64,
        simulations=1000,
        exploration=0.05,
        prior_weight=100.0,
        network=PolicyValueConfig(kind="resnet", channels=64, blocks=6),
    ),
}
