"""The ladder of model-based RL (after S. Levine, CS 285, "Model-based reinforcement learning", versions 0.5 to 1.5).

- 0.5: gather random data, fit the model once, then plan and execute whole plans without looking.
- 1.0: as 0.5, but what the plans bring is added to the data and the model refitted.
- 1.5: as 1.0, but only the first action of each plan is executed before planning again.

A whole plan is `planner.horizon` actions; when it is used up the agent plans afresh from where it then is.
Deviation: the lectures leave model and planner open; here any planner, and by default one deterministic network.
"""

import dataclasses
from typing import Literal

from .bounds import Natural
from .parts import EnsembleConfig, PlannerConfig
from .planning import Planning


@dataclasses.dataclass(frozen=True)
class MPCLadderConfig:
    """One network and one planner; the version says how plans are executed and whether their data are learned from."""

    version: Literal["0.5", "1.0", "1.5"] = "1.5"
    """0.5: random data, fit once, execute whole plans. 1.0: also learn from what they bring. 1.5: execute only the
    first action of each plan and replan."""
    random_steps: Natural = 200
    """Environment steps with uniform actions before the first fit."""
    update_every: int = 200
    """Environment steps between fits; version 0.5 fits once."""
    model: EnsembleConfig = EnsembleConfig(
        num_members=1, particles=1, probabilistic=False, hidden=(64, 64), epochs=5, min_steps=1000, bootstrap=False
    )
    planner: PlannerConfig = PlannerConfig(horizon=25, population=200, elites=20, iterations=3)

    @property
    def planning(self) -> Planning:
        """How its parts are used."""
        if self.version not in ("0.5", "1.0", "1.5"):
            raise ValueError(f"version={self.version!r} must be 0.5, 1.0 or 1.5")
        every = None if self.version == "0.5" else self.update_every
        return Planning(self.random_steps, every, whole_plans=self.version != "1.5")


_CARTPOLE = MPCLadderConfig(
    random_steps=100,  # from rest: half an episode, in which the cart has seldom met the rail's ends
    model=EnsembleConfig(
        num_members=1,
        particles=1,
        probabilistic=False,
        hidden=(64, 64),
        min_steps=2000,
        holdout_ratio=0.2,
        patience=30,
        bootstrap=False,
    ),
    # A plan that is executed blindly must be searched for well from scratch.
    planner=PlannerConfig(kind="icem", horizon=25, population=300, elites=20, iterations=6),
)
PRESETS: dict[str, MPCLadderConfig] = {
    "default": MPCLadderConfig(),
    "cartpole": _CARTPOLE,
    "cartpole-0.5": dataclasses.replace(_CARTPOLE, version="0.5"),
    "cartpole-1.0": dataclasses.replace(_CARTPOLE, version="1.0"),
    "cartpole-1.5": dataclasses.replace(_CARTPOLE, version="1.5"),
}
