"""Can the model be trusted? Its predictions, open loop over several steps, held against real episodes."""

import dataclasses

import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractFilter, AbstractModel
from ..types import EnvSpec, Transition
from .measures import LEVELS, TERMINATION_STEPS, measured, varying
from .open_loop import compare
from .windows import cut

TRUSTED_ERROR = 0.5
"""Error, in standard deviations of the data, above which a prediction is not trusted: three quarters of the variance
are still explained at it."""

FILTER_STARTS = 512
"""Starts from which a filter is examined at most: what it believes at each is kept, many samples of a large state."""

PICTURE_NUMBERS, LEAST_STARTS = 500_000, 64
"""Numbers of pictures in the starts of an examination together, and its fewest starts."""

PICTURE_PARTICLES = 8
"""Predictions that each predictive distribution of pictures is made of."""

TOO_FEW, TOO_MANY = 0.85, 0.96
"""Coverage of the 90 % intervals below which a model is called over-confident, above which under-confident."""


@dataclasses.dataclass(frozen=True)
class Examination:
    """How far and how surely a model predicts. Index h-1 of an axis H is horizon h.

    A picture is judged as one dimension, the first: root mean squares over the pixels that vary. Errors, biases and
    deviations of observations are in units of `scale`, those of rewards and returns in
    the reward's own units unless said otherwise. Bands `[2, ...]` are the lower and upper end of 95 % bootstrap
    intervals over whole episodes (starts of one episode are not independent), widened as so many episodes call
    for (see `over_episodes`), NaN for one episode.
    "Overall" is the root mean square over the dimensions that vary. NaN stands where there was nothing to
    measure.
    """

    count: np.ndarray  # [H] starts whose episode was still going on
    episodes: int
    error: np.ndarray  # [H, D] root mean squared error of the predictive mean
    error_band: np.ndarray  # [2, H, D]
    persistence: np.ndarray  # [H, D] the same for "nothing changes"
    overall: np.ndarray  # [H] `error`, overall
    overall_band: np.ndarray  # [2, H]
    baseline: np.ndarray  # [H] `persistence`, overall
    baseline_band: np.ndarray  # [2, H]
    ratio_band: np.ndarray  # [2, H] of overall / baseline, both from the same episodes
    bias: np.ndarray  # [H, D] mean of predicted minus real
    deviation: np.ndarray  # [H, D] predictive standard deviation, root mean square over starts
    nll: np.ndarray  # [H] negative log-likelihood per dimension, of observations in units of `scale`
    persistence_nll: np.ndarray  # [H] the same for a Gaussian about the start with the best constant variance
    levels: np.ndarray  # [L] nominal levels of central intervals
    coverage: np.ndarray  # [H, D, L] share of real observations inside them
    covered_90: np.ndarray  # [H] coverage of the 90 % intervals, mean over the dimensions that vary
    covered_90_band: np.ndarray  # [2, H]
    rank: np.ndarray  # [H] Spearman correlation over starts of stated deviation and absolute error, mean over dims
    stated_variation: (
        np.ndarray
    )  # [H] standard deviation over starts of the stated deviation / its mean, mean over dims
    binned: np.ndarray  # [bins, 2] stated deviation and root mean squared error, in bins of equal count
    reward_error: np.ndarray  # [H] root mean squared error of the mean predicted reward, in units of `reward_scale`
    reward_correlation: np.ndarray  # [H] Pearson correlation over starts of predicted and real reward
    terminations: int  # episodes that really terminated
    continuation_error: np.ndarray  # [H] Brier score: mean squared error of the probability of going on
    continuation_constant: np.ndarray  # [H] the same for the share of steps that the episode went on after
    missed: np.ndarray  # [H] of real terminations h steps ahead: share imagined as more likely survived
    false_alarm: np.ndarray  # [H] of episodes really going on after h steps: share imagined as more likely ended
    missed_share: float  # `missed` over the first TERMINATION_STEPS horizons together
    false_alarm_share: float
    return_count: np.ndarray  # [H] starts h steps or more before the time limit: h steps went on, or it terminated
    real_return: np.ndarray  # [H] mean real sum of rewards over h steps; nothing is added after termination
    imagined_return: np.ndarray  # [H] mean imagined one, weighted by the imagined continuation
    drift: np.ndarray  # [H] imagined minus real
    drift_band: np.ndarray  # [2, H]
    drift_error: np.ndarray  # [H] root mean squared difference over starts
    return_spread: np.ndarray  # [H] standard deviation over starts of the real return
    return_correlation: np.ndarray  # [H] Pearson correlation over starts of imagined and real return
    scale: np.ndarray  # [D] standard deviation of the observations in the episodes (of a picture in 0..1); 1 if still
    names: tuple[str, ...]  # [D] what the dimensions are called
    reward_scale: float  # standard deviation of the rewards; 1 where nothing varies
    constant: tuple[int, ...]  # dimensions that never vary
    width: np.ndarray | None  # [obs] deviation of observations about a latent sample, where that was measured
    particles: int  # predictions that each predictive distribution is made of
    notes: tuple[str, ...]  # what should be known of the data

    @property
    def horizon(self) -> int:
        """H, the longest horizon that was examined."""
        return len(self.count)

    @property
    def states_uncertainty(self) -> bool:
        """False for a model whose predictions are all certain; coverage then says nothing."""
        return bool(np.nanmax(self.deviation, initial=0.0) > 1e-6)

    @property
    def useful_steps(self) -> int:
        """The largest h such that the model beats persistence at every horizon up to h; 0 if not even at one."""
        return _leading(self.overall < self.baseline)

    @property
    def trusted_steps(self) -> int:
        """The largest h such that predictions are good at every horizon up to h; 0 if not even at one.

        Good means: the overall error is below TRUSTED_ERROR (upper end of its band) and below that of persistence
        (`beats_persistence`), which the first steps alone (`slow_steps`) need not be. With one episode the estimates
        stand in for the ends of the bands.
        """
        upper = np.where(np.isfinite(self.overall_band[1]), self.overall_band[1], self.overall)
        beats = self.beats_persistence[: _leading(upper < TRUSTED_ERROR)]
        first = int(np.argmax(beats)) if beats.any() else 0
        return first + _leading(beats[first:])

    @property
    def beats_persistence(self) -> np.ndarray:
        """Horizons `[H]` at which it errs less than persistence (upper end of the band of their ratio below 1)."""
        ratio = np.where(np.isfinite(self.ratio_band[1]), self.ratio_band[1], self.overall / self.baseline)
        return ratio < 1

    @property
    def slow_steps(self) -> int:
        """First horizons of the trusted ones at which persistence is as good, since hardly anything moves so soon."""
        return _leading(~self.beats_persistence[: self.trusted_steps])

    @property
    def overconfident(self) -> np.ndarray:
        """Horizons `[H]` whose 90 % intervals cover less than TOO_FEW, and not by chance (upper end below 0.9)."""
        upper = np.where(np.isfinite(self.covered_90_band[1]), self.covered_90_band[1], self.covered_90)
        return self.states_uncertainty & (self.covered_90 < TOO_FEW) & (upper < 0.9)

    @property
    def underconfident(self) -> np.ndarray:
        """Horizons `[H]` whose 90 % intervals cover more than TOO_MANY, and not by chance (lower end above 0.9)."""
        lower = np.where(np.isfinite(self.covered_90_band[0]), self.covered_90_band[0], self.covered_90)
        return self.states_uncertainty & (self.covered_90 > TOO_MANY) & (lower > 0.9)

    @property
    def overconfident_from(self) -> int | None:
        """The first over-confident horizon; None if there is none."""
        return int(np.argmax(self.overconfident)) + 1 if self.overconfident.any() else None

    @property
    def underconfident_from(self) -> int | None:
        """The first under-confident horizon; None if there is none."""
        return int(np.argmax(self.underconfident)) + 1 if self.underconfident.any() else None

    @property
    def varying(self) -> np.ndarray:
        """The dimensions that averages are over: those that vary, or all if none does."""
        return varying(len(self.scale), self.constant)

    @property
    def calibration(self) -> np.ndarray:
        """Coverage `[L]` of the intervals of each level, mean over horizons and dimensions."""
        return np.nanmean(self.coverage[:, self.varying], axis=(0, 1))

    def covered(self, level: float) -> np.ndarray:
        """Coverage `[H]` of the central intervals of one of LEVELS, mean over dimensions; ValueError for another."""
        found = np.flatnonzero(np.isclose(self.levels, level))
        if not len(found):
            raise ValueError(f"level={level} was not measured; use one of {', '.join(map(str, self.levels))}")
        return self.coverage[:, self.varying, found[0]].mean(1)


