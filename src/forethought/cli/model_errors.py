"""One-step errors of a finished run's model: where its data came from, and where its own plans lead."""

import dataclasses

import jax.random as jr
import numpy as np

from ..agents.uniform import Uniform
from ..api import Run
from ..diagnostics.examination import Examination, examine
from ..types import Transition

MAX_STARTS = 2000  # transitions that each error is an average over, at most
RANDOM = 1_000_000  # added to the run's seed: random episodes that are no part of its training data


def model_errors(run: Run, *, episodes: int) -> dict[str, float]:
    """`holdout_error` on fresh random episodes, `visited_error` on the episodes of the final evaluation.

    Both are root mean squared errors of the mean one-step prediction over all dimensions, in standard deviations
    of the observations in the random episodes, so that they can be divided by each other. Neither set of episodes
    was trained on.
    """
    setup = run.setup
    state = run.agent_state()
    model = setup.agent.model(state)
    if model is None:
        raise ValueError(f"{setup.agent_name} has no model whose errors could be measured")
    chance = dataclasses.replace(setup, agent=Uniform(setup.env.spec))
    key = jr.key(setup.run.seed + RANDOM)

    def check(trajectories: Transition) -> Examination:
        return examine(model, trajectories, setup.env.spec, horizon=1, key=key, max_starts=MAX_STARTS)

    held_out = check(chance.evaluator(episodes)(None, key=key).trajectories)
    visited = check(run.evaluate(episodes=episodes).trajectories)
    unit = held_out.scale
    error = lambda c: float(np.sqrt(np.mean((c.error[0] * c.scale / unit) ** 2)))
    return {"holdout_error": error(held_out), "visited_error": error(visited)}
