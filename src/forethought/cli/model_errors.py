"""One-step errors of a finished run's network: on data like those it learned from, and where its own plans lead."""

import dataclasses

import jax.random as jr
import numpy as np

from ..agents.uniform import Uniform
from ..api import Run
from ..diagnostics.logged import Logged, Rows
from ..diagnostics.one_step import one_step
from ..errors import UserError
from ..models.ensemble import Ensemble

RANDOM = 1_000_000  # added to the run's seed: random episodes that are no part of its training data


def model_errors(run: Run, *, episodes: int) -> dict[str, float]:
    """Mean squared errors of the mean one-step prediction of a run's last model, over all dimensions.

    `holdout_error`, on rows of its own data that the last fit held out, and `visited_error`, on the final
    evaluation's episodes, are in the variances of its training targets. `visited_error_common` is the second in the
    variances of what random actions change, and so can be compared between runs; `random_error_common` is on fresh
    random episodes. Raises UserError for a model that is no ensemble or was fitted without a holdout.
    """
    setup = run.setup
    state, fits = run.agent_state(), run.metrics("update")
    model = setup.agent.model(state)
    if not isinstance(model, Ensemble) or "model/holdout_mse" not in fits[-1]:
        raise UserError(f"{run.path}: its model's errors need a network fitted with model.holdout_ratio above 0")
    key, spec = jr.key(setup.run.seed + RANDOM), setup.env.spec
    chance = Logged.of_trajectories(
        dataclasses.replace(setup, agent=Uniform(spec)).evaluator(episodes)(None, key=key).trajectories
    ).rows
    visited = Logged.of_trajectories(run.evaluate(episodes=episodes).trajectories).rows
    common = np.std(spec.difference(chance.next_obs, chance.obs), 0)
    own = np.asarray(model.targets.scale[: spec.obs_dim])

    def error(rows: Rows, unit: np.ndarray) -> float:
        said = one_step(model, rows, spec, key=key).mean
        return float(np.mean((np.asarray(spec.difference(rows.next_obs, said)) / unit) ** 2))

    return {
        "holdout_error": float(fits[-1]["model/holdout_mse"]),
        "visited_error": error(visited, own),
        "visited_error_common": error(visited, common),
        "random_error_common": error(chance, common),
    }
