"""Dreamer v2: its config and presets (Hafner et al. 2021, and the authors' code)."""

import dataclasses
from typing import Literal

from .bounds import FewOrNone, Fraction, Natural, Pair, Positive
from .world_model import WorldModelConfig

_PAPER_MODEL = WorldModelConfig(
    cell="layer-gru",
    deter=1024,
    hidden=1024,
    latents=32,
    classes=32,
    prior_layers=1,
    unimix=0.0,
    units=400,
    layers=4,
    head_layers=4,
    depth=24,
    norm="none",
    activation="elu",
    symlog=False,
    reward="normal",
    observation_weight=0.5,
    dyn_scale=0.8,
    rep_scale=0.2,
    free_nats=0.0,
    free_nats_of="batch",
)


@dataclasses.dataclass(frozen=True)
class DreamerV2Config:
    """A world model with balanced divergences; an actor and a critic with a target network."""

    random_steps: Natural = 10_000
    """Environment steps with uniform actions before the first update."""
    update_every: int = 5
    """Environment steps between rounds of learning."""
    updates: int = 1
    """Gradient steps in each round."""
    batch_size: int = 16
    """Sequences in a batch."""
    batch_length: Pair = 50
    """Steps in a sequence."""
    imagination: int = 15
    """Steps imagined from every posterior state."""
    imagination_starts: Natural = 0
    """Imagine only from the last so many states of each sequence; 0: from all."""
    discount: Fraction = 0.99
    """Discount per step."""
    td_lambda: Fraction = 0.95
    """Mixture of n-step returns: 0 is one step, 1 the whole imagination."""
    actor_gradient: Literal["auto", "reinforce", "dynamics"] = "auto"
    """How the actor learns: from the score of its actions, or through the model. auto: the first for Discrete actions,
    the second for a Box."""
    entropy: float = 2e-3
    """Weight of the actor's entropy."""
    target_every: int = 100
    """Gradient steps between copies of the critic into its target."""
    actor_layers: FewOrNone = 4
    """Hidden layers of the actor."""
    critic_layers: FewOrNone = 4
    """Hidden layers of the critic."""
    model_rate: Positive = 1e-4
    """Adam's step size for the model."""
    actor_rate: Positive = 8e-5
    """Adam's step size for the actor."""
    critic_rate: Positive = 2e-4
    """Adam's step size for the critic."""
    clip: Positive = 100.0
    """Largest norm of each of the three gradients."""
    weight_decay: float = 1e-6
    """Part of themselves by which weights shrink at every gradient step."""
    model: WorldModelConfig = _PAPER_MODEL


_SMALL = DreamerV2Config(
    random_steps=500,
    update_every=4,
    batch_length=16,
    discount=0.985,
    entropy=3e-3,
    actor_layers=2,
    critic_layers=2,
    model_rate=1e-3,
    actor_rate=3e-4,
    critic_rate=3e-4,
    model=dataclasses.replace(
        _PAPER_MODEL, deter=128, hidden=64, latents=8, classes=8, units=64, layers=2, head_layers=1, depth=4, kernel=3
    ),
)
PRESETS: dict[str, DreamerV2Config] = {
    "default": _SMALL,
    "catch": dataclasses.replace(
        _SMALL,
        random_steps=2500,
        update_every=16,
        imagination=10,
        imagination_starts=4,
        discount=0.97,
        entropy=0.1,
        model_rate=2e-3,
        model=dataclasses.replace(_SMALL.model, observation_weight=5.0, reward_scale=5.0),
    ),
    "paper-atari": DreamerV2Config(
        random_steps=50_000,
        update_every=16,
        discount=0.999,
        entropy=1e-3,
        model_rate=2e-4,
        actor_rate=4e-5,
        critic_rate=1e-4,
        model=dataclasses.replace(
            _PAPER_MODEL, deter=600, hidden=600, dyn_scale=0.08, rep_scale=0.02, continue_scale=5.0
        ),
    ),
    "paper-dmc": DreamerV2Config(
        random_steps=1000,
        entropy=1e-4,
        model_rate=3e-4,
        actor_rate=8e-5,
        critic_rate=8e-5,
        model=dataclasses.replace(_PAPER_MODEL, deter=200, hidden=200, continues=False, free_nats=1.0),
    ),
}
