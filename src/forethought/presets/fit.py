"""How a model is fitted to logged transitions without an environment."""

import dataclasses

from .parts import EnsembleConfig


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """The model and how it is judged. Whole episodes are held out: neighbouring steps are nearly the same data."""

    seed: int = 0
    """Seed of weights, minibatches and the choice of held-out episodes."""
    holdout: float = 0.1
    """Part of the episodes held out to judge the model; at least one."""
    horizon: int = 25
    """Steps ahead up to which predictions are compared with what happened."""
    angles: tuple[int, ...] = ()
    """Observation dimensions that are angles in radians; the model sees their sine and cosine."""
    reward: str = "learned"
    """`learned`, or your own function `pkg.mod:fn`."""
    termination: str = "learned"
    """`learned`, `never`, or your own function `pkg.mod:fn`."""
    model: EnsembleConfig = EnsembleConfig(epochs=20, min_steps=2000, batch_size=256)
