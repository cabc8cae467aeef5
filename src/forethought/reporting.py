"""What a run shows when it ends, or when asked again: figures, video, the doctor's findings, report."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .baseline import advice
from .cards import oracle_return
from .checkup import STREAM, Checkup, of_evaluation
from .core import AbstractEnv, AbstractFilter
from .diagnostics.baseline import Baseline, outcome
from .diagnostics.curves import plot_learning_curves, plot_losses, seed_series
from .diagnostics.divergence import Trace, side_by_side, traces
from .diagnostics.doctor_page import command_line, doctor_page
from .diagnostics.examination import Examination
from .diagnostics.examination_figures import (
    plot_coverage,
    plot_dimensions,
    plot_drift,
    plot_examination,
    plot_likelihood,
    plot_termination,
    plot_uncertainty,
)
from .diagnostics.finding import Finding, told
from .diagnostics.forecast_figure import forecast_trials, plot_forecasts
from .diagnostics.imagined_pictures import picture_traces
from .diagnostics.pictures import frames, strip
from .diagnostics.report import last_evaluations, returns_of, write_report
from .diagnostics.trace_figure import plot_traces
from .diagnostics.video import write_video
from .diagnostics.widths import Widened
from .display import Display
from .errors import UserError
from .filming import film
from .pace import Pace
from .run.evaluate import Evaluation
from .run.film import Film
from .setup import Setup
from .storage import records
from .storage.files import faults, replacing
from .storage.records import write_json
from .storage.run_folder import RunFolder
from .types import Forecasts

CHECK_HORIZON = 25
FILM = "policy.mp4"
IMAGINED, IMAGINED_STILL = "imagined.mp4", "imagined.png"
PICTURE_FPS = 4
CHECK_FIGURES = (
    ("Model check by horizon", "model_check.png"),
    ("Model: imagined return", "model_drift.png"),
    ("Model: uncertainty and error", "model_uncertainty.png"),
)
FORECASTS = ("Model: predicted and real trials", "forecasts.png")


@dataclasses.dataclass
class Shown:
    """Paths of what was made, and the model's verdict; None where there was nothing to show."""

    report: Path
    curve: Path | None
    video: Path | None
    verdict: str | None
    findings: list[Finding] = dataclasses.field(default_factory=list)
    outcome: str | None = None  # whether it has learned
    notes: list[str] = dataclasses.field(default_factory=list)  # on the video, and on what was left out


def show(
    setup: Setup,
    folder: RunFolder,
    state: Any,
    replay: Any,
    evaluation: Evaluation | None,
    *,
    video: bool = True,
    films: Sequence[Film] = (),
    display: Display | None = None,
    pace: Pace | None = None,
) -> Shown:
    """Draws curves, lets the doctor look at the model on the evaluation's episodes, films, and writes the report.

    `state` and `replay` are those of the first seed, `films` of the evaluation's first episodes. What takes long is
    left out, and a note says so, once the time of `pace` is over.
    """
    notes: list[str] = []
    told_notes: list[str] = []
    display = Display(quiet=True) if display is None else display
    if pace is not None and pace.over:
        told_notes.append(f"{pace.said()}: no look at the model, no video (`forethought doctor` and `video` make them)")
        evaluation = None
    film_path = None
    note_outcome(setup, folder)  # first: what follows takes long, and may be broken off
    forecasts = setup.agent.forecasts(state)
    if forecasts is not None and setup.run.num_envs == 1:
        notes += _draw_forecasts(forecasts, replay, folder)
    if evaluation is not None:
        examined = setup.agent.model(state) is not None and setup.env.spec.num_states is None
        if examined and "model" not in setup.given and not folder.metrics("update"):
            told_notes.append("nothing was learned: the model is as it was made, and was not examined")
            examined = False
        if examined:
            display.doing("examining the model")
            try:
                notes += look(setup, folder, state, replay, evaluation, video=video)
            except Exception as error:  # whatever the doctor meets, a finished run keeps its report
                notes.append(f"the doctor could not look at the model: {told(error)}")
        if video:
            display.doing("drawing the video")
            try:
                film_path, more = film(setup, state, folder.videos / FILM, evaluation=evaluation, films=films)
                told_notes += more
            except UserError as error:
                notes.append(f"no video: {error}")
    display.doing("writing the report")
    shown = write(folder, notes=told_notes + notes, video=film_path)
    return dataclasses.replace(shown, notes=told_notes)


