"""How a run ends: what it shows, or how to go on with it."""

import os
from typing import Any

from . import reporting
from .display import Display
from .errors import TrainingFault
from .run.seeds import of_seed
from .stopping import StopRequest


def ended(run: Any, display: Display, stop: StopRequest) -> Any:
    """Shows how an `api.Run` ended: report, curves and video if it finished, the way to resume if it did not.

    Raises KeyboardInterrupt if someone asked to stop when it had already finished: nothing more is drawn.
    """
    outcome = run.outcome
    if outcome is None:
        return run
    if outcome.status == "finished":
        if stop.by is not None:
            raise KeyboardInterrupt
        if outcome.message:
            display.line(outcome.message)
        trained = (outcome.progress.agent_state, outcome.progress.data["env"])
        state, replay = of_seed(trained, 0, run.setup.run.num_seeds)
        evaluation = outcome.evaluations[0] if outcome.evaluations else None
        more = {"films": outcome.films, "display": display, "pace": outcome.pace, "video": run.setup.run.video}
        with display:
            run.shown = reporting.show(run.setup, run.folder, state, replay, evaluation, **more)
        for text in run.shown.notes:
            display.note(text)
        return run
    saved = run.folder.checkpoints()
    remedy = f"saved in {run.path}, last at step {next(iter(saved))}" if saved else f"recorded in {run.path}"
    if isinstance(outcome.error, TrainingFault):
        remedy += "; start a new run with other settings: resuming would fail at the same step"
    elif outcome.error is None or outcome.error.exit_code != 2:
        path, own = os.path.relpath(run.path), run.setup.own
        parts = "".join(f", {part}={part}" for part in own)  # those that a shell has no name for
        remedy += (
            f"; resume with: forethought.resume({path!r}{parts})"
            if own
            else f"; resume with: forethought resume {path}"
        )
    if outcome.error is not None:
        raise type(outcome.error)(f"{outcome.error}; {remedy}") from outcome.error
    display.line(f"{outcome.message}; {remedy}")
    return run
