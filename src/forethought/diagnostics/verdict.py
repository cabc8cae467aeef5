"""What an examination comes to, in plain language."""

import math

import numpy as np

from ..text import percent
from .examination import Examination

NEGLIGIBLE = 1e-3
"""A gap of returns below this share of them is not worth a word, however sure."""

AGREES = 0.1
"""Share of the real return that the band of the drift must stay within for the imagined one to be said to agree."""

EVEN = 0.2
"""Variation of the stated deviation below which a model states about the same everywhere.

Absolute errors of Gaussian noise alone have a logarithm of deviation 1.11; beside it a right deviation that varies by
less than a fifth cannot rank them by 0.2 or more.
"""


def plain_verdict(examination: Examination) -> str:
    """One sentence that says how far the model can be trusted, and in what it errs, numbers included."""
    e = examination
    finite = np.isfinite(e.overall) | (e.count == 0)
    if not finite.all():
        first = int(np.argmin(finite)) + 1
        return f"The model's prediction is not finite from step {first} on: do not plan with it that far."
    parts = [_trust(e), _confidence(e), _termination(e), _drift(e), _ranking(e)]
    return "; ".join(part for part in parts if part) + "."


def _trust(e: Examination) -> str:
    steps = e.trusted_steps
    numbers = f"error {e.overall[0]:.2g} of a standard deviation, persistence {e.baseline[0]:.2g}"
    if steps == e.horizon:
        return f"Trust it to all {steps} steps examined" if steps > 1 else f"Trust it for one step ({numbers})"
    if steps > 0:
        return f"Trust it to about {steps} step{'s' if steps > 1 else ''}"
    worse = e.useful_steps == 0
    return f"Do not trust it even one step ahead ({numbers}{': no better than nothing' if worse else ''})"


def _confidence(e: Examination) -> str:
    if not e.states_uncertainty:
        return "it states no uncertainty"
    said = []
    kinds = [("over", e.overconfident), ("under", e.underconfident)]
    for word, where in sorted(kinds, key=lambda kind: int(np.argmax(kind[1]))):
        if where.any():
            steps = np.flatnonzero(where) + 1
            share = e.covered_90[where].mean()
            said.append(f"{word}-confident {_span(steps, e.horizon)} (90 % intervals cover {percent(share)})")
    if said:
        return " and ".join(said)
    if not np.isfinite(e.covered_90).any():
        return ""
    return f"its 90 % intervals cover {percent(np.nanmean(e.covered_90))}"


def _span(steps: np.ndarray, horizon: int) -> str:
    """Where in 1..horizon the listed steps lie, in words."""
    first, last = int(steps[0]), int(steps[-1])
    if first == last:
        return f"at step {first}"
    if last == horizon:
        return "at every step" if len(steps) == horizon else f"from step {first}"
    return f"between steps {first} and {last}"


def _termination(e: Examination) -> str:
    said = []
    if e.terminations and math.isfinite(e.missed_share):
        few = f" ({e.terminations} seen)" if e.terminations < 10 else ""
        said.append(f"termination missed in {percent(e.missed_share)} of real ends{few}")
    if math.isfinite(e.false_alarm_share) and e.false_alarm_share >= 0.01:
        said.append(f"imagined where there was none in {percent(e.false_alarm_share)} of steps")
    text = ", ".join(said)
    return text if not text or text.startswith("termination") else f"termination {text}"


def _drift(e: Examination) -> str:
    known = np.flatnonzero((e.return_count > 0) & np.isfinite(e.drift))
    if not len(known):
        return ""
    h = known[-1]
    span = f"over {h + 1} steps" if h else "over one step"
    gap, (low, high) = float(e.drift[h]), e.drift_band[:, h]
    if low <= 0 <= high and low < high:
        share, size = _relative(e, h, max(-low, high))
        if share <= AGREES:
            return f"imagined return agrees with the real one {span} (within {size})"
        return f"imagined return cannot be told apart from the real one {span} (within ±{size})"
    share, size = _relative(e, h, abs(gap))
    if gap == 0 or share <= NEGLIGIBLE:
        return f"imagined return agrees with the real one {span}" + (f" (within {size})" if gap else "")
    return f"imagined return is {size} {'above' if gap > 0 else 'below'} the real one {span}"


def _relative(e: Examination, h: int, gap: float) -> tuple[float, str]:
    """A gap of returns as a share of the real one, or of its spread where it is about zero, and in words."""
    real, spread = abs(e.real_return[h]), e.return_spread[h]
    if real > 0.5 * spread:
        return gap / real, percent(gap / real)
    if spread > 0:
        return gap / spread, f"{percent(gap / spread)} of its standard deviation"
    return math.inf, f"{gap:.2g}"


def _ranking(e: Examination) -> str:
    if not e.states_uncertainty:
        return ""
    rank = _mean(e.rank)
    if rank >= 0.2:
        return f"its uncertainty ranks its errors {'well' if rank >= 0.5 else 'somewhat'} ({rank:.2f})"
    if _mean(e.stated_variation) < EVEN:
        return "it states about the same uncertainty everywhere"
    return f"its uncertainty hardly ranks its errors ({rank:.2f})" if math.isfinite(rank) else ""


def _mean(values: np.ndarray) -> float:
    """Of those that are finite; NaN if none is."""
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else math.nan