def note_outcome(setup: Setup, folder: RunFolder) -> None:
    """Writes into the record whether the run has learned, where there is something to compare it with."""
    baseline, rows = Baseline.of_record(folder.record), folder.metrics()
    finals = [returns_of(row) for row in last_evaluations(rows).values()]
    if baseline is None or not finals:
        return
    updates = max((int(row["update"]) for row in rows if row.get("kind") == "update"), default=0)
    tried = advice(setup, updates=updates, steps=max(int(row["env_steps"]) for row in rows))
    folder.update_record(outcome=outcome(np.concatenate(finals).tolist(), baseline, tried))


def curve(folder: RunFolder, out: Path | None, *, metric: Literal["eval", "episode"]) -> Path:
    """Draws the learning curve of a run. Raises UserError for another kind of file, and if there is nothing to draw."""
    out = folder.figures / "learning_curve.png" if out is None else out
    if out.suffix not in (".png", ".svg"):
        raise UserError(f"out={out} must end in .png or .svg")
    record = folder.record
    return plot_learning_curves(
        {record["agent"]: folder.metrics()}, out, metric=metric, oracle=oracle_return(record["env"])
    )


LADDER = "ladder.png"  # drawn by `forethought ladder`


def write(
    folder: RunFolder,
    *,
    notes: list[str] | None = None,
    video: Path | None = None,
) -> Shown:
    """Curves and report from what the folder holds; what was made earlier is used again."""
    rows, figures = folder.metrics(whole=True), {}
    oracle, baseline = oracle_return(folder.record["env"]), Baseline.of_record(folder.record)
    random = None if baseline is None else baseline.mean
    label = {folder.record["agent"]: rows}
    curve = None
    shown: tuple[tuple[Literal["eval", "episode"], str, str], ...] = (
        ("eval", "Learning curve: evaluations", "learning_curve.png"),
        ("episode", "Returns of training episodes", "training_episodes.png"),
    )
    for metric, title, name in shown:
        if seed_series(rows, metric, "mean_return" if metric == "eval" else "return"):
            figures[title] = plot_learning_curves(
                label, folder.figures / name, metric=metric, oracle=oracle, random=random
            )
            curve = curve or figures[title]
    if any("model/loss" in r for r in rows):
        figures["Model loss"] = plot_losses(rows, folder.figures / "losses.png")
    if (folder.figures / LADDER).is_file():
        figures["Ladder: strength by stage"] = folder.figures / LADDER
    figures |= {title: folder.figures / name for title, name in CHECK_FIGURES if (folder.figures / name).is_file()}
    if (folder.figures / FORECASTS[1]).is_file():
        figures[FORECASTS[0]] = folder.figures / FORECASTS[1]
    if video is None:
        video = next(iter(sorted(folder.videos.glob("policy.*"))), None)
    still = folder.figures / IMAGINED_STILL
    dreamt = next(iter(sorted(folder.videos.glob(f"{Path(IMAGINED).stem}.*"))), None)
    summary = {k: v for k, v in (("oracle_return", oracle), ("random_return", random)) if v is not None}
    if rows:
        summary["wall_s"] = rows[-1]["wall_s"]
    findings = _recorded_findings(folder)
    report = write_report(
        folder.report,
        record=folder.record,
        rows=rows,
        figures=figures,
        video=video,
        imagined=(still if still.is_file() else None, dreamt),
        summary=summary,
        verdict=folder.record.get("verdict"),
        findings=findings,
        notes=notes or [],
    )
    return Shown(report, curve, video, folder.record.get("verdict"), findings, folder.record.get("outcome"))


