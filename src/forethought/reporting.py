"""What a run shows when it ends, or when asked again: figures, video, model check, report."""

import dataclasses
import operator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.random as jr
import numpy as np

from .cards import oracle_return
from .core import AbstractEnv
from .diagnostics.curves import plot_learning_curves, plot_losses, seed_series
from .diagnostics.model_check import horizon_errors, plain_verdict, plot_model_check
from .diagnostics.report import write_report
from .diagnostics.video import overlay, write_video
from .errors import UserError
from .run.evaluate import Evaluation, finished
from .run.steps import HostEvaluator
from .setup import Setup
from .storage.run_folder import RunFolder

CHECK_HORIZON = 25
MAX_FRAMES = 600


@dataclasses.dataclass
class Shown:
    """Paths of what was made, and the model's verdict; None where there was nothing to show."""

    report: Path
    curve: Path | None
    video: Path | None
    verdict: str | None


def show(setup: Setup, folder: RunFolder, state: Any, evaluation: Evaluation | None, *, video: bool = True) -> Shown:
    """Draws curves, checks the model on the evaluation's trajectories, films, and writes the report.

    `state` is the agent state of the first seed.
    """
    notes: list[str] = []
    check_path = verdict = film_path = None
    if evaluation is not None:
        check_path, verdict = check_model(setup, folder, state, evaluation, notes)
        if video:
            try:
                film_path = film(setup, folder, state, evaluation)
            except UserError as error:
                notes.append(f"no video: {error}")
    return write(folder, notes=notes, check=(check_path, verdict), video=film_path)


def write(
    folder: RunFolder,
    *,
    notes: list[str] | None = None,
    check: tuple[Path | None, str | None] | None = None,
    video: Path | None = None,
) -> Shown:
    """Curves and report from what the folder holds; what was made earlier is used again."""
    rows, figures = folder.metrics(), {}
    oracle = oracle_return(folder.record["env"])
    label = {folder.record["agent"]: rows}
    curve = None
    shown: tuple[tuple[Literal["eval", "episode"], str, str], ...] = (
        ("eval", "Learning curve: evaluations", "learning_curve.png"),
        ("episode", "Returns of training episodes", "training_episodes.png"),
    )
    for metric, title, name in shown:
        if seed_series(rows, metric, "mean_return" if metric == "eval" else "return"):
            figures[title] = plot_learning_curves(label, folder.figures / name, metric=metric, oracle=oracle)
            curve = curve or figures[title]
    if any("model/loss" in r for r in rows):
        figures["Model loss"] = plot_losses(rows, folder.figures / "losses.png")
    check_path, verdict = check or (None, None)
    if check_path is None and (folder.figures / "model_check.png").is_file():
        check_path, verdict = folder.figures / "model_check.png", folder.record.get("verdict")
    if check_path is not None:
        figures["Model check by horizon"] = check_path
    if video is None:
        video = next(iter(sorted(folder.videos.glob("policy.*"))), None)
    summary = {"oracle_return": oracle} if oracle is not None else {}
    if rows:
        summary["wall_s"] = rows[-1]["wall_s"]
    report = write_report(
        folder.report,
        record=folder.record,
        rows=rows,
        figures=figures,
        video=video,
        summary=summary,
        verdict=verdict,
        notes=notes or [],
    )
    return Shown(report, curve, video, verdict)


def check_model(
    setup: Setup, folder: RunFolder, state: Any, evaluation: Evaluation, notes: list[str]
) -> tuple[Path | None, str | None]:
    """Holds the model against the evaluation's trajectories, which it was not trained on."""
    model = setup.agent.model(state)
    if model is None:
        return None, None
    horizon = max(1, min(CHECK_HORIZON, int(np.max(evaluation.lengths)) // setup.env.spec.action_repeat))
    try:
        check = horizon_errors(
            model, evaluation.trajectories, setup.env.spec, horizon=horizon, key=jr.key(setup.run.seed)
        )
    except UserError as error:
        notes.append(f"no model check: {error}")
        return None, None
    verdict = plain_verdict(check)
    folder.update_record(verdict=verdict)
    return plot_model_check(check, folder.figures / "model_check.png"), verdict


def film(setup: Setup, folder: RunFolder, state: Any, evaluation: Evaluation | None) -> Path:
    """A video of one episode of the policy. Raises UserError if the environment has no picture."""
    if isinstance(setup.env, AbstractEnv) and evaluation is not None and evaluation.states is not None:
        frames, rewards = _drawn(setup.env, evaluation)
    else:
        frames = []
        evaluator = HostEvaluator(setup.agent, setup.evaluation_env, num_episodes=1, plan_ms=setup.run.plan_ms)
        filmed = finished(evaluator.steps(state, key=jr.key(setup.run.seed), frames=frames))
        rewards = np.asarray(filmed.trajectories.reward)[0]
    if not frames or frames[0] is None:
        raise UserError(f"{setup.env_name} draws no picture; make it with render_mode='rgb_array'")
    total = np.cumsum(rewards[: len(frames)])
    named = [overlay(f, f"step {t + 1}   return {r:.1f}") for t, (f, r) in enumerate(zip(frames, total))]
    return write_video(folder.videos / "policy.mp4", named, fps=30)


def _drawn(env: AbstractEnv, evaluation: Evaluation) -> tuple[list[Any], np.ndarray]:
    """Frames of the first evaluation episode, drawn from its recorded states."""
    length = min(int(evaluation.lengths[0]) // env.spec.action_repeat, MAX_FRAMES)
    states = jax.tree.map(lambda x: x[0], evaluation.states)
    frames = [env.render(jax.tree.map(operator.itemgetter(t), states)) for t in range(length)]
    return frames, np.asarray(evaluation.trajectories.reward)[0]
