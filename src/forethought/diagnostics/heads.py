"""Reward and continue heads of latent models: what they predict one step after filtering, against what came."""

import dataclasses
import itertools

import numpy as np

from ..text import percent
from .finding import Finding
from .logged import Logged
from .one_step import OneStep
from .over_episodes import correlation, spearman

FEWEST_ROWS = 100  # below this no head is judged
FEWEST_REWARDS = 5  # rewards other than the usual one that a judgement of the reward takes
FEWEST_ENDS = 5  # terminations that a judgement of the continue head takes
USELESS = 0.95  # squared error, in that of the best constant, from which on a head is no better than it
RANKED = 0.5  # rank correlation from which on a reward head is of use whatever its error
TOLD_APART = 0.7  # chance that an end is held likelier than a step that went on; 0.5 is blind
SMALL_PART = 0.1  # of the training rewards' variance: fresh rewards that vary less are no test of the head
EDGES = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 1.0)  # of the bins of predicted probabilities that the episode ends


@dataclasses.dataclass(frozen=True)
class Heads:
    """How well rewards and ends are predicted one step ahead from everything seen up to there."""

    steps: int
    reward_error: float  # root mean squared, in the reward's units
    reward_constant: float  # the same for the best constant: the standard deviation of the rewards
    reward_correlation: float  # Pearson's
    terminations: int
    brier: float  # mean squared error of the probability that the episode goes on
    brier_constant: float  # the same for the best constant
    told_apart: float  # chance that a real end was held likelier than a step that went on; NaN without ends
    bins: tuple[tuple[float, float, int, int], ...]  # (least, most) probability of an end, steps in it, real ends

    def calibration(self) -> list[tuple[str, int, int, str, str]]:
        """For each bin that holds steps: range, steps, ends, share of ends, and the 95 % interval of that share."""
        lines = []
        for low, high, steps, ends in self.bins:
            if steps:
                least, most = wilson(ends, steps)
                share, interval = percent(ends / steps), f"{percent(least)} to {percent(most)}"
                lines.append((f"{percent(low)} to {percent(high)}", steps, ends, share, interval))
        return lines


def heads(said: OneStep, data: Logged) -> Heads:
    """The measures of what was `said` of every row of `data`."""
    real, ended = np.asarray(data.rows.reward, np.float64), np.asarray(data.rows.terminated)
    end, rate = 1.0 - np.asarray(said.continuation, np.float64), float(ended.mean())
    place = np.clip(np.searchsorted(EDGES, end, side="right") - 1, 0, len(EDGES) - 2)
    bins = tuple(
        (low, high, int((place == i).sum()), int(ended[place == i].sum()))
        for i, (low, high) in enumerate(itertools.pairwise(EDGES))
    )
    return Heads(
        steps=len(real),
        reward_error=float(np.sqrt(np.mean((said.reward - real) ** 2))),
        reward_constant=float(real.std()),
        reward_correlation=correlation(np.asarray(said.reward, np.float64), real),
        terminations=int(ended.sum()),
        brier=float(np.mean((end - ended) ** 2)),
        brier_constant=rate * (1 - rate),
        told_apart=told_apart(end, ended),
        bins=bins,
    )


def told_apart(end: np.ndarray, ended: np.ndarray) -> float:
    """Chance that a row that `ended` has a larger `end` than one that did not, ties counting half (area under ROC)."""
    yes, no = end[ended], end[~ended]
    if not len(yes) or not len(no):
        return float("nan")
    order = np.sort(no)
    below, upto = np.searchsorted(order, yes, "left"), np.searchsorted(order, yes, "right")
    return float(np.mean((below + upto) / 2) / len(no))


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), which holds for few hits, too."""
    share, square = hits / of, z**2 / of
    middle, half = share + square / 2, z * np.sqrt(share * (1 - share) / of + square / (4 * of))
    return float(max((middle - half) / (1 + square), 0.0)), float(min((middle + half) / (1 + square), 1.0))


def useless_reward(said: OneStep, fresh: Logged, training: Logged | None) -> list[Finding]:
    """A reward head that is no better than a constant on fresh episodes, and does not rank their rewards either."""
    real = np.asarray(fresh.rows.reward, np.float64)
    spread = float(real.var())
    usual = np.isclose(real, np.median(real), rtol=1e-6, atol=1e-9)
    if len(real) < FEWEST_ROWS or (~usual).sum() < FEWEST_REWARDS:
        return []
    if training is not None and spread < SMALL_PART * float(np.var(training.rows.reward)):
        return []  # the policy no longer meets what the head is for
    error, rank = float(np.mean((said.reward - real) ** 2)), spearman(np.asarray(said.reward, np.float64), real)
    if not error >= USELESS * spread or rank >= RANKED:
        return []
    ranks = f"rank correlation {rank:.2f}" if np.isfinite(rank) else "it says the same of every step"
    sentence = (
        f"the reward predicted one step ahead is no better than a constant on fresh episodes: error {error**0.5:.3g}, "
        f"of the mean reward {spread**0.5:.3g} ({ranks}). Whoever decides in this model seeks nothing real"
    )
    remedy = (
        "train longer, or weigh the reward loss more (--model.reward-scale); look at model/reward_loss in the metrics, "
        "and whether each reward is stored with the step that it came with"
    )
    numbers = {"error": error**0.5, "constant": spread**0.5}
    return [Finding("reward-head-useless", "warning", sentence, remedy, numbers)]


def useless_continuation(parts: list[tuple[OneStep, Logged]]) -> list[Finding]:
    """A continue head that does not know ends from other steps: no better than a constant.

    `parts` are fresh episodes and, for where these hold too few ends, the latest training data.
    """
    end, ended = np.zeros(0), np.zeros(0, bool)
    for count in range(1, len(parts) + 1):
        end = np.concatenate([1.0 - np.asarray(said.continuation, np.float64) for said, _ in parts[:count]])
        ended = np.concatenate([data.rows.terminated for _, data in parts[:count]]).astype(bool)
        if ended.sum() >= FEWEST_ENDS:
            break
    if len(ended) < FEWEST_ROWS or ended.sum() < FEWEST_ENDS or ended.all():
        return []
    rate, apart = float(ended.mean()), told_apart(end, ended)
    brier, constant = float(np.mean((end - ended) ** 2)), rate * (1 - rate)
    if apart >= TOLD_APART or brier < USELESS * constant:
        return []
    where = "fresh episodes" if count == 1 else "fresh episodes and training data"
    always = f", and says about {1 - end.mean():.3f} of every step" if end.std() < 1e-3 else ""
    sentence = (
        f"the predicted chance that the episode goes on does not know ends from other steps: at {int(ended.sum())} "
        f"real ends in {where} it is {1 - end[ended].mean():.2f} on average, elsewhere {1 - end[~ended].mean():.2f} "
        f"(squared error {brier:.2g}, of a constant {constant:.2g}){always}. Imagination runs on past every end"
    )
    remedy = (
        "learn it: set --model.continues where it is off, train longer or raise --model.continue-scale; else check "
        "that `terminated` reaches the replay"
    )
    numbers = {"ends": float(ended.sum()), "brier": brier, "constant": constant, "told_apart": apart}
    return [Finding("continue-head-useless", "warning", sentence, remedy, numbers)]