def _recorded_findings(folder: RunFolder) -> list[Finding]:
    where = f"{folder.path / 'run.json'}: findings"
    remedy = "remove findings and verdict there, and let `forethought doctor` look again"
    found = [records.check(f, records.FindingRecord, where, remedy=remedy) for f in folder.record.get("findings", [])]
    return [Finding(**{name: f[name] for name in records.FindingRecord.__annotations__}) for f in found]


def _draw_forecasts(forecasts: Forecasts, replay: Any, folder: RunFolder) -> list[str]:
    """The figure of what was predicted of each trial and what happened; a note if there can be none."""
    rows, in_use = jax.tree.map(np.asarray, replay.rows())
    trials = forecast_trials(forecasts, jax.tree.map(lambda x: x[in_use], rows))
    if not trials:
        return ["no trial was predicted before it was run"]
    plot_forecasts(trials, folder.figures / FORECASTS[1])
    return []


def look(
    setup: Setup, folder: RunFolder, state: Any, replay: Any, evaluation: Evaluation, *, video: bool = True
) -> list[str]:
    """The doctor's look at the episodes of an evaluation: verdict and findings into the record, figures; its notes.

    Where the task is seen as pictures, also what the model imagines of them, unless not `video` as stills alone.
    """
    key = jr.fold_in(jr.key(setup.run.seed), STREAM)
    more: dict[str, Any] = {"horizon": CHECK_HORIZON, "quick": True, "record": folder.record}
    checkup = of_evaluation(setup, state, replay, evaluation, source=str(folder.path), key=key, **more)
    folder.update_record(verdict=checkup.verdict, findings=[f.as_dict() for f in checkup.findings])
    if checkup.examination is not None:
        drawn = (plot_examination, plot_drift, plot_uncertainty)
        for (_, name), plot in zip(CHECK_FIGURES, drawn):
            plot(checkup.examination, folder.figures / name)
        if checkup.spec.image is not None:
            film = folder.videos / IMAGINED if video else None
            try:
                picture_imagination(checkup, folder.figures / IMAGINED_STILL, film)
            except Exception as error:
                checkup.notes.append(f"imagination could not be drawn beside reality: {told(error)}")
    return checkup.notes


def write_checkup(checkup: Checkup, folder: Path, *, env: Any = None, target: str) -> dict[str, Path]:
    """Everything that the doctor found, into `folder`: figures, video or traces, recalibration, JSON, page; the paths.

    `env` draws what is imagined beside what was real, where it can tell its state from an observation; pictures need
    no drawing.
    """
    with faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths, figures, video, still = {"figures": folder, "summary": folder / "doctor.json"}, {}, None, None
    write_json(paths["summary"], checkup.summary())
    if checkup.recalibration is not None:
        paths["recalibration"] = folder / "recalibration.npz"
        checkup.recalibration.save(paths["recalibration"])
    if checkup.examination is not None:
        figures = _examination_figures(checkup, checkup.examination, folder)
        try:
            if checkup.spec.image is not None:
                still, video = picture_imagination(checkup, folder / IMAGINED_STILL, folder / IMAGINED)
            else:
                found = imagine(checkup)
                figures["Imagined beside real"] = plot_traces(found, folder / "traces.png")
                video = film_imagination(env, found, folder / IMAGINED)
        except Exception as error:  # a picture that cannot be drawn costs no more than itself
            checkup.notes.append(f"imagination could not be drawn beside reality: {told(error)}")
    paths["page"] = folder / "doctor.html"
    page = doctor_page(
        source=checkup.source,
        verdict=checkup.verdict,
        findings=checkup.findings,
        examination=checkup.examination,
        change=checkup.change,
        episodes=checkup.episodes,
        heads=checkup.heads,
        figures=figures,
        still=still,
        video=video,
        notes=checkup.notes,
        command=command_line(target),
    )
    with replacing(paths["page"]) as file:
        file.write(page.encode())
    paths |= {} if still is None else {"still": still}
    return paths if video is None else paths | {"video": video}


