"""What an examination comes to, in plain language."""

import math

import numpy as np

from ..text import percent
from .examination import TERMINATION_STEPS, Examination
from .finding import Finding

NEGLIGIBLE = 1e-3
"""A gap of returns below this share of them is not worth a word, however sure."""

AGREES = 0.1
"""Share of the real return that the band of the drift must stay within for the imagined one to be said to agree."""

ALARMS, MISSED, FEWEST_ENDS = 0.05, 0.5, 5
"""Share of false alarms, and of missed ends of at least so many, beyond which they are findings of their own."""

EVEN = 0.2
"""Variation of the stated deviation below which a model states about the same everywhere.

Absolute errors of Gaussian noise alone have a logarithm of deviation 1.11; beside it a right deviation that varies by
less than a fifth cannot rank them by 0.2 or more.
"""


def plain_verdict(examination: Examination, *, used: int | None = None, beside: str = "") -> str:
    """One sentence that says how far the model can be trusted, and in what it errs, numbers included.

    `used` is how many steps its agent looks ahead: there it is judged. `beside` says what the agent reaches.
    """
    e = examination
    finite = np.isfinite(e.overall) | (e.count == 0)
    if not finite.all():
        first = int(np.argmin(finite)) + 1
        return f"The model's prediction is not finite from step {first} on: do not plan with it that far."
    parts = [_trust(e, used), beside, _confidence(e), _termination(e), _drift(e), _ranking(e)]
    return "; ".join(part for part in parts if part) + "."


def _trust(e: Examination, used: int | None) -> str:
    steps = e.trusted_steps
    numbers = _errors(e, 1)
    if steps == e.horizon:
        said = f"Trust it to all {steps} steps examined" if steps > 1 else f"Trust it for one step ({numbers})"
        return said + _slow(e)
    ahead = _judged_at(e, used)
    if steps > 0:
        said = f"Trust it to about {steps} step{'s' if steps > 1 else ''}{_slow(e)}"
        return said if ahead is None or steps >= ahead else f"{said}; {_looks(e, ahead, used)}"
    if ahead is not None and (e.overall[:ahead] < e.baseline[:ahead]).any():
        # One step ahead persistence is nearly unbeatable where little moves so soon, and no agent decides by one step.
        return f"Trust it roughly at most; {_looks(e, ahead, used)}"
    worse = e.useful_steps == 0
    return f"Do not trust it even one step ahead ({numbers}{': no better than nothing' if worse else ''})"


def _errors(e: Examination, ahead: int) -> str:
    error, baseline = e.overall[ahead - 1], e.baseline[ahead - 1]
    return f"error {error:.2g} of a standard deviation, persistence {baseline:.2g}"


def _slow(e: Examination) -> str:
    """That little moves in the first steps, where so."""
    slow = e.slow_steps
    if not slow:
        return ""
    return f" ({f'up to step {slow}' if slow > 1 else 'at step 1'} persistence is as good: {_errors(e, slow)})"


def _judged_at(e: Examination, used: int | None) -> int | None:
    """The examined step that is nearest to the last one that the agent looks ahead; None if that is not known."""
    known = np.flatnonzero(np.isfinite(e.overall) & (e.count > 0))
    return None if used is None or not len(known) else min(used, int(known[-1]) + 1)


def _looks(e: Examination, ahead: int, used: int | None) -> str:
    """How good it is where its agent looks."""
    where = f"{ahead} steps ahead, " + ("as far as its agent looks," if ahead == used else f"of its agent's {used},")
    better = "better" if e.beats_persistence[ahead - 1] else "no better"
    return f"{where} it is {better} than nothing ({_errors(e, ahead)})"


def judged(e: Examination) -> list[Finding]:
    """Findings for what the verdict holds against a model and no other test looks for."""
    found = []
    if not (np.isfinite(e.overall) | (e.count == 0)).all():
        sentence = "the model's predictions become NaN or infinite within the steps examined"
        remedy = "fit with a smaller learning rate, and clip or normalise what it is fed"
        found.append(Finding("prediction-not-finite", "error", sentence, remedy, {}))
    if e.false_alarm_share > ALARMS:
        sentence = (
            f"the model imagines that the episode has ended in {percent(e.false_alarm_share)} of the steps, up to "
            f"{TERMINATION_STEPS} ahead, at which it really went on"
        )
        remedy = "check how `terminated` is stored; plans cut short by it look worse than they are"
        found.append(Finding("ends-imagined", "warning", sentence, remedy, {"share": e.false_alarm_share}))
    if e.terminations >= FEWEST_ENDS and e.missed_share > MISSED:
        sentence = (
            f"the model imagines that the episode goes on at {percent(e.missed_share)} of real ends, up to "
            f"{TERMINATION_STEPS} steps ahead ({e.terminations} episodes ended)"
        )
        remedy = "give the termination as a function if you know it (--termination), or gather more ends and fit longer"
        found.append(Finding("ends-missed", "warning", sentence, remedy, {"share": e.missed_share}))
    return found


def _confidence(e: Examination) -> str:
    if not e.states_uncertainty:
        return "it states no uncertainty"
    said = []
    kinds = [("over", e.overconfident), ("under", e.underconfident)]
    for word, where in sorted(kinds, key=lambda kind: int(np.argmax(kind[1]))):
        if where.any():
            steps = np.flatnonzero(where) + 1
            share = e.covered_90[where].mean()
            said.append(f"{word}-confident {_span(steps, e.horizon)} (90 % intervals cover {percent(float(share))})")
    if said:
        return " and ".join(said)
    if not np.isfinite(e.covered_90).any():
        return ""
    return f"its 90 % intervals cover {percent(float(np.nanmean(e.covered_90)))}"


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
        few = "; more episodes would tell" if 1 < share < math.inf else ""
        return f"imagined return cannot be told apart from the real one {span} (within ±{size}{few})"
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
