"""What can be wrong with a model, found by asking it. Thresholds are explained in docs/doctor.md."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from scipy.spatial import KDTree

from ..core import AbstractModel
from ..fit import AbstractFittable
from ..text import percent
from ..types import EnvSpec, Transition
from .data_checks import FEWEST_ROWS, change
from .finding import Finding
from .logged import Logged, Rows
from .on_host import difference, features, varies
from .one_step import OneStep

SHIFTED = 0.5  # shift of a mean, in standard deviations of the data, that a refit explains no longer
STRETCHED = 1.5  # the same for a standard deviation, as a factor
ALIKE = 1e-3  # relative difference of members' errors below which they are copies
FROZEN = 0.001  # standard deviation over inputs of the stated log-variance below which it is constant
MISMATCH = 2.0  # factor between stated variance and squared error above which they disagree
REWARD_BETTER = 0.7  # error of the reward at another lag, in errors at its own
OTHER_WORLD = 3.0  # one-step error on fresh steps, in errors on the training steps that they resemble
FEWEST_NEAR = 50  # fresh steps that must resemble training steps
LEAST_ERROR = 0.05  # one-step error, in standard deviations of the change, that is worth a question
MOST_ERROR = 0.5  # the same on training episodes, beyond which the model has not even learned these


def copied_members(model: AbstractModel, rows: Rows) -> list[Finding]:
    """Members of an ensemble that make the same error on every transition."""
    if not isinstance(model, AbstractFittable) or model.num_members < 2 or len(rows.reward) < 2:
        return []
    index = np.unique(np.linspace(0, len(rows.reward) - 1, 32).astype(int))
    one = Transition(*jax.tree.map(lambda x: x[index][:, None, None], rows))
    spread = jax.tree.map(lambda x: np.broadcast_to(x, (len(index), model.num_members, 1, *x.shape[3:])), one)
    errors = np.asarray(_errors(model, spread))  # [rows, members]
    gap = np.abs(errors[:, :, None] - errors[:, None, :])
    size = np.maximum(np.abs(errors[:, :, None]), np.abs(errors[:, None, :])) + 1e-12
    alike = (np.median(gap / size, axis=0) < ALIKE) & ~np.eye(model.num_members, dtype=bool)
    if not alike.any():
        return []
    members = np.flatnonzero(alike.any(0))
    sentence = (
        f"{len(members)} of {model.num_members} members of the ensemble ({', '.join(map(str, members))}) predict the "
        "same everywhere: their disagreement, which should say what the model does not know, says nothing"
    )
    remedy = "start every member from weights of its own (a key each) and let each learn from its own resample"
    numbers = {"members": float(model.num_members), "copies": float(len(members))}
    return [Finding("members-are-copies", "error", sentence, remedy, numbers)]


@eqx.filter_jit
def _errors(model: AbstractFittable, rows: Transition) -> Any:
    return jax.vmap(lambda batch: model.losses(model.examples(batch))[1])(rows)


def other_statistics(model: AbstractModel, rows: Transition, in_use: np.ndarray) -> list[Finding]:
    """Means and deviations inside the model that are not those of its training data.

    The statistics are whatever `normalised` changes. Those named `loc` and `scale` of one part are compared in
    the data's own deviations, others relative to themselves.
    """
    if not isinstance(model, AbstractFittable) or not in_use.any():
        return []
    refitted = _normalised(model, rows, in_use)
    arrays = lambda m: dict(jax.tree_util.tree_leaves_with_path(eqx.filter(m, eqx.is_inexact_array)))
    old, new = arrays(model), arrays(refitted)
    shift, stretch, worst, where = 0.0, 1.0, 0.0, ""
    for path, value in new.items():
        before, after = np.asarray(old[path], np.float64), np.asarray(value, np.float64)
        if before.shape != after.shape or not before.size or np.array_equal(before, after):
            continue
        name = jax.tree_util.keystr(path).strip(".")
        part, _, leaf = name.rpartition(".")
        if leaf == "scale":
            factor = np.max(np.maximum(before / after, after / before))
            stretch, wrong = max(stretch, factor), np.log(factor) / np.log(STRETCHED)
        else:
            sibling = next((p for p in new if jax.tree_util.keystr(p).strip(".") == f"{part}.scale"), None)
            unit = np.asarray(new[sibling]) if leaf == "loc" and sibling is not None else np.abs(after) + 1e-12
            moved = np.max(np.abs(before - after) / unit)
            shift, wrong = max(shift, moved), moved / SHIFTED
        worst, where = (wrong, name) if wrong > worst else (worst, where)
    if shift <= SHIFTED and stretch <= STRETCHED:
        return []
    sentence = (
        f"the model's own statistics ({where}) are not those of its training data: a mean is off by {shift:.2g} "
        f"standard deviations, a standard deviation by a factor of {stretch:.2g}. They were fitted to other data"
    )
    remedy = "fit the normaliser to the data that the networks are trained on, at every fit, and save it with them"
    return [Finding("normaliser-off", "error", sentence, remedy, {"shift": float(shift), "stretch": float(stretch)})]


@eqx.filter_jit
def _normalised(model: AbstractFittable, rows: Transition, in_use: Any) -> AbstractFittable:
    return model.normalised(rows, in_use)


def frozen_variance(said: OneStep, fresh: Logged, spec: EnvSpec) -> list[Finding]:
    """A stated variance that is the same whatever the input, and not what the errors are."""
    if said.mean is None or said.stated is None or len(fresh.rows.reward) < FEWEST_ROWS:
        return []
    error = change(fresh, spec) - _predicted_change(said, fresh, spec)
    varies = fresh.rows.obs.std(0) > 1e-6 * (1 + np.abs(fresh.rows.obs).max(0))
    with np.errstate(all="ignore"):
        spread = np.log(said.stated).std(0)
        ratio = np.median(said.stated, 0) / np.mean(error**2, 0)
    varies &= (said.stated > 0).all(0)
    if not varies.any():
        return []
    spread, ratio = float(np.median(spread[varies])), float(np.exp(np.median(np.log(ratio[varies]))))
    if spread > FROZEN or 1 / MISMATCH < ratio < MISMATCH:
        return []
    wrong = "too large" if ratio > 1 else "too small"
    factor = ratio if ratio > 1 else 1 / ratio
    sentence = (
        f"the variance that the model states is the same for every input (its logarithm varies by {spread:.2g}) and "
        f"{factor:.2g} times {wrong} for the errors it makes: the log-variance was not learned"
    )
    remedy = "let gradients reach the log-variance, and check that its bounds leave room"
    return [Finding("variance-frozen", "error", sentence, remedy, {"log_spread": spread, "ratio": ratio})]


def misplaced_reward(said: OneStep, fresh: Logged) -> list[Finding]:
    """Predicted rewards that fit the reward of the step before or after better than that of their own step."""
    found = _nearer_neighbour(said.reward, fresh)
    if found is None:
        return []
    own, best, lag = found
    side, late = ("before", "late") if lag < 0 else ("after", "early")  # a model of late rewards foretells the past
    sentence = (
        f"the predicted reward is nearer to the reward of the step {side} (error {best:.3g}) than to that of its own "
        f"step ({own:.3g}) in fresh episodes: the model was trained on rewards stored one step too {late}"
    )
    remedy = "store with each action the reward that followed it, then train again"
    return [Finding("reward-shifted", "error", sentence, remedy, {"own": own, "shifted": best})]


def misplaced_given_reward(answer: np.ndarray, data: Logged) -> list[Finding]:
    """A given reward function, `answer` `[n]` on the data, that fits the rewards stored with neighbouring steps."""
    found = _nearer_neighbour(answer, data)
    if found is None:
        return []
    own, best, lag = found
    side, late = ("before", "early") if lag < 0 else ("after", "late")
    sentence = (
        f"what the given reward function says of a step is nearer to the reward stored with the step {side} (error "
        f"{best:.3g}) than to the one stored with it ({own:.3g}): rewards are stored one step too {late}"
    )
    remedy = "store with each action the reward that followed it, then train again"
    return [Finding("reward-shifted", "error", sentence, remedy, {"own": own, "shifted": best})]


def _nearer_neighbour(guess: np.ndarray, data: Logged) -> tuple[float, float, int] | None:
    """Error of `guess` `[n]` against the reward of its own row and of the row -1 or 1 away, if that is much nearer."""
    rows, real = np.setdiff1d(np.arange(len(guess)), np.concatenate([data.first, data.last])), data.rows.reward
    if len(rows) < FEWEST_ROWS or not varies(real):
        return None
    own, before, after = (float(np.sqrt(np.mean((guess[rows] - real[rows + lag]) ** 2))) for lag in (0, -1, 1))
    best, lag = min((before, -1), (after, 1))
    if not np.isfinite(own) or own < 1e-3 * real.std() or best > REWARD_BETTER * own:
        return None
    return own, best, lag


def imagined_ends(said: OneStep, fresh: Logged) -> list[Finding]:
    """Ends that the model predicts where fresh episodes were only truncated, or went on."""
    last = fresh.last[np.asarray(fresh.rows.truncated & ~fresh.rows.terminated)[fresh.last]]
    going = np.setdiff1d(np.arange(len(said.continuation)), fresh.last)
    ends = said.continuation < 0.5
    at_limit, anywhere = int(ends[last].sum()), float(ends[going].mean()) if len(going) else 0.0
    if len(last) >= 2 and at_limit >= 0.5 * len(last) and anywhere < 0.05:
        sentence = (
            f"the model expects the task to end at {at_limit} of {len(last)} steps where fresh episodes only ran out "
            "of time: truncation was learned as termination"
        )
        remedy = "store the time limit as truncated and leave terminated to the task's own end, then train again"
        numbers = {"at_limit": float(at_limit), "of": float(len(last))}
        return [Finding("truncation-as-termination", "error", sentence, remedy, numbers)]
    if anywhere > 0.05:
        sentence = f"the model expects an end in {percent(anywhere)} of fresh steps that were followed by more"
        remedy = "check how `terminated` is stored; plans cut short by it look worse than they are"
        return [Finding("ends-imagined", "warning", sentence, remedy, {"share": anywhere})]
    return []


def other_world(
    before: OneStep, training: Logged, after: OneStep, fresh: Logged, spec: EnvSpec, scale: np.ndarray
) -> list[Finding]:
    """One-step errors in fresh steps far above those on the training steps that they resemble: the world has changed.

    A fresh step resembles the training if one of its steps is as near as they are to one another; the others may be
    wrong only because the policy has left the data. `scale` `[obs]` is the standard deviation of the change.
    """
    if before.mean is None or after.mean is None or len(training.rows.reward) < FEWEST_ROWS:
        return []
    near = _near(training, fresh, spec)
    if near.sum() < FEWEST_NEAR:
        return []
    then, now = _typical(before, training, spec, scale), _typical(after, fresh, spec, scale, near)
    ratio = float(now / max(then, 1e-12))
    if not np.isfinite(ratio) or ratio < OTHER_WORLD or now < LEAST_ERROR or then > MOST_ERROR:
        return []
    sentence = (
        f"in fresh steps that resemble steps of the training, one-step errors are {ratio:.2g} times as large "
        f"({now:.2g} against {then:.2g} standard deviations of a step's change): the data come from another version of "
        "the environment"
    )
    remedy = "compare the versions recorded in run.json with those installed; train on in the environment as it is now"
    numbers = {"ratio": ratio, "fresh": now, "training": then, "near": float(near.sum())}
    return [Finding("another-environment", "error", sentence, remedy, numbers)]


def _near(training: Logged, fresh: Logged, spec: EnvSpec) -> np.ndarray:
    """Which fresh rows are as near to a training row as most training rows are to their nearest neighbour."""

    def inputs(data: Logged) -> np.ndarray:
        seen = features(spec, data.rows.obs).astype(np.float64)
        return np.column_stack([seen, features(spec.action, data.rows.action)])

    there, here = inputs(training), inputs(fresh)
    unit = np.where(there.std(0) > 1e-9, there.std(0), 1.0)
    tree = KDTree(there / unit)
    usual = np.quantile(tree.query(there / unit, k=2)[0][:, 1], 0.9)
    return np.asarray(tree.query(here / unit)[0] <= usual)


def model_share(said: OneStep, data: Logged, spec: EnvSpec) -> np.ndarray | None:
    """Share of each dimension's change that the model leaves unexplained, `[obs]`; None if it says no observation."""
    if said.mean is None:
        return None
    delta = change(data, spec)
    return np.mean((delta - _predicted_change(said, data, spec)) ** 2, 0) / np.maximum(delta.var(0), 1e-12)


def _predicted_change(said: OneStep, data: Logged, spec: EnvSpec) -> np.ndarray:
    return difference(spec, np.asarray(said.mean), data.rows.obs)


def _typical(
    said: OneStep, data: Logged, spec: EnvSpec, scale: np.ndarray, rows: np.ndarray | slice = slice(None)
) -> float:
    """Median absolute error of each dimension, in units of `scale`, as root mean square over dimensions."""
    error = (np.abs(change(data, spec) - _predicted_change(said, data, spec)) / scale)[rows]
    return float(np.sqrt(np.mean(np.median(error, 0) ** 2)))
