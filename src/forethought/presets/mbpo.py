"""MBPO: its config and presets (Janner et al. 2019, appendix C, and the authors' configs)."""

import dataclasses

from .bounds import Fraction, Natural
from .parts import EnsembleConfig
from .sac import SACConfig

_PAPER_MODEL = EnsembleConfig(
    num_members=7,
    num_elites=5,
    hidden=(200, 200, 200, 200),
    particles=5,
    propagation="TS1",
    normalise_targets=False,
    weight_decay=(2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4),
    epochs=100,
    batch_size=256,
    holdout_ratio=0.2,
)
_SMALL_SAC = SACConfig(
    random_steps=500, updates_per_step=10, hidden=(64, 64), actor_rate=1e-3, critic_rate=1e-3, temperature_rate=1e-3
)
_SMALL_MODEL = dataclasses.replace(
    _PAPER_MODEL,
    hidden=(64, 64, 64),
    normalise_targets=True,
    weight_decay=0.0,
    epochs=20,
    min_steps=1000,
    patience=20,
    batch_size=64,
)


@dataclasses.dataclass(frozen=True)
class MBPOConfig:
    """Soft actor-critic on short rollouts of an ensemble, branched from states that were met."""

    sac: SACConfig = _SMALL_SAC
    """The learner of the policy, with the random steps at the beginning and the updates per step."""
    model: EnsembleConfig = _SMALL_MODEL
    """The model; the particles are what rollouts are dealt to, as many as members that predict."""
    model_every: int = 250
    """Environment steps between fits of the model; after each, rollouts are imagined."""
    rollouts: int = 5000
    """Rollouts after each fit, from states drawn from all that were met."""
    rollout_length: tuple[Natural, int, int, int] = (1, 15, 1, 1)
    """How long rollouts are, by epoch: (a, b, m, n) is m steps up to epoch a, n from epoch b on, and linear between."""
    epoch_steps: int = 1000
    """Environment steps in an epoch, the unit of `rollout_length` and `retain_epochs`; epochs begin after the random
    steps."""
    retain_epochs: int = 1
    """Epochs whose rollouts are kept."""
    real_ratio: Fraction = 0.05
    """Part of each batch that are real steps."""

    @property
    def batch_size(self) -> int:
        """Transitions in a batch, real and imagined."""
        return self.sac.batch_size


def _paper(
    updates: int, length: tuple[int, int, int, int], entropy: float, *, hidden: int = 200, **more: int
) -> MBPOConfig:
    """The authors' settings for a task of MuJoCo."""
    random_steps = more.pop("random_steps", 5000)
    sac = SACConfig(random_steps=random_steps, updates_per_step=updates, target_entropy=entropy)
    model = dataclasses.replace(_PAPER_MODEL, hidden=(hidden,) * 4)
    return MBPOConfig(sac, model, rollouts=100_000, rollout_length=length, **more)


PRESETS: dict[str, MBPOConfig] = {
    "default": MBPOConfig(),
    "pendulum": MBPOConfig(),
    "inverted-pendulum": MBPOConfig(dataclasses.replace(_SMALL_SAC, updates_per_step=20, layer_norm=True)),
    "paper-inverted-pendulum": _paper(10, (1, 15, 1, 1), -0.05, random_steps=500, epoch_steps=250),
    "paper-hopper": _paper(20, (20, 150, 1, 15), -1.0),
    "paper-walker2d": _paper(20, (20, 150, 1, 1), -3.0),
    "paper-half-cheetah": _paper(40, (20, 150, 1, 1), -3.0),
    "paper-ant": _paper(20, (20, 100, 1, 25), -4.0),
}
