"""Config of what agents with local controllers share: rollouts, local models, trust region."""

import dataclasses
from typing import Literal

from .bounds import Few, Pair, Positive
from .parts import EnsembleConfig, GPConfig


@dataclasses.dataclass(frozen=True)
class LocalControlConfig:
    """Local controllers, each along the trajectory from one start, improved from a few rollouts at a time."""

    starts: Few = 4
    """Starts that training goes round, as many as there are local controllers."""
    rollouts: Pair = 5
    """Episodes from each start between improvements."""
    initial_std: Positive = 0.5
    """Standard deviation of the first controllers' white noise, as a part of half the action range."""
    execution: Literal["open-loop", "feedback", "noisy-feedback"] = "noisy-feedback"
    """How controllers are executed while training: planned controls, feedback, or feedback with noise of covariance
    Quu^-1. Only the last tells what the controls do; the others lean on the prior."""
    kl_step: Positive = 0.2
    """Nats per time step by which a controller may change in a round, before the step is adapted."""
    adapt_step: bool = True
    """Multiply that by a factor which grows while the local models foretell what an improvement brings."""
    trust_region: bool = True
    """Off: each round takes the optimum of its local models, however far away, with noise of 0.01 Quu^-1."""
    prior: Literal["gmm", "network", "gp", "none"] = "gmm"
    """Prior of the local models: mixture of Gaussians, a model (network, Gaussian processes) linearised along the
    rollouts, or none (plain regression)."""
    prior_strength: Positive = 1.0
    """How many rollouts the prior counts as much as."""
    clusters: Few = 20
    """[gmm] Clusters at most."""
    cluster_rows: int = 40
    """[gmm] Transitions per cluster at least."""
    prior_episodes: int = 60
    """[gmm] Latest episodes, from all starts, that the mixture is fitted to."""
    network: EnsembleConfig = EnsembleConfig(
        num_members=1, particles=1, propagation="E", hidden=(64, 64), min_steps=1000, bootstrap=False
    )
    """[network] A model of all transitions so far."""
    gp: GPConfig = GPConfig(max_points=200, max_rows=200)
    """[gp] Processes of all transitions so far."""
