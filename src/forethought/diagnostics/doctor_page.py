"""The doctor's page: one HTML file with the verdict, what was found, and every figure."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..text import percent
from . import page
from .calibration import CoverageChange
from .examination import Examination
from .finding import Finding
from .heads import Heads

SHOWN = (1, 2, 3, 5, 10, 15, 20, 25, 50, 100)
MEANINGS = (
    ("error", "root mean squared error of the predicted mean, in standard deviations of the observations"),
    ("nothing changes", "the same error for predicting that nothing moves (persistence); above it a model is useless"),
    ("a pixel", "of pictures: root mean squared error of a pixel that varies, 0 being black and 1 white"),
    ("inside 90 %", "share of real observations inside the intervals that should hold 90 % of them"),
    ("likelihood", "negative log-likelihood per dimension, lower is better; it punishes false certainty hard"),
    ("rank", "Spearman correlation of stated uncertainty and real error: 1 if it always knows where it errs"),
    ("reward", "root mean squared error of the predicted reward, in standard deviations of the reward"),
    ("return", "imagined minus real return over so many steps, per mean real return where that is not near zero"),
)


IMAGINED = (
    "Pictures that the model has seen (grey), then what it imagines from the actions alone: the mean of several "
    "samples, framed in green, and in orange from the step on at which it is no nearer to the real picture than the "
    "average of all pictures. Below: the standard deviation over the samples, and the error."
)


def doctor_page(
    *,
    source: str,
    verdict: str,
    findings: Sequence[Finding],
    examination: Examination | None,
    change: CoverageChange | None,
    episodes: Mapping[str, int],
    heads: Heads | None = None,
    figures: Mapping[str, Path],
    still: Path | None = None,
    video: Path | None,
    notes: Sequence[str],
    command: str,
) -> str:
    """The whole page; figures, `video` and `still` pictures of what was imagined are embedded."""
    body = [
        f"<header><h1>Model doctor: {page.text(source)}</h1></header>",
        f'<div class="cards">{"".join(_cards(findings, examination, episodes))}</div>',
        page.section("Verdict", page.sentence(verdict, "verdict")),
        page.section("Findings", found(findings)),
        page.section("Figures", *(page.picture(title, file) for title, file in figures.items())) if figures else "",
        imagined_beside_real(still, video),
        page.section("By horizon", _horizons(examination), _meanings()) if examination is not None else "",
        page.section("Reward and continue heads", *_heads(heads, examination)) if heads is not None else "",
        page.section("Recalibration", *_recalibration(change)) if change is not None else "",
        page.section("Notes", *(page.sentence(note) for note in notes)) if notes else "",
        page.section("Commands", page.commands([("Look again", command)])),
        "<footer>Written by Forethought. One file: no script, no network, no tracking.</footer>",
    ]
    return page.page(f"Model doctor: {source}", [part for part in body if part])


def found(findings: Sequence[Finding]) -> str:
    """The findings as HTML, or a sentence that there are none."""
    if not findings:
        return page.sentence("None of the doctor's tests fired; the verdict says how far to trust the model.", "quiet")
    return "".join(page.finding(f.severity, f.name, f.sentence, f.remedy) for f in findings)


def imagined_beside_real(still: Path | None, video: Path | None) -> str:
    """A section with the video and the still pictures of what was imagined; nothing if there are none."""
    parts = [page.video(video)] if video is not None else []
    if still is not None:
        parts += [page.sentence(IMAGINED), page.still("imagined beside real", still)]
    return page.section("Imagined beside real", *parts) if parts else ""


def _heads(heads: Heads, e: Examination | None) -> list[str]:
    """One step after filtering, then by horizon, and how often ends come when they are predicted."""
    rows = [
        ("reward: error", _number(heads.reward_error), _number(heads.reward_constant)),
        ("going on: squared error", _number(heads.brier), _number(heads.brier_constant)),
    ]
    said = f"One step ahead of what was filtered, over {heads.steps:,} steps with {heads.terminations} terminations."
    if math.isfinite(heads.reward_correlation):
        said += f" Predicted and real rewards have a correlation of {_number(heads.reward_correlation)}."
    if math.isfinite(heads.told_apart):
        said += f" A real end is held likelier than a step that went on in {percent(heads.told_apart)} of pairs."
    parts = [page.sentence(said), page.table(rows, ["", "model", "best constant"])]
    if heads.terminations:
        few = " Few ends leave wide intervals." if heads.terminations < 10 else ""
        parts.append(page.sentence(f"How often the episode ended where an end was predicted with such a chance.{few}"))
        parts.append(page.table(heads.calibration(), ["predicted", "steps", "ends", "share", "95 % interval"]))
    if e is not None:
        head = ["steps ahead", "reward error (sd)", "correlation", "going on: squared error", "best constant"]
        shown = (h - 1 for h in SHOWN if h <= e.horizon)
        columns = (e.reward_error, e.reward_correlation, e.continuation_error, e.continuation_constant)
        parts.append(page.table([(i + 1, *(_number(c[i]) for c in columns)) for i in shown], head))
    return parts


def _cards(findings: Sequence[Finding], e: Examination | None, episodes: Mapping[str, int]) -> list[str]:
    graves = {kind: sum(f.severity == kind for f in findings) for kind in ("error", "warning", "note")}
    said = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in graves.items() if n) or "nothing found"
    fresh = f"{episodes.get('fresh', 0)} episodes that the model has not seen"
    if e is None:
        return [page.card("Findings", str(len(findings)), said), page.card("Examined on", "–", fresh)]
    pictures = e.names[0] == "picture"
    grey = f"; pictures: {e.error[0, 0] * e.scale[0]:.2g} a pixel in 0..1" if pictures else ""
    covered = page.card("Inside 90 % intervals", percent(e.covered_90[0]), f"one step ahead; {_last(e)}")
    return [
        page.card("Trusted to", f"{e.trusted_steps} steps", f"of {e.horizon} examined"),
        page.card("One-step error", f"{e.overall[0]:.3g} sd", f"nothing changes: {e.baseline[0]:.3g} sd{grey}"),
        covered if e.states_uncertainty else page.card("Inside 90 % intervals", "–", "it states no uncertainty"),
        page.card("Findings", str(len(findings)), said),
        page.card("Examined on", f"{e.episodes}", fresh),
    ]


def _last(e: Examination) -> str:
    return f"{percent(e.covered_90[-1])} {e.horizon} ahead"


def _horizons(e: Examination) -> str:
    pictures = e.names[0] == "picture"
    head = ["steps ahead", "starts", "error", "nothing changes", *["a pixel"] * pictures, "inside 90 %", "likelihood"]
    head += ["rank", "reward", "return"]
    lines = []
    for h in (h for h in SHOWN if h <= e.horizon):
        i = h - 1
        drift = e.drift[i] / abs(e.real_return[i]) if abs(e.real_return[i]) > 1e-9 else math.nan
        numbers = [e.overall[i], e.baseline[i], *[e.error[i, 0] * e.scale[0]] * pictures]
        covered = percent(e.covered_90[i]) if e.states_uncertainty else "–"
        rest = [e.nll[i], e.rank[i], e.reward_error[i]]
        gap = percent(drift, signed=True)
        lines.append((h, int(e.count[i]), *map(_number, numbers), covered, *map(_number, rest), gap))
    return page.table(lines, head)


def _meanings() -> str:
    return page.folded("What these numbers mean", page.table(MEANINGS), unfolded=False)


def _recalibration(change: CoverageChange) -> list[str]:
    rows = change.rows()
    shown = [r for r in rows if r["horizon"] in SHOWN]
    lines = [(r["horizon"], percent(r["before"]), percent(r["after"]), r["starts"]) for r in shown]
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
