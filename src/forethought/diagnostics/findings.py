"""All that the doctor looks for, in one pass over training data, fresh episodes and model."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractFilter, AbstractModel
from ..core.programs import over_rows
from ..types import EnvSpec, RewardFunction, Transition
from . import data_checks, heads, model_checks
from .finding import Finding, told
from .logged import Logged, pooled
from .one_step import OneStep, following

Answer = TypeVar("Answer")

LATEST_ROWS = 1000  # of the training data, that fresh episodes are held against


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What there is to look at. What is None is not known, and the tests that need it are left out."""

    spec: EnvSpec
    fresh: Logged | None  # episodes that the model has not seen, all numbers finite
    training: Logged | None  # what the model was fitted to, all numbers finite
    model: AbstractModel | None
    stored: tuple[Transition, np.ndarray] | None = None  # all rows of the replay and which are in use
    reward: RewardFunction | None = None  # given, not learned
    learned_reward: bool = True  # whether the model predicts rewards of its own
    learned_termination: bool = True
    said: OneStep | None = None  # what the model predicts for each fresh row, where it was already asked


def find(evidence: Evidence, *, key: PRNGKeyArray, quick: bool = False) -> list[Finding]:
    """Everything found in what there is, the gravest first.

    `quick` leaves out the tests that fit regressions to the data, which take seconds to minutes. A test that fails
    says so in a note and costs no other.
    """
    spec, model, fresh, training = evidence.spec, evidence.model, evidence.fresh, evidence.training
    data = fresh if training is None else training
    if data is None:
        return []
    pictures, filters = spec.image is not None, isinstance(model, AbstractFilter)
    found = _tried(data_checks.constant_columns, data, fresh, spec.num_pixels)
    found += _tried(data_checks.still_picture, data, fresh, spec)
    found += _tried(data_checks.wrapped_angle, data, spec)
    found += _tried(data_checks.reset_as_next_obs, *pooled(data, spec))
    found += _tried(data_checks.truncation_as_termination, data, fresh, spec)
    if not quick and not pictures:
        found += _tried(data_checks.clipped_action, data, spec)
    if evidence.reward is not None or not (quick or pictures):
        found += _tried(_shifted_reward, evidence, data, jr.fold_in(key, 2))
    share = None
    if model is not None and fresh is not None:
        said, failed = (evidence.said, []) if evidence.said else _measured(_one_step, model, fresh, spec, key)
        found += failed
        found += _of_model(evidence, model, training, fresh, said, key=jr.fold_in(key, 1))
        if said is not None:
            share, failed = _measured(model_checks.model_share, said, fresh, spec)
            found += failed
    if not (quick or pictures or filters):  # one picture never holds a velocity, and a filter needs none
        found += _tried(data_checks.hidden_state, data, spec, share)
    return in_order(found)


def _tried(test: Callable[..., list[Finding]], *given: Any) -> list[Finding]:
    """What a test finds; a note if it fails, on a user's own model perhaps."""
    found, failed = _measured(test, *given)
    return failed if found is None else found


def _measured(measure: Callable[..., Answer], *given: Any) -> tuple[Answer | None, list[Finding]]:
    """The answer; None, and a note, if that fails. Tests that need it are then left out."""
    try:
        return measure(*given), []
    except Exception as error:
        name = measure.__name__.strip("_").replace("_", "-")
        sentence = f"the test {name!r} could not be made: {told(error)}"
        return None, [Finding(f"{name}-not-tested", "note", sentence, "mend what it names and look again", {})]


def in_order(found: list[Finding]) -> list[Finding]:
    """The gravest first, and of findings with the same name only the first."""
    once = {f.name: f for f in reversed(found)}
    kept = [f for f in found if once[f.name] is f]
    return sorted(kept, key=lambda f: ("error", "warning", "note").index(f.severity))


def _one_step(model: AbstractModel, data: Logged, spec: EnvSpec, key: PRNGKeyArray) -> OneStep:
    return following(model, data, spec, key=key)


def _shifted_reward(evidence: Evidence, data: Logged, key: PRNGKeyArray) -> list[Finding]:
    if evidence.reward is not None:
        rows = data.rows
        answer = over_rows(evidence.reward)(rows.obs, rows.action, rows.next_obs)
        return model_checks.misplaced_given_reward(np.asarray(answer), data)
    if evidence.model is None or data is not evidence.training:
        return data_checks.shifted_reward(data, evidence.spec, None)
    if isinstance(evidence.model, AbstractFilter):
        data = data.latest(LATEST_ROWS)
    said = following(evidence.model, data, evidence.spec, key=key)
    return data_checks.shifted_reward(data, evidence.spec, said.reward)


def _of_model(
    evidence: Evidence,
    model: AbstractModel,
    training: Logged | None,
    fresh: Logged,
    said: OneStep | None,
    *,
    key: PRNGKeyArray,
) -> list[Finding]:
    """`said` is what the model predicts for each fresh row; None if it could not be asked."""
    spec = evidence.spec
    found = _tried(model_checks.copied_members, model, fresh.rows)
    if evidence.stored is not None:
        found += _tried(model_checks.other_statistics, model, *evidence.stored)
    if said is None:
        return found
    found += _tried(model_checks.frozen_variance, said, fresh, spec)
    if evidence.learned_reward:
        found += _tried(model_checks.misplaced_reward, said, fresh)
    if evidence.learned_termination:
        found += _tried(model_checks.imagined_ends, said, fresh)
    before = None
    if training is not None:
        before, failed = _measured(_one_step, model, training.latest(LATEST_ROWS), spec, key)
        found += failed
    if before is not None and training is not None and spec.image is None:
        found += _tried(_other_world, before, training, fresh, said, spec)
    if isinstance(model, AbstractFilter):
        found += _tried(heads.useless_reward, said, fresh, training)
        parts = [(said, fresh)]
        if before is not None and training is not None:
            parts.append((before, training.latest(LATEST_ROWS)))
        found += _tried(heads.useless_continuation, parts)
    return found


def _other_world(before: OneStep, training: Logged, fresh: Logged, said: OneStep, spec: EnvSpec) -> list[Finding]:
    scale = np.maximum(data_checks.change(training, spec).std(0), 1e-9)
    return model_checks.other_world(before, training.latest(LATEST_ROWS), said, fresh, spec, scale)
