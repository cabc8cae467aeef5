"""PETS: probabilistic ensembles with trajectory sampling (Chua et al. 2018, Algorithm 1).

Deviations from the authors' code:
- changes of the observation are normalised before they are learned (`normalise_targets=False` restores the paper);
- the last minibatch of a pass wraps round to keep its shape, where theirs is shorter;
- candidates share each particle's noise (`planner.common_noise` False restores the paper);
- a learned reward, which the paper does not have, has two parts (steps that go on and steps that end the episode), is
  weighted in the loss (`Ensemble.losses`), and is imagined as an expectation;
- TS1 with common noise deals the particles of all candidates in one order;
- MM matches the exact moments of the next observations, where theirs matches sample moments of the changes;
- angles named by the environment are seen as sine and cosine by the networks, on every task;
- `cartpole-learned-reward` holds each random action for eight steps;
- presets other than `paper-*` use smaller networks and populations, and `min_steps` more passes while data are few.
"""

import dataclasses

from .bounds import Natural
from .parts import EnsembleConfig, PlannerConfig
from .planning import Planning


@dataclasses.dataclass(frozen=True)
class PETSConfig:
    """Plan with CEM through a probabilistic ensemble, replanning at every step."""

    random_steps: Natural = 200
    """Environment steps with uniform actions before the first fit."""
    random_hold: int = 1
    """Steps for which each uniform action is held; longer swings reach more of the task before the first fit."""
    update_every: int = 200
    """Environment steps between fits."""
    model: EnsembleConfig = EnsembleConfig(hidden=(64, 64), particles=5, epochs=5, min_steps=1000)
    planner: PlannerConfig = PlannerConfig(horizon=20, population=150, elites=15, iterations=3)

    @property
    def planning(self) -> Planning:
        """How its parts are used."""
        if self.random_hold < 1:
            raise ValueError(f"random_hold={self.random_hold} must be at least 1")
        return Planning(self.random_steps, self.update_every, self.random_hold)


PRESETS: dict[str, PETSConfig] = {
    "default": PETSConfig(),
    "cartpole": PETSConfig(
        model=EnsembleConfig(hidden=(64, 64), particles=5, epochs=5, min_steps=1000),
        planner=PlannerConfig(horizon=25, population=150, elites=15, iterations=3),
    ),
    "pendulum": PETSConfig(
        update_every=100,
        planner=PlannerConfig(kind="icem", horizon=30, population=100, elites=10, iterations=3),
    ),
    # Where the reward is learned it must be met first: random actions that are held for a third of a second swing the
    # pole up, and frequent fits and a planner that executes what it drew, not its mean, come upon more of it.
    "cartpole-learned-reward": PETSConfig(
        random_hold=8,
        update_every=25,
        model=EnsembleConfig(hidden=(64, 64), particles=5, epochs=5, min_steps=500),
        planner=PlannerConfig(kind="icem", horizon=25, population=100, elites=10, iterations=2),
    ),
    # Descending takes far longer than a plan, so plans are long, and smooth noise searches them with few candidates.
    "lunar-lander": PETSConfig(
        planner=PlannerConfig(kind="icem", horizon=30, population=64, elites=8, iterations=2),
    ),
    "paper-cartpole": PETSConfig(
        model=EnsembleConfig(
            hidden=(500, 500, 500),
            particles=20,
            normalise_targets=False,
            weight_decay=(1e-4, 2.5e-4, 2.5e-4, 5e-4),
        ),
        planner=PlannerConfig(horizon=25, population=400, elites=40, iterations=5, common_noise=False),
    ),
}
