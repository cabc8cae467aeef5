"""Configs of the parts of agents that search trees and learn from them. Plain numbers; nothing here imports JAX."""

import dataclasses
from typing import Literal

from .bounds import Few, Fraction, Natural, Positive


@dataclasses.dataclass(frozen=True)
class PolicyValueConfig:
    """The network that says what to try first and what a position is worth."""

    kind: Literal["mlp", "resnet"] = "mlp"
    """Dense layers, or residual convolutions (boards only)."""
    units: int = 128
    """Width of the dense layers; of a ResNet, of the one before the value."""
    layers: Few = 2
    """[mlp] Hidden layers."""
    channels: int = 32
    """[resnet] Channels of the convolutions."""
    blocks: Few = 3
    """[resnet] Residual blocks of two convolutions."""
    learning_rate: Positive = 2e-3
    """AdamW's step size."""
    weight_decay: float = 1e-4
    """Part of themselves that the weights lose at each step, times the step size."""
    clip: Positive = 1.0
    """Largest gradient norm."""
    batch_size: int = 256
    """Positions in a gradient step."""


@dataclasses.dataclass(frozen=True)
class OpeningConfig:
    """Random moves at the beginning of a game, so that more positions are met than both sides would choose."""

    moves: Natural = 0
    """Moves of each game (both sides counted) that may be random."""
    chance: Fraction = 0.5
    """Probability of each of them to be random."""
