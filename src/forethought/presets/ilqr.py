"""Receding-horizon iLQR: its config and presets."""

import dataclasses

from .bounds import Natural
from .parts import EnsembleConfig, PlannerConfig


@dataclasses.dataclass(frozen=True)
class ILQRConfig:
    """iLQR, from the previous plan, at every step: on the true dynamics (`oracle`) or through one network."""

    random_steps: Natural = 200
    """Environment steps with uniform actions before the first fit; none on the true dynamics."""
    update_every: int = 200
    """Environment steps between fits."""
    model: EnsembleConfig = EnsembleConfig(
        num_members=1, particles=1, probabilistic=False, hidden=(64, 64), epochs=5, min_steps=1000, bootstrap=False
    )
    planner: PlannerConfig = PlannerConfig(kind="ilqr", horizon=25, iterations=5, restarts=4)


PRESETS: dict[str, ILQRConfig] = {
    "default": ILQRConfig(),
    "cartpole-swingup": ILQRConfig(planner=PlannerConfig(kind="ilqr", horizon=20, iterations=5, restarts=4)),
    # Long enough to pump up and over: three seconds.
    "acrobot": ILQRConfig(planner=PlannerConfig(kind="ilqr", horizon=60, iterations=3, restarts=4)),
}
