"""PlaNet: its config and presets (Hafner et al. 2019, and the authors' code)."""

import dataclasses

from .bounds import Natural, Pair, Positive
from .parts import PlannerConfig
from .world_model import WorldModelConfig

_PAPER_MODEL = WorldModelConfig(
    cell="gru-before",
    latent="gaussian",
    deter=200,
    hidden=200,
    latents=30,
    prior_layers=1,
    units=200,
    layers=2,
    head_layers=3,
    depth=16,
    norm="none",
    activation="relu",
    symlog=False,
    reward="normal",
    continues=False,
    observation_weight=0.5,
    reward_scale=10.0,
    dyn_scale=1.0,
    rep_scale=1.0,
    free_nats=3.0,
)


@dataclasses.dataclass(frozen=True)
class PlaNetConfig:
    """Plan with CEM in the latent space of a recurrent state-space model, searching afresh at every step."""

    random_steps: Natural = 1000
    """Environment steps with uniform actions before the first update."""
    update_every: int = 200
    """Environment steps between rounds of learning."""
    updates: int = 100
    """Gradient steps in each round."""
    batch_size: int = 50
    """Sequences in a batch."""
    batch_length: Pair = 50
    """Steps in a sequence."""
    action_noise: float = 0.3
    """Standard deviation of the noise on executed actions while training, as a part of half the action range."""
    learning_rate: Positive = 1e-3
    """Adam's step size."""
    clip: Positive = 1000.0
    """Largest norm of the gradient."""
    particles: int = 1
    """Beliefs drawn side by side from each observation, and imagined for each candidate."""
    model: WorldModelConfig = _PAPER_MODEL
    planner: PlannerConfig = PlannerConfig(
        horizon=12,
        population=1000,
        elites=100,
        iterations=10,
        momentum=0.0,
        initial_std=0.5,
        clipped=True,
        common_noise=False,
    )


_SMALL = PlaNetConfig(
    batch_size=16,
    batch_length=30,
    model=dataclasses.replace(
        _PAPER_MODEL,
        cell="gru",
        deter=100,
        hidden=100,
        units=64,
        head_layers=2,
        depth=4,
        kernel=3,
        observation_weight=5.0,
        free_nats=0.5,
    ),
    planner=dataclasses.replace(PlaNetConfig().planner, population=100, elites=10, iterations=4),
)
_PENDULUM = dataclasses.replace(_SMALL, planner=dataclasses.replace(_SMALL.planner, horizon=20))
PRESETS: dict[str, PlaNetConfig] = {
    "default": _SMALL,
    "pendulum": _PENDULUM,
    "pendulum-pixels": dataclasses.replace(
        _PENDULUM, updates=200, model=dataclasses.replace(_PENDULUM.model, images="dense")
    ),
    "paper": PlaNetConfig(),
    # The ablations of the paper: only deterministic, only stochastic, and the latter with latent overshooting.
    "rnn": dataclasses.replace(_SMALL, model=dataclasses.replace(_SMALL.model, latent="point")),
    "ssm": dataclasses.replace(_SMALL, model=dataclasses.replace(_SMALL.model, cell="none")),
    "ssm-overshooting": dataclasses.replace(
        _SMALL, model=dataclasses.replace(_SMALL.model, cell="none", overshooting=8)
    ),
}
