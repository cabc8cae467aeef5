"""Whether a run has learned: its returns beside those of random actions."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.stats import mannwhitneyu
from scipy.stats import t as student

from .curves import Row, is_number

Place = Literal["above", "below", "equal", "unclear"]


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Returns of episodes of uniformly random actions."""

    returns: tuple[float, ...]
    source: str  # where the episodes come from
    exact: bool = False  # the one return is known to be the mean

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Baseline | None":
        """As a run's `run.json` holds it; None where there is none."""
        held = record.get("random")
        if not isinstance(held, Mapping) or not isinstance(returns := held.get("returns"), list):
            return None
        finite = tuple(float(x) for x in returns if is_number(x) and np.isfinite(x))
        return cls(finite, str(held.get("source", "")), held.get("exact") is True) if finite else None

    def as_dict(self) -> dict[str, Any]:
        """For the record."""
        return {"returns": list(self.returns), "mean_return": self.mean, "source": self.source, "exact": self.exact}

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    def __str__(self) -> str:
        """The mean, and half the 95 % interval of it where several episodes give one."""
        n = len(self.returns)
        if n < 2:
            return number(self.mean)
        half = float(student.ppf(0.975, n - 1) * np.std(self.returns, ddof=1) / np.sqrt(n))
        return f"{number(self.mean)} ± {number(half, like=self.mean)}"


def random_phase(rows: Sequence[Row], random_steps: int) -> tuple[float, ...]:
    """Returns of the training episodes that ended in the run's random phase."""
    ended = (row for row in rows if row.get("kind") == "episode" and int(row["env_steps"]) <= random_steps)
    returns = (row.get("return") for row in ended)
    return tuple(float(x) for x in returns if is_number(x) and np.isfinite(x))


def placed(returns: Sequence[float], baseline: Baseline) -> Place:
    """Where `returns` are beside random actions, by the 95 % interval of the difference of means (Welch 1947).

    Where a few episodes are so much worse than the rest that this interval says nothing, ranks decide (Mann & Whitney
    1947, at 1 %), if they agree with the means.
    """
    ours, theirs = np.asarray(returns, float), np.asarray(baseline.returns)
    gap = float(ours.mean() - theirs.mean())
    if abs(gap) <= 1e-6 * max(abs(ours.mean()), abs(theirs.mean())):
        return "equal"
    if max(len(ours), len(theirs)) < 2:
        return "unclear"
    # A single episode has no spread of its own: the other side's stands in.
    spread = [float(np.var(x if len(x) > 1 else y, ddof=1)) for x, y in ((ours, theirs), (theirs, ours))]
    spread[1] *= not baseline.exact
    parts = np.array([s / len(x) for s, x in zip(spread, (ours, theirs))])
    if parts.sum() <= 0:
        return "above" if gap > 0 else "below"
    freedom = parts.sum() ** 2 / sum(p**2 / max(len(x) - 1, 1) for p, x in zip(parts, (ours, theirs)))
    half = float(student.ppf(0.975, freedom) * np.sqrt(parts.sum()))
    if abs(gap) > half or _ranked(ours, theirs, np.sign(gap)):
        return "above" if gap > 0 else "below"
    return "unclear" if len(ours) < 2 and abs(gap) > np.sqrt(spread[1]) else "equal"


def _ranked(ours: np.ndarray, theirs: np.ndarray, side: float) -> bool:
    """Whether `ours` are above (`side` 1) or below (-1) by their ranks."""
    found = mannwhitneyu(ours, theirs)
    return bool(found.pvalue < 0.01 and np.sign(found.statistic - len(ours) * len(theirs) / 2) == side)


def outcome(returns: Sequence[float], baseline: Baseline, advice: str) -> str:
    """One sentence: whether the run has learned, and what to try if it has not."""
    mean = float(np.mean(returns))
    place = placed(returns, baseline)
    if place == "above":
        return f"above random actions by {number(mean - baseline.mean)} ({number(mean)} against {baseline})"
    if place == "below":
        said = f"below random actions ({number(mean)} against {baseline})"
    elif place == "equal":
        said = f"no better than random actions ({number(mean)} against {baseline})"
    else:
        return (
            f"{number(mean)} in one episode, against {baseline} of random actions"
            f"{' in another' if len(baseline.returns) < 2 else ''}: too few to tell whether it has learned; evaluate "
            "more (`--final-episodes 10`)"
        )
    return f"{said}: {advice}"


def number(value: float, *, like: float | None = None) -> str:
    """A return: whole from 100 on, three digits below; with as many decimals as `like` has."""
    size = abs(value if like is None else like)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    text = f"{value:,.{decimals}f}"
    return "0" if not float(text.replace(",", "")) else text
