"""Planning by samples of a learned table: its config and presets (Sutton & Barto 2018, chapters 5, 6 and 8)."""

import dataclasses
from typing import Literal

from .bounds import Fraction, Natural

Method = Literal["q-learning", "sarsa", "monte-carlo", "value-iteration", "policy-iteration"]


@dataclasses.dataclass(frozen=True)
class ModelSamplesConfig:
    """Learn a table from real steps, and values from the table alone."""

    method: Method = "q-learning"
    """How values come of the model: learning from its samples by `q-learning`, `sarsa` or `monte-carlo` control, or
    exactly from its probabilities, by `value-iteration` or `policy-iteration`."""
    random_steps: Natural = 1000
    """Environment steps with uniform actions before the first round."""
    update_every: int = 1000
    """Environment steps between rounds."""
    samples: int = 100_000
    """[Samples] Steps of the model in a round."""
    walkers: int = 50
    """[Samples] Imagined episodes side by side; updates of one pair in the same step are averaged."""
    horizon: int = 100
    """[Samples] Steps after which an imagined episode is cut."""
    step_size: Fraction = 0.02
    """[Samples] Least step size: a pair's n-th update of a round has 1/n, but not less than this."""
    sample_epsilon: Fraction = 0.2
    """[Samples] Share of uniformly random actions in imagined episodes at the beginning of a round; it falls to 0."""
    discount: Fraction = 0.99
    """Discount per step."""
    epsilon: Fraction = 0.1
    """Share of uniformly random actions in real episodes, while learning."""


PRESETS: dict[str, ModelSamplesConfig] = {
    "default": ModelSamplesConfig(),
    "sarsa": ModelSamplesConfig(method="sarsa"),
    "monte-carlo": ModelSamplesConfig(method="monte-carlo"),
    "value-iteration": ModelSamplesConfig(method="value-iteration"),
    "policy-iteration": ModelSamplesConfig(method="policy-iteration"),
}
