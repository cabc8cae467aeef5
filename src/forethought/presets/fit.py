"""How a model is fitted to logged transitions without an environment."""

import dataclasses
from typing import Annotated

from .bounds import Ahead, Natural, Seed, Within
from .parts import EnsembleConfig


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """The model and how it is judged. Whole episodes are held out: neighbouring steps are nearly the same data."""

    seed: Seed = 0
    """Seed of weights, minibatches and the choice of held-out episodes."""
    holdout: Annotated[float, Within(0, 1, above=True, below=True)] = 0.1
    """Part of the episodes held out to judge the model; at least one."""
    horizon: Ahead = 25
    """Steps ahead up to which predictions are compared with what happened."""
    angles: tuple[Natural, ...] = ()
    """Observation dimensions that are angles in radians; the model sees their sine and cosine."""
    reward: str = "learned"
    """`learned`, or your own function `pkg.mod:fn`."""
    termination: str = "learned"
    """`learned`, `never`, or your own function `pkg.mod:fn`."""
    model: EnsembleConfig = EnsembleConfig(epochs=20, min_steps=2000, batch_size=256)
