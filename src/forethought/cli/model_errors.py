"""One-step errors of a finished run's network: on data like those it learned from, and where its own plans lead."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..agents.uniform import Uniform
from ..api import Run
from ..diagnostics.logged import Logged, Rows
from ..diagnostics.one_step import one_step
from ..errors import UserError
from ..models.ensemble import Ensemble
from ..types import Transition

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
    evaluated = run.outcome.evaluations if run.outcome is not None else []
    played = evaluated[0] if evaluated else run.evaluate(episodes=episodes)  # the same episodes
    visited = Logged.of_trajectories(played.trajectories).rows
    change = lambda new, old: np.asarray(spec.difference(jnp.asarray(new), jnp.asarray(old)))
    common = change(chance.next_obs, chance.obs).std(0)

    def error(rows: Rows) -> float:
        return float(np.mean((change(rows.next_obs, one_step(model, rows, spec, key=key).mean) / common) ** 2))

    # As the fit does on its held-out rows.
    batch = Transition(*(jnp.broadcast_to(x, (model.num_members, *x.shape)) for x in visited))
    return {
        "holdout_error": float(fits[-1]["model/holdout_mse"]),
        "visited_error": float(jnp.mean(model.losses(model.examples(batch))[1])),
        "visited_error_common": error(visited),
        "random_error_common": error(chance),
    }
