"""Dreamer v1: its config and presets (Hafner et al. 2020, and the authors' code)."""

import dataclasses

from .bounds import FewOrNone, Fraction, Natural, Pair, Positive
from .world_model import WorldModelConfig

_PAPER_MODEL = WorldModelConfig(
    cell="gru-after",
    latent="gaussian",
    deter=200,
    hidden=200,
    latents=30,
    prior_layers=1,
    units=400,
    layers=2,
    head_layers=2,
    depth=16,
    norm="none",
    activation="elu",
    symlog=False,
    reward="normal",
    continues=False,
    continue_scale=10.0,
    observation_weight=0.5,
    dyn_scale=1.0,
    rep_scale=1.0,
    free_nats=3.0,
    free_nats_of="batch",
)


@dataclasses.dataclass(frozen=True)
class DreamerV1Config:
    """A world model; an actor that climbs imagined values through it, and a critic."""

    random_steps: Natural = 5000
    """Environment steps with uniform actions before the first update."""
    update_every: int = 1000
    """Environment steps between rounds of learning."""
    updates: int = 100
    """Gradient steps in each round."""
    batch_size: int = 50
    """Sequences in a batch."""
    batch_length: Pair = 50
    """Steps in a sequence."""
    imagination: int = 15
    """Steps imagined from every posterior state."""
    discount: Fraction = 0.99
    """Discount per step."""
    td_lambda: Fraction = 0.95
    """Mixture of n-step returns: 0 is one step, 1 the whole imagination."""
    action_noise: float = 0.3
    """Standard deviation of the noise on executed actions while training, as a part of half the action range; for
    Discrete actions, the probability of a uniform one."""
    actor_layers: FewOrNone = 4
    """Hidden layers of the actor."""
    critic_layers: FewOrNone = 3
    """Hidden layers of the critic."""
    model_rate: Positive = 6e-4
    """Adam's step size for the model."""
    actor_rate: Positive = 8e-5
    """Adam's step size for the actor."""
    critic_rate: Positive = 8e-5
    """Adam's step size for the critic."""
    clip: Positive = 100.0
    """Largest norm of each of the three gradients."""
    model: WorldModelConfig = _PAPER_MODEL


_SMALL = DreamerV1Config(
    random_steps=1000,
    update_every=100,
    updates=25,
    batch_size=16,
    batch_length=16,
    discount=0.97,
    actor_layers=2,
    critic_layers=2,
    model_rate=1e-3,
    actor_rate=3e-4,
    critic_rate=1e-3,
    model=dataclasses.replace(
        _PAPER_MODEL,
        cell="gru",
        deter=100,
        hidden=100,
        units=64,
        depth=4,
        kernel=3,
        observation_weight=5.0,
        free_nats=0.5,
    ),
)
PRESETS: dict[str, DreamerV1Config] = {"default": _SMALL, "pendulum": _SMALL, "paper": DreamerV1Config()}
