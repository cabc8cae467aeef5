"""AlphaZero: its config and presets (Silver et al. 2018, and its pseudocode)."""

import dataclasses
from typing import Literal

from .bounds import Fraction, Natural, Positive
from .search import OpeningConfig, PolicyValueConfig


@dataclasses.dataclass(frozen=True)
class AlphaZeroConfig:
    """Self-play by tree search on the true rules, and a network that learns from it."""

    update_every: int = 512
    """Moves, all games together, between rounds of gradient steps."""
    updates: int = 16
    """Gradient steps in a round."""
    simulations: Natural = 64
    """Simulations of a search."""
    play_simulations: int | None = None
    """Simulations of a search that plays for real, without exploring; default: as many as it learns with."""
    rule: Literal["puct", "gumbel"] = "puct"
    """How a search chooses: AlphaZero's own rule, or Gumbel MuZero's, which needs few simulations."""
    discount: Fraction = 1.0
    """Discount per move."""
    c_init: float = 1.25
    """[puct] Weight of the prior."""
    c_base: Positive = 19652.0
    """[puct] Visits after which the prior's weight begins to grow."""
    noise_fraction: Fraction = 0.25
    """[puct] Share of noise in the prior at the root, while playing to learn."""
    noise_alpha: Positive = 0.3
    """[puct] Concentration of that noise; about 10 divided by the usual number of legal moves."""
    temperature_moves: Natural = 30
    """[puct] Moves of each game that are drawn in proportion to visits; later ones are the most visited."""
    considered: int = 16
    """[gumbel] Actions that a search considers at its root."""
    opening: OpeningConfig = OpeningConfig()
    network: PolicyValueConfig = PolicyValueConfig()


_GUMBEL = AlphaZeroConfig(rule="gumbel", simulations=32, opening=OpeningConfig(moves=4))

PRESETS: dict[str, AlphaZeroConfig] = {
    "default": AlphaZeroConfig(),
    "tic-tac-toe": dataclasses.replace(_GUMBEL, update_every=1280, updates=64),
    "connect-four": dataclasses.replace(
        _GUMBEL,
        update_every=4096,
        updates=64,
        play_simulations=128,
        considered=7,
        network=PolicyValueConfig(kind="resnet", units=64),
    ),
    "paper": AlphaZeroConfig(
        update_every=8192,
        updates=64,
        simulations=800,
        network=PolicyValueConfig(kind="resnet", units=256, channels=256, blocks=19, batch_size=4096),
    ),
}
