"""Receding-horizon iLQR (Tassa, Erez & Todorov 2012, "Synthesis and stabilization of complex behaviors through online
trajectory optimization"): at every step a few iterations from the previous plan, and the first action is executed.

Deviations from the paper:
- rewards instead of costs; the Hessians of minus the reward are made convex before they are used;
- control limits as in box-DDP (Tassa, Mansard & Todorov 2014), where theirs are in the cost;
- several sequences can be improved side by side, all but one of them from random starts, and the best is executed;
- the model may be learned: one deterministic network, fitted to all data so far.
"""

import dataclasses

from .bounds import Natural
from .parts import EnsembleConfig, PlannerConfig
from .planning import Planning


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

    @property
    def planning(self) -> Planning:
        """How its parts are used."""
        return Planning(self.random_steps, self.update_every)


PRESETS: dict[str, ILQRConfig] = {
    "default": ILQRConfig(),
    "cartpole-swingup": ILQRConfig(planner=PlannerConfig(kind="ilqr", horizon=20, iterations=5, restarts=4)),
    # Long enough to pump up and over: three seconds.
    "acrobot": ILQRConfig(planner=PlannerConfig(kind="ilqr", horizon=60, iterations=3, restarts=4)),
}
