"""What an examination comes to, in plain language."""

import math
from typing import Any

import numpy as np

from .examination import Examination


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
            said.append(f"{word}-confident {_span(steps, e.horizon)} (90 % intervals cover {_percent(share)})")
    if said:
        return " and ".join(said)
    if not np.isfinite(e.covered_90).any():
        return ""
    return f"its 90 % intervals cover {_percent(np.nanmean(e.covered_90))}"


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
        said.append(f"termination missed in {_percent(e.missed_share)} of falls{few}")
    if math.isfinite(e.false_alarm_share) and e.false_alarm_share >= 0.01:
        said.append(f"imagined where there was none in {_percent(e.false_alarm_share)} of steps")
    text = ", ".join(said)
    return text if not text or text.startswith("termination") else f"termination {text}"


def _drift(e: Examination) -> str:
    known = np.flatnonzero((e.return_count > 0) & np.isfinite(e.drift))
    if not len(known):
        return ""
    h = known[-1]
    low, high = e.drift_band[:, h]
    by_chance = math.isfinite(low) and low <= 0 <= high
    real, gap = e.real_return[h], e.drift[h]
    if abs(real) > 0.5 * e.return_spread[h] and abs(real) > 0:
        size = _percent(abs(gap / real))
    elif e.return_spread[h] > 0:
        size = f"{_percent(abs(gap) / e.return_spread[h])} of its standard deviation"
    else:
        size = f"{abs(gap):.2g}"
    span = f"over {h + 1} steps" if h else "over one step"
    if by_chance or size == "0 %":
        return f"imagined return agrees with the real one {span} (within {size})"
    return f"imagined return is {size} {'above' if gap > 0 else 'below'} the real one {span}"


def _ranking(e: Examination) -> str:
    if not np.isfinite(e.rank).any():
        return ""
    rank = float(np.nanmean(e.rank))
    how = "ranks its errors well" if rank >= 0.5 else "ranks its errors somewhat" if rank >= 0.2 else ""
    return f"its uncertainty {how or 'hardly ranks its errors'} ({rank:.2f})"


def _percent(share: Any) -> str:
    percent = 100 * float(share)
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else f"{percent:.1g} %"
