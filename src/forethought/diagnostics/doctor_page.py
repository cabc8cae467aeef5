"""The doctor's page: one HTML file with the verdict, what was found, and every figure."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import page
from .calibration import CoverageChange
from .examination import Examination
from .finding import Finding

SHOWN = (1, 2, 3, 5, 10, 15, 20, 25, 50, 100)
MEANINGS = (
    ("error", "root mean squared error of the predicted mean, in standard deviations of the observations"),
    ("nothing changes", "the same error for predicting that nothing moves (persistence); above it a model is useless"),
    ("inside 90 %", "share of real observations inside the intervals that should hold 90 % of them"),
    ("likelihood", "negative log-likelihood per dimension, lower is better; it punishes false certainty hard"),
    ("rank", "Spearman correlation of stated uncertainty and real error: 1 if it always knows where it errs"),
    ("reward", "root mean squared error of the predicted reward, in standard deviations of the reward"),
    ("return", "imagined minus real return over so many steps, per mean real return where that is not near zero"),
)


def doctor_page(
    *,
    source: str,
    verdict: str,
    findings: Sequence[Finding],
    examination: Examination | None,
    change: CoverageChange | None,
    episodes: Mapping[str, int],
    figures: Mapping[str, Path],
    video: Path | None,
    notes: Sequence[str],
    command: str,
) -> str:
    """The whole page; pictures and video are embedded."""
    body = [
        f"<header><h1>Model doctor: {page.text(source)}</h1></header>",
        f'<div class="cards">{"".join(_cards(findings, examination, episodes))}</div>',
        page.section("Verdict", page.sentence(verdict, "verdict")),
        page.section("Findings", found(findings)),
        page.section("Figures", *(page.picture(title, file) for title, file in figures.items())) if figures else "",
        page.section("Imagined beside real", page.video(video)) if video is not None else "",
        page.section("By horizon", _horizons(examination), _meanings()) if examination is not None else "",
        page.section("Recalibration", *_recalibration(change)) if change is not None else "",
        page.section("Notes", *(page.sentence(note) for note in notes)) if notes else "",
        page.section("Commands", page.commands([("Look again", command)])),
        "<footer>Written by Forethought. One file: no script, no network, no tracking.</footer>",
    ]
    return page.page(f"Model doctor: {source}", [part for part in body if part])


def found(findings: Sequence[Finding]) -> str:
    """The findings as HTML, or a sentence that there are none."""
    if not findings:
        return page.sentence("None of the doctor's tests fired.", "quiet")
    return "".join(page.finding(f.severity, f.name, f.sentence, f.remedy) for f in findings)


def _cards(findings: Sequence[Finding], e: Examination | None, episodes: Mapping[str, int]) -> list[str]:
    graves = {kind: sum(f.severity == kind for f in findings) for kind in ("error", "warning", "note")}
    said = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in graves.items() if n) or "nothing found"
    fresh = f"{episodes.get('fresh', 0)} episodes that the model has not seen"
    if e is None:
        return [page.card("Findings", str(len(findings)), said), page.card("Examined on", "–", fresh)]
    covered = page.card("Inside 90 % intervals", _percent(e.covered_90[0]), f"one step ahead; {_last(e)}")
    return [
        page.card("Trusted to", f"{e.trusted_steps} steps", f"of {e.horizon} examined"),
        page.card("One-step error", f"{e.overall[0]:.3g} sd", f"nothing changes: {e.baseline[0]:.3g} sd"),
        covered if e.states_uncertainty else page.card("Inside 90 % intervals", "–", "it states no uncertainty"),
        page.card("Findings", str(len(findings)), said),
        page.card("Examined on", f"{e.episodes}", fresh),
    ]


def _last(e: Examination) -> str:
    return f"{_percent(e.covered_90[-1])} {e.horizon} ahead"


def _horizons(e: Examination) -> str:
    head = ["steps ahead", "starts", "error", "nothing changes", "inside 90 %", "likelihood", "rank"]
    head += ["reward", "return"]
    lines = []
    for h in (h for h in SHOWN if h <= e.horizon):
        i = h - 1
        drift = e.drift[i] / abs(e.real_return[i]) if abs(e.real_return[i]) > 1e-9 else math.nan
        numbers = [e.overall[i], e.baseline[i]]
        covered = _percent(e.covered_90[i]) if e.states_uncertainty else "–"
        rest = [e.nll[i], e.rank[i], e.reward_error[i]]
        gap = f"{100 * drift:+.1f} %" if math.isfinite(drift) else "–"
        lines.append((h, int(e.count[i]), *map(_number, numbers), covered, *map(_number, rest), gap))
    return page.table(lines, head)


def _meanings() -> str:
    return page.folded("What these numbers mean", page.table(MEANINGS), unfolded=False)


def _recalibration(change: CoverageChange) -> list[str]:
    rows = change.rows()
    shown = [r for r in rows if r["horizon"] in SHOWN]
    lines = [(r["horizon"], _percent(r["before"]), _percent(r["after"]), r["starts"]) for r in shown]
    said = (
        "Share of real observations inside the 90 % intervals before and after a recalibration from every other "
        "episode, on the rest. recalibration.npz holds one from all of them; forethought evaluate RUN --recalibrated "
        "plans with it."
    )
    return [page.sentence(said), page.table(lines, ["steps ahead", "before", "after", "starts"])]


def command_line(target: str) -> str:
    """The command that looks again."""
    return f"forethought doctor {shlex.quote(target)}"


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "–"
