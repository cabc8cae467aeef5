"""Random-shooting MPC with data aggregation (Nagabandi et al. 2017, Sec. IV, the model-based part of MB-MF).

Deviations from the authors' code:
- the reward of imagined steps is the given function of (obs, action, next_obs), or learned where none is given;
  theirs is always given;
- minibatches hold the share of new data in expectation, drawn with replacement, not as two fixed halves;
- networks are warm-started between fits and see angles as sine and cosine;
- networks have swish units and PETS's truncated-normal weights; `paper-half-cheetah` has the paper's ReLU and Xavier's;
- noise on the training data has a share of each feature's standard deviation, theirs of the absolute value of its mean,
  and noise on the start state of rollouts is left out: it is the environment's;
- noise on executed actions is a share of half the action range, off in all presets (theirs begins after many rounds).
"""

import dataclasses
from typing import Annotated

from .bounds import Natural, Within
from .parts import EnsembleConfig, PlannerConfig
from .planning import Planning


@dataclasses.dataclass(frozen=True)
class RandomShootingConfig:
    """Plan by random shooting through one deterministic network, aggregating data."""

    random_steps: Natural = 400
    """Environment steps with uniform actions before the first fit."""
    update_every: int = 400
    """Environment steps between fits."""
    data_noise: float = 0.001
    """Standard deviation of the noise added to inputs (actions too) and targets while training, in normalised units."""
    action_noise: float = 0.0
    """Standard deviation of the noise on executed actions while training, as a part of half the action range."""
    new_data_fraction: Annotated[float, Within(0, 1, above=True, below=True)] = 0.9
    """Part of each minibatch drawn from data gathered by planning; the rest from the random data."""
    model: EnsembleConfig = EnsembleConfig(
        num_members=1,
        particles=1,
        probabilistic=False,
        hidden=(250, 250),
        epochs=30,
        batch_size=128,
        bootstrap=False,
    )
    planner: PlannerConfig = PlannerConfig(kind="shooting", horizon=20, population=1000, iterations=1)

    @property
    def planning(self) -> Planning:
        """How its parts are used."""
        if not 0 <= self.action_noise < float("inf"):
            raise ValueError(f"action_noise={self.action_noise} must be at least 0")
        return Planning(
            self.random_steps,
            self.update_every,
            action_noise=self.action_noise,
            data_noise=self.data_noise,
            new_data_fraction=self.new_data_fraction,
        )


PRESETS: dict[str, RandomShootingConfig] = {
    "default": RandomShootingConfig(),
    "cartpole": RandomShootingConfig(
        random_steps=200,
        update_every=200,
        planner=PlannerConfig(kind="shooting", horizon=25, population=1000, iterations=1),
    ),
    "paper-half-cheetah": RandomShootingConfig(
        random_steps=10_000,
        update_every=9_000,
        model=EnsembleConfig(
            num_members=1,
            particles=1,
            probabilistic=False,
            activation="relu",
            initialisation="xavier",
            hidden=(500,),
            epochs=60,
            batch_size=512,
            bootstrap=False,
        ),
        planner=PlannerConfig(kind="shooting", horizon=20, population=1000, iterations=1),
    ),
}