def _examination_figures(checkup: Checkup, e: Examination, folder: Path) -> dict[str, Path]:
    after = None if checkup.change is None else checkup.change.after
    wanted = {
        "By horizon": lambda: plot_examination(
            e, folder / "horizon.png", recalibrated=after, coverage=not e.states_uncertainty
        ),
        "By dimension": lambda: plot_dimensions(e, folder / "dimensions.png"),
        "Imagined return": lambda: plot_drift(e, folder / "drift.png"),
    }
    if e.states_uncertainty:
        wanted["Coverage"] = lambda: plot_coverage(e, folder / "coverage.png", recalibrated=after)
        if np.isfinite(e.nll).any():
            wanted["Likelihood"] = lambda: plot_likelihood(e, folder / "likelihood.png", recalibrated=after)
        wanted["Uncertainty"] = lambda: plot_uncertainty(e, folder / "uncertainty.png")
    if e.terminations:
        wanted["Termination"] = lambda: plot_termination(e, folder / "termination.png")
    figures = {}
    for title, plot in wanted.items():
        try:
            figures[title] = plot()
        except Exception as error:
            checkup.notes.append(f"no figure {title!r}: {told(error)}")
    return figures


def imagine(checkup: Checkup) -> list[Trace]:
    """Stretches of the longest fresh episode, imagined from its beginning, middle and towards its end."""
    fresh, e = checkup.fresh, checkup.examination
    if fresh is None or e is None or checkup.model is None:
        return []
    longest = int(np.argmax(fresh.lengths))
    length = int(fresh.lengths[longest])
    starts = sorted({min(int(part * length / 3), max(length - e.horizon, 0)) for part in range(3)})
    one = fresh.chosen([longest]).padded()
    model = checkup.model
    if e.width is not None and isinstance(model, AbstractFilter):
        model = Widened(model, jnp.asarray(e.width, jnp.float32))
    return traces(model, one, checkup.spec, starts=starts, horizon=e.horizon, key=jr.key(0))


def picture_imagination(checkup: Checkup, still: Path, video: Path | None) -> tuple[Path | None, Path | None]:
    """What the model imagines of pictures beside the real ones, as a `still` strip and as a `video`; the paths.

    None for what there is nothing of, or was not asked for.
    """
    fresh, e = checkup.fresh, checkup.examination
    if fresh is None or e is None or checkup.model is None:
        return None, None
    found = picture_traces(checkup.model, fresh, checkup.spec, horizon=e.horizon, key=jr.key(0))
    drawn = strip(found, still)
    return drawn, None if video is None else write_video(video, frames(found), fps=PICTURE_FPS)


def film_imagination(env: Any, found: list[Trace], path: Path) -> Path | None:
    """Imagined beside real, one stretch after another; None where the environment draws nothing from an observation."""
    if not isinstance(env, AbstractEnv) or not found:
        return None
    frames: list[np.ndarray] = []
    for trace in found:
        drawn = [[_drawn_from(env, obs) for obs in (trace.obs, *seen)] for seen in (trace.real, trace.path)]
        real, imagined = ([frame for frame in side if frame is not None] for side in drawn)
        if len(real) + len(imagined) < sum(map(len, drawn)):
            return None
        frames += side_by_side(real, imagined, trace.diverged_at)
    return write_video(path, frames, fps=12)


def _drawn_from(env: AbstractEnv, obs: np.ndarray) -> np.ndarray | None:
    state = env.state_from(jnp.asarray(obs, jnp.float32))
    return None if state is None else env.render(state)