def examine(
    model: AbstractModel,
    trajectories: Transition,
    spec: EnvSpec,
    *,
    horizon: int = 25,
    key: PRNGKeyArray,
    max_starts: int = 1024,
    min_particles: int = 20,
    widened: bool = False,
) -> Examination:
    """Imagine up to `horizon` steps with the real actions from up to `max_starts` real observations, and compare.

    `trajectories` has leaves `[episodes, time, ...]` which the model was not fitted to; what follows an
    episode's first terminated or truncated step is ignored, and episodes may be shorter than the horizon. The
    predictive distribution is the mixture over particles of `model.observation`; a model with fewer than
    `min_particles` particles is run several times over. An observation counts as covered by the central
    interval of level q when the mixture's distribution function at it lies within (1 - q) / 2 of neither 0
    nor 1. A filter (`AbstractFilter`) starts from what it believes after the episode up to there; if `widened`, the
    width of its observations is measured from its one-step errors in other episodes (`widths`). It starts from no more
    than FILTER_STARTS; pictures are many numbers, and imagined from fewer starts, PICTURE_NUMBERS numbers in all, at
    most PICTURE_PARTICLES times over. Raises ValueError for invalid sizes, UserError for data that are not
    finite or do not fit.
    """
    if min_particles < 1:
        raise ValueError(f"min_particles={min_particles} must be at least 1")
    if isinstance(model, AbstractFilter):
        max_starts = min(max_starts, FILTER_STARTS)
    if spec.image is not None:
        max_starts = min(max_starts, max(PICTURE_NUMBERS // spec.obs_dim, LEAST_STARTS))
        min_particles = min(min_particles, PICTURE_PARTICLES)
    start_key, model_key = jr.split(key)
    real = cut(trajectories, spec, horizon=horizon, max_starts=max_starts, endings=TERMINATION_STEPS, key=start_key)
    said, particles, width = compare(model, real, spec, min_particles=min_particles, widened=widened, key=model_key)
    return Examination(
        count=real.evenly().windows.valid.sum(0),
        episodes=real.num_episodes,
        levels=LEVELS,
        terminations=real.num_terminations,
        scale=real.scale,
        reward_scale=real.reward_scale,
        constant=real.constant,
        names=tuple(real.groups.names),
        width=width if spec.image is None else None,
        particles=particles,
        notes=real.notes,
        **measured(real, said, spec),
    )


def _leading(good: np.ndarray) -> int:
    """How many entries hold before the first that does not."""
    return len(good) if good.all() else int(np.argmin(good))
