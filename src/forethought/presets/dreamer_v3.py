"""Dreamer v3: its config and presets (Hafner et al. 2023, and the authors' code)."""

import dataclasses
from typing import Annotated

from .bounds import FLOAT32, FewOrNone, Fraction, Natural, Pair, Positive, Within
from .world_model import WorldModelConfig


@dataclasses.dataclass(frozen=True)
class DreamerV3Config:
    """A world model, and an actor and a critic that learn in its imagination."""

    random_steps: Natural = 1024
    """Environment steps with uniform actions before the first update."""
    train_ratio: Positive = 256.0
    """Replayed steps per action taken: updates are made as often as batch size times length says."""
    batch_size: int = 16
    """Sequences in a batch."""
    batch_length: Pair = 64
    """Steps in a sequence."""
    imagination: int = 15
    """Steps imagined from every posterior state."""
    imagination_starts: Natural = 0
    """Imagine only from the last so many states of each sequence; 0: from all."""
    horizon: Annotated[float, Within(1, FLOAT32, above=True)] = 333.0
    """Steps over which rewards matter: the discount is 1 - 1 / horizon."""
    td_lambda: Fraction = 0.95
    """Mixture of n-step returns: 0 is one step, 1 the whole imagination."""
    entropy: float = 3e-4
    """Weight of the actor's entropy."""
    return_rate: Fraction = 0.01
    """Rate at which the percentiles of returns move."""
    slow_rate: Fraction = 0.02
    """Rate at which the slow critic follows."""
    slow_weight: float = 1.0
    """Weight of the loss that keeps the critic near the slow one."""
    replay_value_weight: float = 0.3
    """Weight of the critic's loss on replayed states."""
    actor_unimix: Fraction = 0.01
    """[Discrete] Share of the uniform distribution in the policy."""
    actor_layers: FewOrNone = 3
    """Hidden layers of the actor."""
    critic_layers: FewOrNone = 3
    """Hidden layers of the critic."""
    learning_rate: Positive = 4e-5
    """Step size of LaProp."""
    behaviour_rate: Positive | None = None
    """Step size for actor and critic; none: the same."""
    warmup: Natural = 1000
    """Updates over which the step size rises from 0."""
    clip: Positive = 0.3
    """Largest gradient norm of a tensor, as a part of the norm of its weights."""
    model: WorldModelConfig = WorldModelConfig()


def _sized(deter: int, hidden: int, classes: int, depth: int, units: int) -> DreamerV3Config:
    return DreamerV3Config(
        model=WorldModelConfig(deter=deter, hidden=hidden, classes=classes, depth=depth, units=units)
    )


_TINY = DreamerV3Config(
    random_steps=500,
    train_ratio=64,
    batch_length=16,
    imagination_starts=4,
    horizon=100,
    entropy=1e-3,
    learning_rate=1e-3,
    behaviour_rate=3e-4,
    warmup=100,
    actor_layers=2,
    critic_layers=2,
    model=WorldModelConfig(
        deter=128, hidden=64, latents=8, classes=8, blocks=1, units=64, layers=2, prior_layers=1, kernel=3
    ),
)

PRESETS: dict[str, DreamerV3Config] = {
    "default": _TINY,
    "tiny": _TINY,
    "catch": dataclasses.replace(_TINY, train_ratio=16, horizon=33, entropy=3e-3),
    "cartpole": dataclasses.replace(
        _TINY, train_ratio=128, horizon=200, model=dataclasses.replace(_TINY.model, observation_weight=100.0)
    ),
    "dmc": dataclasses.replace(
        _TINY,
        train_ratio=128,
        entropy=1e-4,
        behaviour_rate=5e-4,
        model=dataclasses.replace(_TINY.model, observation_weight=20.0),
    ),
    "pendulum-pixels": dataclasses.replace(_TINY, model=dataclasses.replace(_TINY.model, images="dense")),
    "minatar": dataclasses.replace(
        _TINY,
        train_ratio=3,
        imagination=10,
        imagination_starts=8,
        horizon=66,
        entropy=3e-3,
        model=dataclasses.replace(_TINY.model, latents=12, classes=16, images="dense"),
    ),
    "1m": _sized(512, 64, 4, 4, 64),
    "12m": _sized(2048, 256, 16, 16, 256),
    "25m": _sized(3072, 384, 24, 24, 384),
    "50m": _sized(4096, 512, 32, 32, 512),
    "100m": _sized(6144, 768, 48, 48, 768),
    "200m": _sized(8192, 1024, 64, 64, 1024),
    "400m": _sized(12288, 1536, 96, 96, 1536),
}
