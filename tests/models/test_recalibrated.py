"""A recalibrated model is a model: planners use it, and what it draws is what it says would be seen."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny
from linear_world import NOISE, SPEC, TRUE, Exact, Linear, linear_episodes

from forethought.diagnostics.calibration import GRID, Recalibration, recalibrate
from forethought.learners.model_planning import ensemble_learner
from forethought.models.recalibrated import Recalibrated, Stretched
from forethought.models.simulator import Simulator
from forethought.planners.cem import CEM
from forethought.planners.rollout import rollout
from forethought.types import Given


def identity(horizon=3, obs=2, particles=1, by=1.0, shift=0.0, floor=0.0):
    table = jnp.broadcast_to(by * jnp.asarray(GRID, jnp.float32) + shift, (horizon, obs, len(GRID)))
    return Recalibration(table, jnp.full((horizon, obs), floor), jnp.full(horizon, 100), particles)


def negative_size(obs, action, next_obs):
    """A reward."""
    return -jnp.sum(next_obs**2) - 0.1 * jnp.sum((next_obs - obs) ** 2)


def first(obs, action, next_obs):
    """A reward: what `Linear` says it is."""
    return next_obs[0]


def far_out(obs, action, next_obs):
    """A termination."""
    return jnp.abs(next_obs[0]) > 1.0


def steps(model, obs, num, key=0):
    """Beliefs after 1 .. num steps with action 0.5, and predictions."""
    belief, found = model.init(obs, key=jr.key(key)), []
    step = jax.jit(lambda b, k: model.step(b, jnp.full((jax.tree.leaves(b)[0].shape[0], 1), 0.5), key=k))
    for t in range(num):
        belief, said = step(belief, jr.key(100 + t))
        found.append((belief, said))
    return found


OBS = jnp.array([0.4, -0.2])


def test_the_identity_changes_nothing():
    model = Linear(TRUE, NOISE)
    inner, outer = steps(model, OBS, 5), steps(Recalibrated(model, identity(), SPEC, given=Given(first)), OBS, 5)
    for t in range(5):
        np.testing.assert_allclose(outer[t][0].obs, inner[t][0][0], atol=1e-5)
        np.testing.assert_allclose(outer[t][1].reward, inner[t][1].reward, atol=1e-5)
        assert np.all(outer[t][0].steps == t + 1)


def test_particles_move_about_the_mean_by_the_map():
    model = Linear(TRUE, NOISE)
    ((outer, _), *_) = steps(Recalibrated(model, identity(by=3.0, shift=0.5), SPEC), OBS, 1)
    mean = np.asarray(TRUE @ OBS + np.array([0.0, 0.15]))
    np.testing.assert_allclose(outer.obs, mean + 3 * (model.drawn(outer.inner) - mean) + 0.5 * NOISE, atol=1e-4)


def test_the_last_horizon_stands_for_all_beyond():
    table = jnp.stack([by * jnp.ones((2, 1)) * jnp.asarray(GRID, jnp.float32) for by in (1.0, 2.0)])
    wrapped = Recalibrated(Exact(), Recalibration(table, jnp.zeros((2, 2)), jnp.ones(2), 1), SPEC)
    deviations = [np.asarray(wrapped.observation(b).variance()[0]) ** 0.5 for b, _ in steps(wrapped, OBS, 4)]
    inner = [np.asarray(Exact().observation(b.inner).variance()[0]) ** 0.5 for b, _ in steps(wrapped, OBS, 4)]
    np.testing.assert_allclose(np.array(deviations) / np.array(inner), [[1, 1], [2, 2], [2, 2], [2, 2]], rtol=1e-3)


def test_before_any_step_it_is_certain_of_what_it_was_shown():
    wrapped = Recalibrated(Linear(TRUE, NOISE), identity(floor=0.3), SPEC)
    seen = wrapped.observation(wrapped.init(OBS, key=jr.key(0)))
    np.testing.assert_allclose(seen.mean(), jnp.broadcast_to(OBS, (25, 2)))
    np.testing.assert_array_equal(seen.variance(), 0)
    np.testing.assert_array_equal(seen.cdf(seen.mean() + jnp.array([0.1, -0.1])), np.tile([1.0, 0.0], (25, 1)))


def test_given_reward_and_termination_see_the_moved_particles():
    wrapped = Recalibrated(Linear(TRUE, NOISE), identity(by=6.0), SPEC, given=Given(negative_size, far_out))
    before = jnp.broadcast_to(OBS, (25, 2))
    for belief, said in steps(wrapped, OBS, 3):
        expected = jax.vmap(negative_size)(before, jnp.zeros((25, 1)), belief.obs)
        np.testing.assert_allclose(said.reward, expected, rtol=1e-4)
        np.testing.assert_array_equal(said.continuation == 0, np.abs(belief.obs[:, 0]) > 1)
        before = belief.obs
    assert 0 < said.continuation.mean() < 1


def test_learned_reward_and_termination_are_the_models_own():
    model = Linear(TRUE, NOISE, continuation=0.7)
    ((outer, said),) = steps(Recalibrated(model, identity(by=6.0), SPEC), OBS, 1)
    np.testing.assert_allclose(said.reward, model.drawn(outer.inner)[..., 0])
    np.testing.assert_allclose(said.continuation, 0.7)


def test_what_it_draws_is_spread_as_it_says():
    """Of 4,000 particles as many lie below each quantile of `observation` as should."""
    model = Linear(TRUE, NOISE, particles=4000)
    wrapped = Recalibrated(model, identity(by=2.0, shift=-0.3, particles=4000), SPEC)
    belief, _ = steps(wrapped, OBS, 3)[-1]
    below = np.sort(np.asarray(wrapped.observation(belief).cdf(wrapped.drawn(belief))), axis=0)
    np.testing.assert_allclose(below, np.tile(np.linspace(0, 1, 4000)[:, None], (1, 2)), atol=0.03)


def test_too_few_particles_run_side_by_side():
    wrapped = Recalibrated(Linear(TRUE, NOISE, particles=3), identity(particles=20), SPEC)
    assert wrapped.copies == 7
    (belief, said), *_ = steps(wrapped, OBS, 1)
    assert said.reward.shape == (21,) and belief.obs.shape == (21, 2)
    assert len(np.unique(belief.obs[:, 0])) == 21


def test_candidates_stand_behind_the_particles_and_are_as_if_alone():
    wrapped = Recalibrated(Exact(), identity(by=1.5), SPEC, given=Given(negative_size))
    actions = SPEC.action.sample((6, 4), key=jr.key(3))
    belief = wrapped.init(OBS, key=jr.key(0))
    together = rollout(wrapped, belief, actions, key=jr.key(1))
    # Exact carries no particle of its own, so one is drawn: the same for all steps but not for all candidates.
    assert together.shape == (6,) and np.isfinite(together).all()
    certain = Recalibrated(Simulator(tiny.Walk()), identity(floor=0.1, shift=0.2), tiny.Walk().spec, given=tiny.GIVEN)
    belief = certain.init(OBS, key=jr.key(0))
    many = rollout(certain, belief, actions, key=jr.key(1))
    alone = [rollout(certain, belief, actions[i : i + 1], key=jr.key(1))[0] for i in range(6)]
    np.testing.assert_allclose(many, alone, rtol=1e-5)


@pytest.mark.slow
def test_cem_plans_in_it_as_well_as_in_the_model_itself():
    walk = tiny.Walk()
    planner = CEM(walk.spec.action, horizon=5, population=64, elites=8, iterations=4)
    plan = jax.jit(
        lambda model, key: planner(model, model.init(jnp.array([1.0, 1.0]), key=key), planner.init(), key=key)
    )
    model = Simulator(walk)
    right = Recalibrated(model, identity(floor=1e-6), walk.spec, given=tiny.GIVEN)
    action, found = plan(right, jr.key(0))
    plain, expected = plan(model, jr.key(0))
    np.testing.assert_allclose(action, plain, atol=0.05)
    np.testing.assert_allclose(found.value, expected.value, atol=1e-3)
    shifted = Recalibrated(model, identity(floor=1.0, shift=-2.0), walk.spec, given=tiny.GIVEN)
    assert plan(shifted, jr.key(0))[0][0] > 0.5 > plain[0]  # it expects to be moved down by 2, and pushes up


def test_an_ensemble_is_planned_in_with_its_own_luck():
    walk = tiny.Walk()
    model = ensemble_learner(walk.spec, tiny.MODEL, given=tiny.GIVEN, key=jr.key(0)).model
    wrapped = Recalibrated(model, identity(particles=2), walk.spec, given=tiny.GIVEN)
    actions = walk.spec.action.sample((5, 4), key=jr.key(1))
    plain, found = (rollout(m, m.init(OBS, key=jr.key(2)), actions, key=jr.key(3)) for m in (model, wrapped))
    np.testing.assert_allclose(found, plain, rtol=1e-4)


@pytest.mark.slow
def test_recalibrating_a_right_model_leaves_imagined_returns_nearly_unchanged():
    model = Linear(TRUE, NOISE, particles=200)
    data = linear_episodes()
    made = recalibrate(model, data, SPEC, horizon=5, key=jr.key(2), max_starts=1500)
    actions = SPEC.action.sample((8, 5), key=jr.key(3))
    given = Given(negative_size)
    plain = rollout(
        Recalibrated(model, identity(horizon=5, particles=200), SPEC, given=given),
        model_belief(model, identity(horizon=5, particles=200)),
        actions,
        key=jr.key(1),
    )
    found = rollout(Recalibrated(model, made, SPEC, given=given), model_belief(model, made), actions, key=jr.key(1))
    np.testing.assert_allclose(found, plain, rtol=0.1)


def model_belief(model, recalibration):
    return Recalibrated(model, recalibration, SPEC).init(OBS, key=jr.key(0))


def test_a_recalibration_of_other_observations_is_refused():
    with pytest.raises(ValueError, match="the recalibration is of 5 observations, linear has 2"):
        Recalibrated(Linear(TRUE, NOISE), identity(obs=5), SPEC)


def test_density_is_the_slope_of_the_distribution_function():
    table = jnp.asarray(np.sinh(GRID) + 0.2 * GRID, jnp.float32)[None]
    seen = Stretched(jnp.array([1.0]), jnp.array([0.5]), table)
    values = jnp.linspace(-49, 51, 100_001)[:, None]
    density = np.exp(np.asarray(seen.log_density(values)))[:, 0]
    width = 100 / 100_000
    assert density.sum() * width == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(np.cumsum(density) * width, seen.cdf(values)[:, 0], atol=2e-3)
    np.testing.assert_allclose((density * np.asarray(values)[:, 0]).sum() * width, seen.mean()[0], atol=1e-3)
    second = (density * (np.asarray(values)[:, 0] - float(seen.mean()[0])) ** 2).sum() * width
    np.testing.assert_allclose(second, seen.variance()[0], rtol=1e-2)
    np.testing.assert_allclose(seen.log_prob(values), seen.log_density(values)[:, 0])
