"""What the model doctor says of one model, from fresh episodes and, where they are at hand, its training data."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from .core import AbstractFilter, AbstractModel
from .diagnostics.calibration import CoverageChange, Recalibration, coverage_change, recalibrate
from .diagnostics.data_checks import without_faults
from .diagnostics.examination import Examination, examine
from .diagnostics.finding import Finding, told
from .diagnostics.findings import Evidence, find, in_order
from .diagnostics.heads import Heads, heads
from .diagnostics.logged import Logged
from .diagnostics.one_step import OneStep, following
from .diagnostics.verdict import judged, plain_verdict
from .models.recalibrated import Recalibrated
from .models.world_model import WorldModel
from .storage import provenance
from .types import EnvSpec, Given

HORIZON = 25


@dataclasses.dataclass
class Checkup:
    """What the doctor says of one model."""

    source: str  # the run, model or data that was looked at
    verdict: str
    findings: list[Finding]  # the gravest first
    examination: Examination | None  # None where nothing could be compared
    recalibration: Recalibration | None
    change: CoverageChange | None  # before and after recalibration, on episodes that it was not made from
    heads: Heads | None  # of a latent model: what it says of rewards and ends one step after filtering
    notes: list[str]
    model: AbstractModel | None
    spec: EnvSpec
    fresh: Logged | None  # the episodes that it was judged on
    episodes: dict[str, int]  # how many there were of which kind
    paths: dict[str, Path] = dataclasses.field(default_factory=dict)  # what was written, once it was

    def summary(self) -> dict[str, Any]:
        """What is written to `doctor.json`: every figure, as plain numbers."""
        e = self.examination
        return {
            "format": 1,
            "source": self.source,
            "verdict": self.verdict,
            "findings": [f.as_dict() for f in self.findings],
            "trusted_steps": None if e is None else e.trusted_steps,
            "episodes": self.episodes,
            "examination": None if e is None else _plain(e),
            "heads": None if self.heads is None else _plain(self.heads),
            "recalibration": None if self.change is None else _plain(self.change.rows()),
            "notes": self.notes,
            "versions": provenance.versions(),
            "hardware": provenance.hardware(jax.devices()),
        }

    def table(self) -> list[tuple[str, str, str]]:
        """Rows of (severity and name, what was found, remedy); one row that says so if there is nothing."""
        rows = [(f"{f.severity}: {f.name}", f.sentence, f.remedy) for f in self.findings]
        return rows or [
            ("nothing found", "none of the doctor's tests fired; the verdict says how far to trust the model", "")
        ]


def diagnose(
    model: AbstractModel | None,
    fresh: Logged | None,
    spec: EnvSpec,
    *,
    given: Given | None = None,
    training: Logged | None = None,
    stored: tuple[Any, np.ndarray] | None = None,
    source: str,
    horizon: int = HORIZON,
    notes: list[str] | None = None,
    found: list[Finding] | None = None,
    quick: bool = False,
    used: int | None = None,
    beside: str = "",
    say: Callable[[str], None] = lambda work: None,
    key: PRNGKeyArray,
) -> Checkup:
    """Everything that can be said of `model` from `fresh` episodes and, where it is at hand, its training data.

    `used` and `beside` are as in `plain_verdict`; `say` is told what is being done.
    """
    found, notes, given = list(found or []), list(notes or []), Given() if given is None else given
    counts = {name: 0 if part is None else len(part.spans) for name, part in (("fresh", fresh), ("training", training))}
    fresh, more = _finite(fresh, "fresh episodes", notes)
    found += more
    training, more = _finite(training, "training data", notes)
    found += more
    say("examining the model's predictions")
    examination = recalibration = change = said = latent = None
    if isinstance(model, AbstractFilter) and fresh is not None:
        said, latent = _predicted(model, fresh, spec, notes=notes, key=jr.fold_in(key, 2))
    if model is not None and fresh is not None:
        examination, recalibration, change = _examined(
            model, fresh, spec, given, horizon=horizon, notes=notes, recalibrated=not quick, key=key
        )
    evidence = Evidence(
        spec=spec,
        fresh=fresh,
        training=training,
        model=model,
        stored=stored,
        reward=given.reward,
        learned_reward=given.reward is None,
        learned_termination=given.termination is None,
        said=said,
    )
    say("testing data and model for faults")
    found += find(evidence, key=jr.fold_in(key, 1), quick=quick)
    found += [] if examination is None else judged(examination)
    if quick:
        left = "" if isinstance(model, AbstractFilter) else ", and the recalibration,"
        notes.append(f"the tests that take long{left} were left to `forethought doctor`")
    if training is None:
        notes.append("the training data are not at hand: tests that need them were left out")
    verdict = (
        "The model could not be examined."
        if examination is None
        else plain_verdict(examination, used=used, beside=beside)
    )
    return Checkup(
        source=source,
        verdict=verdict,
        findings=in_order(found),
        examination=examination,
        recalibration=recalibration,
        change=change,
        heads=latent,
        notes=notes,
        model=model,
        spec=spec,
        fresh=fresh,
        episodes=counts,
    )


def _finite(data: Logged | None, what: str, notes: list[str]) -> tuple[Logged | None, list[Finding]]:
    """The episodes that can be worked with, None if there are none."""
    if data is None or not len(data.rows.reward):
        return None, []
    data, found = without_faults(data, what)
    if not data.spans:
        notes.append(f"no episode of the {what} is finite, so nothing more could be said of them")
        return None, found
    return data, found


def _predicted(
    model: AbstractFilter, fresh: Logged, spec: EnvSpec, *, notes: list[str], key: PRNGKeyArray
) -> tuple[OneStep | None, Heads | None]:
    """What a latent model says of every fresh row, and how good its heads are; None, and a note, if asking fails."""
    try:
        said = following(model, fresh, spec, key=key)
        return said, heads(said, fresh)
    except Exception as error:
        notes.append(f"the reward and continue heads were not examined: {told(error)}")
        return None, None


def _examined(
    model: AbstractModel,
    fresh: Logged,
    spec: EnvSpec,
    given: Given,
    *,
    horizon: int,
    notes: list[str],
    recalibrated: bool,
    key: PRNGKeyArray,
) -> tuple[Examination | None, Recalibration | None, CoverageChange | None]:
    """Examination; recalibration from all episodes, and what one from every other episode does to the rest."""
    look_key, fit_key, judge_key = jr.split(key, 3)
    latent = isinstance(model, WorldModel)  # the width of its observations is a weight in its loss, no uncertainty
    try:
        examination = examine(model, fresh.padded(), spec, horizon=horizon, widened=latent, key=look_key)
    except Exception as error:  # the model may be anybody's, and the data can be looked at without it
        notes.append(f"the model was not examined: {told(error)}")
        return None, None, None
    notes += examination.notes
    if latent:
        notes.append(
            "intervals are the spread of samples of the latent, and about each the width that one-step errors in other "
            "episodes leave: the model states no width of its own (its loss's is a weight)"
        )
    if isinstance(model, AbstractFilter):
        notes.append("no recalibration: agents decide in this model's latent states, which it does not reach")
        return examination, None, None
    if not recalibrated:
        return examination, None, None
    if len(fresh.spans) < 2:
        notes.append("no recalibration: it takes at least 2 episodes, one to make it from and one to judge it on")
        return examination, None, None
    made, judged = (fresh.chosen(range(first, len(fresh.spans), 2)) for first in (0, 1))
    try:
        recalibration = recalibrate(model, made.padded(), spec, horizon=horizon, key=fit_key)
        better = Recalibrated(model, recalibration, spec, given=given)
        change = coverage_change(model, better, judged.padded(), spec, horizon=horizon, key=judge_key)
        # What is kept is made from all episodes: what was judged is a lower bound of how good it is.
        kept = recalibrate(model, fresh.padded(), spec, horizon=horizon, key=fit_key)
    except Exception as error:
        notes.append(f"no recalibration: {told(error)}")
        return examination, None, None
    return examination, kept, change


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and numbers as JSON holds them; what is not finite becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
