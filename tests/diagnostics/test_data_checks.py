"""Every test of the data fires on the fault that it is for, and is silent on the healthy twin."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from planted_world import SPEC, STEPS, logged, rows

from forethought.diagnostics import data_checks as checks
from forethought.diagnostics.logged import Logged, Rows
from forethought.types import Box, Discrete, EnvSpec

HEALTHY = rows()
FRESH = rows(6, seed=1)
ENDS = np.flatnonzero(HEALTHY.truncated)


def names(found):
    return [f.name for f in found]


def all_of(data, spec=SPEC, fresh=FRESH):
    """Names of everything that the tests of the data find."""
    data, fresh = logged(data), logged(fresh)
    found = checks.constant_columns(data, fresh) + checks.wrapped_angle(data, spec)
    found += checks.reset_as_next_obs(data, spec) + checks.truncation_as_termination(data, fresh, spec)
    found += checks.shifted_reward(data, spec, None) + checks.hidden_state(data, spec, None)
    return names(found + checks.clipped_action(data, spec))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_in_healthy_data(seed):
    assert all_of(rows(seed=seed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("lag", [1, -1])
def test_a_reward_one_step_late_or_early_is_found_and_its_direction_said(lag):
    data = HEALTHY._replace(reward=np.roll(HEALTHY.reward, lag))
    (found,) = checks.shifted_reward(logged(data), SPEC, None)
    assert found.name == "reward-shifted" and ("too late" if lag == 1 else "too early") in found.sentence
    assert found.numbers["shifted"] < 0.1 * found.numbers["own"]


def test_a_reward_of_the_state_before_alone_is_not_taken_for_a_shift():
    data = HEALTHY._replace(reward=np.cos(HEALTHY.obs[:, 0]))  # explained by the next transition as well
    assert checks.shifted_reward(logged(data), SPEC, None) == []


@pytest.mark.parametrize("value", [0.0, 1.0, -1.3, 0.1, 1e-7, 1e9])
@pytest.mark.parametrize("predicted", [None, 0.0])
def test_a_constant_reward_is_no_reason_to_ask(value, predicted):
    reward = np.full_like(HEALTHY.reward, value)  # float32: their standard deviation need not be 0
    said = None if predicted is None else reward + predicted
    assert checks.shifted_reward(logged(HEALTHY._replace(reward=reward)), SPEC, said) == []


def test_the_time_limit_stored_as_termination_is_found():
    data = HEALTHY._replace(terminated=HEALTHY.truncated, truncated=np.zeros_like(HEALTHY.truncated))
    (found,) = checks.truncation_as_termination(logged(data), logged(FRESH), SPEC)
    assert found.severity == "error" and f"exactly {STEPS} steps" in found.sentence
    assert "fresh episodes (6) are truncated" in found.sentence


def test_a_task_that_ends_at_its_limit_in_fresh_episodes_too_is_believed():
    ends = lambda data: data._replace(terminated=data.truncated)
    assert checks.truncation_as_termination(logged(ends(HEALTHY)), logged(ends(FRESH)), SPEC) == []


def test_terminations_before_the_limit_are_believed():
    data = HEALTHY._replace(terminated=HEALTHY.truncated.copy())
    data.terminated[ENDS[:6] - 11] = True
    assert checks.truncation_as_termination(logged(data), logged(FRESH), SPEC) == []


def test_without_a_limit_that_is_known_terminations_at_one_length_are_a_warning():
    data = logged(HEALTHY._replace(terminated=HEALTHY.truncated, truncated=np.zeros_like(HEALTHY.truncated)))
    (found,) = checks.truncation_as_termination(data, None, dataclasses.replace(SPEC, max_episode_steps=None))
    assert found.severity == "warning"


def with_resets():
    data = HEALTHY._replace(next_obs=HEALTHY.next_obs.copy())
    data.next_obs[ENDS[:-1]] = data.obs[ENDS[:-1] + 1]
    return data


def test_a_reset_observation_stored_as_next_obs_is_found():
    (found,) = checks.reset_as_next_obs(logged(with_resets()), SPEC)
    assert found.severity == "error" and found.numbers["at_start"] >= 8


@pytest.mark.parametrize("steps", [1, 2])
def test_resets_are_found_among_very_many_short_episodes(steps):
    count = 20_000
    starts = np.random.default_rng(0).normal(0, 0.1, (count // steps, 3)).astype(np.float32)
    obs = np.repeat(starts, steps, 0) + np.tile(np.arange(steps, dtype=np.float32), count // steps)[:, None]
    over = np.arange(count) % steps == steps - 1
    flags = {"terminated": over, "truncated": np.zeros(count, bool)}
    data = Rows(obs, np.zeros((count, 1), np.float32), np.zeros(count, np.float32), np.roll(obs, -1, 0), **flags)
    (found,) = checks.reset_as_next_obs(logged(data), SPEC)
    assert found.numbers["ends"] == found.numbers["at_start"] == checks.MOST_ENDS
    honest = data._replace(next_obs=obs + 1)
    assert checks.reset_as_next_obs(logged(honest), SPEC) == []


def test_a_task_whose_episodes_end_where_they_begin_is_not_blamed():
    data = HEALTHY._replace(obs=0.1 * HEALTHY.obs, next_obs=0.1 * HEALTHY.next_obs)
    data.next_obs[ENDS] = data.obs[ENDS]  # comes to rest
    assert checks.reset_as_next_obs(logged(data), SPEC) == []


@pytest.mark.parametrize("bound", [0.6, 1.2])
def test_silently_clipped_actions_are_found_with_their_bound(bound):
    (found,) = checks.clipped_action(logged(rows(bound=bound)), SPEC)
    assert found.name == "action-clipped" and 2 * found.numbers["level"] == pytest.approx(bound, abs=0.21)


def test_discrete_actions_are_not_asked_whether_they_are_clipped():
    data = HEALTHY._replace(action=(HEALTHY.action[:, 0] > 0).astype(np.int32))
    assert checks.clipped_action(logged(data), EnvSpec("discrete", 3, Discrete(2))) == []


@pytest.mark.parametrize(("period", "word"), [(2 * np.pi, "2 pi"), (360.0, "360")])
def test_an_angle_that_wraps_is_found_and_the_option_named(period, word):
    rng = np.random.default_rng(0)
    angle = np.cumsum(rng.uniform(0, 0.1 * period, len(HEALTHY.obs) + 1))
    obs, next_obs = HEALTHY.obs.copy(), HEALTHY.next_obs.copy()
    obs[:, 0], next_obs[:, 0] = angle[:-1] % period, angle[1:] % period
    data = logged(HEALTHY._replace(obs=obs, next_obs=next_obs))
    (found,) = checks.wrapped_angle(data, SPEC)
    assert "--angles 0" in found.remedy and word in found.sentence
    assert checks.wrapped_angle(data, dataclasses.replace(SPEC, angle_dims=(0,))) == []


def without_1(data, *, keep=0):
    """Dimension 1 as zero, but in rows from step `keep` on of every episode, where there are such."""
    obs, next_obs = (getattr(data, name).copy() for name in ("obs", "next_obs"))
    step = np.arange(len(obs)) % STEPS
    zero, zero_next = (step < keep, step + 1 < keep) if keep else (slice(None), slice(None))
    obs[zero, 1], next_obs[zero_next, 1] = 0, 0
    return data._replace(obs=obs, next_obs=next_obs)


def test_a_dimension_lost_in_the_data_is_an_error_and_one_that_never_moves_a_note():
    (found,) = checks.constant_columns(logged(without_1(HEALTHY)), logged(FRESH))
    assert (found.name, found.severity, found.numbers["dimension"]) == ("dimension-dropped", "error", 1)
    assert "it was dropped" in found.sentence
    (found,) = checks.constant_columns(logged(without_1(HEALTHY)), logged(without_1(FRESH)))
    assert (found.name, found.severity) == ("constant-column", "note")


def test_a_sensor_that_only_the_new_policy_reaches_is_a_warning_that_names_both_possibilities():
    (found,) = checks.constant_columns(logged(without_1(HEALTHY)), logged(without_1(FRESH, keep=10)))
    assert (found.name, found.severity, found.numbers["dimension"]) == ("dimension-dropped", "warning", 1)
    assert "either it was dropped on the way into the data, or the policy" in found.sentence


def test_a_dimension_that_begins_at_its_constant_and_moves_at_once_in_every_fresh_episode_was_lost():
    (found,) = checks.constant_columns(logged(without_1(HEALTHY)), logged(without_1(FRESH, keep=1)))
    assert found.severity == "error"


def test_one_odd_fresh_episode_among_many_does_not_make_it_an_error():
    one = without_1(FRESH, keep=10)
    one.obs[:STEPS], one.next_obs[:STEPS] = FRESH.obs[:STEPS], FRESH.next_obs[:STEPS]
    (found,) = checks.constant_columns(logged(without_1(HEALTHY)), logged(one))
    assert found.severity == "warning"


def test_with_single_episodes_a_dimension_is_lost_where_its_constant_never_occurs():
    single = lambda data, steps: logged(type(data)(*(x[:steps] for x in data)))
    long = rows(1)._replace(**{n: np.tile(getattr(rows(1), n), (3, 1)) for n in ("obs", "next_obs", "action")})
    flags = {n: np.zeros(3 * STEPS, bool) for n in ("terminated", "truncated")}
    fresh = Logged(long._replace(reward=np.zeros(3 * STEPS, np.float32), **flags), ((0, 3 * STEPS),))
    data = single(without_1(HEALTHY), STEPS)
    (found,) = checks.constant_columns(data, fresh)
    assert found.severity == "error"
    (found,) = checks.constant_columns(data, fresh._replace(rows=without_1(fresh.rows, keep=10)))
    assert found.severity == "warning"


def test_a_dimension_that_may_have_been_lost_is_named_beside_one_that_was():
    lost = HEALTHY._replace(obs=HEALTHY.obs * 0, next_obs=HEALTHY.next_obs * 0)
    (found,) = checks.constant_columns(logged(lost), logged(without_1(FRESH, keep=10)))
    assert found.severity == "error" and found.sentence.startswith("dimensions 0, 2 of")
    assert found.sentence.endswith("Perhaps so was dimension 1")


@pytest.mark.slow
def test_a_velocity_left_out_of_the_observation_is_found():
    data = logged(HEALTHY._replace(obs=HEALTHY.obs[:, [0, 2]], next_obs=HEALTHY.next_obs[:, [0, 2]]))
    (found,) = checks.hidden_state(data, EnvSpec("blind", 2, SPEC.action), None)
    assert found.name == "hidden-state" and found.numbers["dimension"] == 0


def test_what_the_model_predicts_is_not_called_hidden():
    data = logged(HEALTHY._replace(obs=HEALTHY.obs[:, [0, 2]], next_obs=HEALTHY.next_obs[:, [0, 2]]))
    assert checks.hidden_state(data, EnvSpec("blind", 2, SPEC.action), np.array([0.01, 0.01])) == []


def test_noise_that_the_step_before_does_not_explain_is_not_called_hidden():
    noise = np.random.default_rng(3).normal(0, 0.3, HEALTHY.next_obs.shape).astype(np.float32)
    obs, rng = HEALTHY.obs.copy(), np.random.default_rng(4)
    obs[:] = rng.normal(size=obs.shape)
    data = HEALTHY._replace(obs=obs, next_obs=0.9 * obs + noise)
    kept = logged(data)
    assert len(kept.spans) == len(data.reward)  # a chain that breaks at every row is no episode
    assert checks.hidden_state(kept, SPEC, None) == []


def test_episodes_with_numbers_that_are_not_finite_are_named_and_left_out():
    data = HEALTHY._replace(**{n: getattr(HEALTHY, n).copy() for n in ("obs", "next_obs", "reward")})
    data.next_obs[44, 1] = data.obs[45, 1] = np.nan
    data.reward[3] = np.inf
    kept, (found,) = checks.without_faults(logged(data), "log")
    assert len(kept.spans) == 10 and np.isfinite(kept.rows.obs).all()
    assert found.severity == "error" and "3 of 480 transitions" in found.sentence
    same, nothing = checks.without_faults(logged(HEALTHY), "log")
    assert nothing == [] and len(same.spans) == 12


def test_few_rows_are_looked_at_without_complaint():
    short = type(HEALTHY)(*(x[:5] for x in HEALTHY))
    assert all_of(short) == []


def test_changes_of_angles_go_the_short_way_round():
    spec = EnvSpec("turn", 1, Box((-1.0,), (1.0,)), angle_dims=(0,))
    data = type(HEALTHY)(
        np.float32([[3.1]]),
        np.float32([[0.0]]),
        np.zeros(1, np.float32),
        np.float32([[-3.1]]),
        *[np.zeros(1, bool)] * 2,
    )
    assert checks.change(logged(data), spec)[0, 0] == pytest.approx(2 * np.pi - 6.2, abs=1e-5)
    assert jnp.isfinite(checks.change(logged(data), spec)).all()


@pytest.mark.slow
def test_a_reward_that_a_regression_explains_and_the_model_does_not_was_not_learned():
    data, noise = logged(HEALTHY), np.random.default_rng(0).normal(size=len(HEALTHY.reward))
    (found,) = checks.shifted_reward(data, SPEC, np.full(len(noise), HEALTHY.reward.mean()))
    assert (found.name, found.severity) == ("reward-not-learned", "warning")
    assert checks.shifted_reward(data, SPEC, HEALTHY.reward + 0.01 * noise) == []
    random = logged(HEALTHY._replace(reward=noise.astype(np.float32)))
    assert checks.shifted_reward(random, SPEC, np.zeros(len(noise))) == []  # nothing could have learned it


@pytest.mark.slow
def test_what_a_model_trained_on_late_rewards_leaves_over_is_found_to_belong_to_the_step_before():
    late = np.roll(HEALTHY.reward, 1)
    after_mean = np.cos(HEALTHY.obs[:, 0])  # all that the next transition can know of it; the action's cost is left
    (found,) = checks.shifted_reward(
        logged(HEALTHY._replace(reward=2 * after_mean + late)), SPEC, 3 * after_mean - 0.13
    )
    assert found.name == "reward-shifted" and "too late" in found.sentence
