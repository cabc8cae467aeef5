"""What a card of trials measures besides the final evaluation: whether the task is held at a trial's end."""

from typing import Any

import jax
import numpy as np

from .. import api
from ..diagnostics.forecast_figure import forecast_trials
from ..run.evaluate import Evaluation
from ..types import Transition

BALANCED = 0.9  # reward of every one of the last steps: a cost below 0.1


def measured_trials(run: api.Run, last: int, *, episodes: int) -> dict[str, Any]:
    """Fields for the raw file of a finished run; a trial is balanced if the reward of its `last` steps is above 0.9.

    `balanced`, the share of the final evaluation's episodes that are; `trials`, for every training trial its last
    environment step, its total cost and the largest cost of its `last` steps; `balanced_after`, the environment steps,
    random ones included, at the end of the first that is balanced (None: there was none). Of a run of seed 0 also
    `forecasts`: what was predicted of each trial, mean and deviation, and what happened, `[steps, obs]`.
    """
    state, replay = run.trained()
    rows, in_use = jax.tree.map(np.asarray, replay.rows())
    rows = jax.tree.map(lambda x: x[in_use], rows)
    evaluated = run.outcome.evaluations if run.outcome is not None else []
    played = evaluated[0] if evaluated else run.evaluate(episodes=episodes)  # the same episodes
    trials = _trials(rows, last)
    balanced = [trial["end"] for trial in trials if trial["worst_at_end"] < 1 - BALANCED]
    found = {
        "balanced": _share(played, last),
        "balanced_after": balanced[0] if balanced else None,
        "trials": trials,
    }
    forecasts = run.setup.agent.forecasts(state)
    if forecasts is not None and run.setup.run.seed == 0:
        short = lambda x: np.round(np.asarray(x, np.float64), 3).tolist()
        found["forecasts"] = [
            {"trial": t.number, "mean": short(t.mean), "std": short(t.std), "real": short(t.real)}
            for t in forecast_trials(forecasts, rows)
        ]
    return found


def _trials(rows: Transition, last: int) -> list[dict[str, float]]:
    """Of every whole episode of `rows`, which are in the order in which they were added."""
    ends = np.flatnonzero(rows.terminated | rows.truncated) + 1
    cost = 1 - rows.reward.astype(np.float64)
    return [
        {
            "end": int(end),
            "cost": round(float(cost[begin:end].sum()), 3),
            "worst_at_end": round(float(cost[max(begin, end - last) : end].max()), 4),
        }
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist())
    ]


def _share(played: Evaluation, last: int) -> float:
    """Share of the episodes that are balanced."""
    rewards = [np.asarray(r)[: int(n)] for r, n in zip(played.trajectories.reward, played.lengths)]
    return float(np.mean([r[-last:].min() > BALANCED for r in rewards]))
