"""Every test of the model fires on the fault that it is for, and is silent on the healthy twin."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from planted_world import SPEC, logged, rows

from forethought.diagnostics import model_checks as checks
from forethought.diagnostics.data_checks import change
from forethought.diagnostics.findings import Evidence, find
from forethought.diagnostics.one_step import OneStep, one_step
from forethought.learners.model_planning import ensemble_learner
from forethought.models.simulator import Simulator
from forethought.presets.parts import EnsembleConfig
from forethought.types import Given, Transition

HEALTHY = rows()
DATA = logged(HEALTHY)
FRESH = logged(rows(6, seed=1))
N = len(FRESH.rows.reward)
SCALE = change(DATA, SPEC).std(0)
STORED = jax.tree.map(jnp.asarray, Transition(*HEALTHY))


@pytest.fixture(scope="module")
def model():
    config = EnsembleConfig(num_members=3, particles=3, hidden=(8,))
    return ensemble_learner(SPEC, config, given=Given(), key=jr.key(0)).model.normalised(
        STORED, jnp.ones(len(HEALTHY.reward), bool)
    )


def said(error: float = 0.1, *, seed: int = 0, data=FRESH, stated=None, reward=None, continuation=None) -> OneStep:
    """Predictions whose errors are normal with standard deviation `error`, in standard deviations of the change."""
    noise = np.random.default_rng(seed).normal(0, error, data.rows.obs.shape) * SCALE
    stated = np.full(noise.shape, 1.0) * (error * SCALE) ** 2 if stated is None else stated
    reward = data.rows.reward if reward is None else reward
    continuation = np.ones(len(noise)) if continuation is None else continuation
    return OneStep(data.rows.next_obs + noise, stated, stated, reward, continuation)


def test_copies_of_a_member_are_found_and_members_of_their_own_are_not(model):
    assert checks.copied_members(model, DATA.rows) == []
    copied = eqx.tree_at(lambda m: m.networks[2], model, model.networks[0])
    (found,) = checks.copied_members(copied, DATA.rows)
    assert found.numbers["copies"] == 2 and "(0, 2)" in found.sentence


def test_a_single_network_has_no_copies():
    config = EnsembleConfig(num_members=1, particles=1, hidden=(8,))
    assert checks.copied_members(ensemble_learner(SPEC, config, given=Given(), key=jr.key(0)).model, DATA.rows) == []


def test_statistics_of_other_data_are_found_and_those_of_a_part_of_the_data_are_not(model):
    everything = np.ones(len(HEALTHY.reward), bool)
    assert checks.other_statistics(model, STORED, everything) == []
    assert checks.other_statistics(model.normalised(STORED, jnp.arange(480) < 360), STORED, everything) == []
    further = jnp.array([0.0, 0.0, 9.0])
    moved = dataclasses.replace(STORED, obs=STORED.obs + further, next_obs=STORED.next_obs + further)
    (found,) = checks.other_statistics(model.normalised(moved, jnp.asarray(everything)), STORED, everything)
    assert found.numbers["shift"] > 3 and "inputs" in found.sentence
    longer = dataclasses.replace(STORED, next_obs=STORED.obs + 4 * (STORED.next_obs - STORED.obs))
    (found,) = checks.other_statistics(model.normalised(longer, jnp.asarray(everything)), STORED, everything)
    assert found.numbers["stretch"] == pytest.approx(4, rel=0.01) and "targets" in found.sentence


def test_a_variance_that_never_varies_and_is_wrong_is_found():
    flat = np.ones((N, 3)) * SCALE**2
    (found,) = checks.frozen_variance(said(0.1, stated=flat), FRESH, SPEC)
    assert found.name == "variance-frozen" and found.numbers["ratio"] == pytest.approx(100, rel=0.3)
    assert "too large" in found.sentence
    (found,) = checks.frozen_variance(said(0.1, stated=1e-4 * flat), FRESH, SPEC)
    assert "too small" in found.sentence


def test_a_constant_variance_that_is_right_and_a_wrong_one_that_varies_are_left_alone():
    assert checks.frozen_variance(said(0.1), FRESH, SPEC) == []
    varied = SCALE**2 * np.exp(np.random.default_rng(0).normal(size=(N, 1)))
    assert checks.frozen_variance(said(0.1, stated=varied), FRESH, SPEC) == []
    assert checks.frozen_variance(said(0.1, stated=np.zeros((N, 3))), FRESH, SPEC) == []


def test_a_reward_learned_one_step_late_is_found():
    late = np.roll(FRESH.rows.reward, 1)
    (found,) = checks.misplaced_reward(said(reward=late), FRESH)
    assert "one step too late" in found.sentence
    (found,) = checks.misplaced_reward(said(reward=np.roll(FRESH.rows.reward, -1)), FRESH)
    assert "one step too early" in found.sentence
    noisy = FRESH.rows.reward + np.random.default_rng(0).normal(size=N)
    assert checks.misplaced_reward(said(reward=noisy), FRESH) == []


def test_a_given_reward_that_fits_its_neighbours_is_told_apart():
    (found,) = checks.misplaced_given_reward(np.roll(DATA.rows.reward, 1), DATA)
    assert found.sentence.endswith("rewards are stored one step too early")
    late = DATA.rows._replace(reward=np.roll(DATA.rows.reward, 1))
    (found,) = checks.misplaced_given_reward(DATA.rows.reward, DATA._replace(rows=late))
    assert found.sentence.endswith("rewards are stored one step too late")


def test_ends_expected_at_the_time_limit_are_truncation_learned_as_termination():
    clock = np.ones(N)
    clock[FRESH.last] = 0.1
    (found,) = checks.imagined_ends(said(continuation=clock), FRESH)
    assert found.name == "truncation-as-termination"
    (found,) = checks.imagined_ends(said(continuation=np.full(N, 0.2)), FRESH)
    assert found.name == "ends-imagined"
    assert checks.imagined_ends(said(), FRESH) == []


def test_errors_far_above_those_on_training_episodes_are_found():
    (found,) = checks.other_world(said(0.05, data=DATA), DATA, said(0.5), FRESH, SPEC, SCALE)
    assert found.numbers["ratio"] == pytest.approx(10, rel=0.2)
    assert checks.other_world(said(0.05, data=DATA), DATA, said(0.07), FRESH, SPEC, SCALE) == []
    assert checks.other_world(said(1.0, data=DATA), DATA, said(9.0), FRESH, SPEC, SCALE) == []  # nothing was learned
    assert checks.other_world(said(1e-4, data=DATA), DATA, said(0.01), FRESH, SPEC, SCALE) == []  # who cares


def test_predictions_are_the_models_whatever_the_number_of_rows(model):
    found = one_step(model, DATA.rows, SPEC, key=jr.key(0))
    few = type(DATA.rows)(*(x[:7] for x in DATA.rows))
    assert found.mean.shape == (480, 3) and found.reward.shape == (480,)
    np.testing.assert_allclose(one_step(model, few, SPEC, key=jr.key(0)).mean, found.mean[:7], rtol=1e-5)
    belief = model.init(jnp.asarray(HEALTHY.obs[0]), key=jr.key(1))
    belief, _ = model.step(belief, jnp.broadcast_to(HEALTHY.action[0], (3, 1)), key=jr.key(1))
    np.testing.assert_allclose(found.mean[0], np.asarray(model.observation(belief).mean().mean(0)), rtol=1e-4)
    assert (found.variance >= found.stated).all()


def test_all_of_it_runs_on_a_model_without_networks_and_without_training_data():
    from tiny import Walk

    spec = Walk().spec
    data = type(HEALTHY)(*(x[:0] for x in HEALTHY))
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
    a = np.random.default_rng(1).uniform(-1, 1, (200, 1)).astype(np.float32)
    data = type(HEALTHY)(x, a, np.zeros(200, np.float32), 0.9 * x + 0.2 * a, *[np.zeros(200, bool)] * 2)
    evidence = Evidence(spec=spec, fresh=logged(data), training=None, model=Simulator(Walk()))
    assert [f.name for f in find(evidence, key=jr.key(0))] == []


@pytest.mark.parametrize("value", [0.0, -1.3, 1e9])
@pytest.mark.parametrize("error", [0.0, 0.1])
def test_rewards_that_are_all_equal_belong_to_no_other_step(value, error):
    data = FRESH.__class__(FRESH.rows._replace(reward=np.full(N, value, np.float32)), FRESH.spans)
    guess = data.rows.reward + error * np.random.default_rng(0).normal(size=N).astype(np.float32)
    assert checks.misplaced_given_reward(guess, data) == []
    assert checks.misplaced_reward(said(data=data, reward=guess), data) == []
