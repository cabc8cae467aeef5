"""Examinations of models whose errors are known in closed form."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
from linear_world import (
    NOISE,
    ONE,
    SPEC,
    TRUE,
    Exact,
    Linear,
    Normal,
    Still,
    closed_form_variance,
    episodes_of,
    linear_episodes,
)

from forethought.core import AbstractModel
from forethought.diagnostics.examination import LEVELS, examine
from forethought.diagnostics.over_episodes import OverEpisodes, correlation, spearman
from forethought.errors import UserError
from forethought.types import Discrete, EnvSpec, Prediction, Transition

HORIZON = 10


def look(model, data=None, spec=SPEC, **more):
    data = linear_episodes() if data is None else data
    return examine(model, data, spec, **{"horizon": HORIZON, "key": jr.key(1), "max_starts": 2000, **more})


@pytest.fixture(scope="module")
def right():
    return look(Linear(TRUE, NOISE))


@pytest.fixture(scope="module")
def exact():
    return look(Exact(), min_particles=1, max_starts=10**6)


# ---- errors


def test_error_of_the_true_model_is_the_closed_form(exact):
    np.testing.assert_allclose(exact.error * exact.scale, np.sqrt(closed_form_variance(HORIZON)), rtol=0.04)


def test_stated_deviation_of_the_true_model_is_the_closed_form(right):
    np.testing.assert_allclose(right.deviation * right.scale, np.sqrt(closed_form_variance(HORIZON)), rtol=0.05)


def test_scale_is_the_deviation_of_the_observations(right):
    np.testing.assert_allclose(right.scale, np.std(linear_episodes().obs, (0, 1)), rtol=1e-4)
    assert right.reward_scale == pytest.approx(float(np.std(linear_episodes().reward)), rel=1e-4)


def test_persistence_at_one_step_is_the_size_of_one_change(exact):
    data = linear_episodes()
    change = np.sqrt(np.mean((data.next_obs - data.obs) ** 2, (0, 1)))
    np.testing.assert_allclose(exact.persistence[0] * exact.scale, change, rtol=1e-4)


def test_overall_is_the_root_mean_square_over_dimensions(right):
    np.testing.assert_allclose(right.overall, np.sqrt((right.error**2).mean(1)), rtol=1e-9)
    np.testing.assert_allclose(right.baseline, np.sqrt((right.persistence**2).mean(1)), rtol=1e-9)


def test_reward_error_is_that_of_the_first_dimension(exact):
    expected = np.sqrt(closed_form_variance(HORIZON)[:, 0]) / exact.reward_scale
    np.testing.assert_allclose(exact.reward_error, expected, rtol=0.04)


def test_reward_correlation_is_the_root_of_the_variance_explained(exact):
    explained = 1 - closed_form_variance(HORIZON)[:, 0] / exact.reward_scale**2
    np.testing.assert_allclose(exact.reward_correlation[:5], np.sqrt(explained)[:5], rtol=0.04)


def test_a_shifted_prediction_shows_as_bias_of_its_size_and_sign():
    found = look(Still(), episodes_of([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), ONE, horizon=3)
    np.testing.assert_allclose((found.bias * found.scale)[:, 0], [-1, -2, -3], rtol=1e-6)


def test_every_recorded_step_is_a_start_where_there_is_room_for_it(exact):
    np.testing.assert_array_equal(exact.count, 200 * (30 - np.arange(HORIZON)))


def test_a_wrong_model_is_visibly_worse(right):
    wrong = look(Linear(0.8 * TRUE, NOISE))
    assert np.all(wrong.overall > right.overall)
    assert wrong.overall[-1] > 1.15 * right.overall[-1]
    assert wrong.covered_90[-1] < 0.8


def test_angles_are_compared_the_short_way_round():
    spec = EnvSpec("angle", 1, ONE.action, angle_dims=(0,))
    found = look(Still(), episodes_of([3.1, -3.1, 3.1]), spec, horizon=1)
    assert float(found.error[0, 0] * found.scale[0]) == pytest.approx(2 * np.pi - 6.2, rel=1e-3)
    assert float(found.scale[0]) < 0.1


# ---- likelihood and calibration


def test_likelihood_of_the_true_model_is_the_closed_form(exact):
    variance = closed_form_variance(HORIZON) / exact.scale**2
    expected = 0.5 * np.log(2 * np.pi * variance) + 0.5 * exact.error**2 / variance
    np.testing.assert_allclose(exact.nll, expected.mean(1), atol=1e-4)


def test_likelihood_of_persistence_is_that_of_its_best_gaussian(exact):
    data = linear_episodes()
    change = (data.next_obs - data.obs).reshape(-1, 2) / exact.scale
    fitted = -scipy.stats.norm.logpdf(change, scale=np.sqrt((change**2).mean(0))).mean()
    assert exact.persistence_nll[0] == pytest.approx(fitted, abs=1e-4)


def test_certain_particles_that_differ_are_judged_by_their_moments():
    """A mixture of point masses has no density; the Gaussian with its mean and variance has."""
    found = look(Scattered(), episodes_of([0, 0, 0]), ONE, horizon=1, min_particles=4)
    assert found.nll[0] == pytest.approx(0.5 * np.log(2 * np.pi * 1.25) + 0, abs=1e-5)


class Scattered(AbstractModel):
    """Four particles, certain to be at -1.5, -0.5, 0.5 and 1.5."""

    def init(self, obs, *, key):
        return jnp.broadcast_to(obs, (4, *obs.shape))

    def step(self, belief, action, *, key):
        places = jnp.array([-1.5, -0.5, 0.5, 1.5]).reshape(4, *[1] * (belief.ndim - 1))
        belief = jnp.broadcast_to(places, belief.shape)
        return belief, Prediction(belief[..., 0], jnp.ones(belief.shape[:-1]))

    def observation(self, belief):
        return Normal(belief, jnp.zeros_like(belief))


def test_intervals_of_the_true_model_cover_what_they_say(exact):
    assert np.all(np.abs(exact.coverage.mean((0, 1)) - LEVELS) < 0.015)
    assert np.all(np.abs(exact.covered_90 - 0.9) < 0.015)
    np.testing.assert_allclose(exact.calibration, exact.coverage.mean((0, 1)), atol=1e-9)
    np.testing.assert_allclose(exact.covered(0.9), exact.covered_90, atol=1e-9)
    assert exact.overconfident_from is None and exact.underconfident_from is None


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_coverage_of_a_wrong_deviation_is_that_of_the_narrower_interval(factor):
    """An interval of +-1.645 stated deviations is one of +-1.645 factor true ones."""
    found = look(Linear(TRUE, factor * NOISE), horizon=1)
    expected = 2 * scipy.stats.norm.cdf(scipy.stats.norm.ppf(0.95) * factor) - 1
    assert found.covered_90[0] == pytest.approx(expected, abs=0.02)
    assert (found.overconfident_from, found.underconfident_from) == ((1, None) if factor < 1 else (None, 1))


def test_a_level_that_was_not_measured_is_refused(right):
    with pytest.raises(ValueError, match=r"level=0.42 was not measured; use one of 0.05, 0.1"):
        right.covered(0.42)


def test_a_model_with_few_particles_is_run_several_times():
    few = look(Linear(TRUE, NOISE, particles=3))
    assert few.particles == 21
    assert 0.86 < few.covered_90[-1] < 0.93


def test_a_certain_model_states_no_uncertainty():
    sure = look(Linear(TRUE, 0.0, particles=1), max_starts=100, min_particles=1)
    assert not sure.states_uncertainty
    assert sure.overconfident_from is None
    assert np.isnan(sure.nll).all() and np.isnan(sure.rank).all()


# ---- does the uncertainty rank the errors


@pytest.mark.parametrize("ties", [1, 50])
def test_spearman_is_scipys_with_and_without_ties(ties):
    x, y = np.random.default_rng(0).integers(0, 1000 // ties, size=(2, 60)).astype(float)
    y = y + 0.5 * x
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_correlation_of_what_never_varies_is_unknown():
    assert np.isnan(correlation(np.ones(5), np.arange(5.0)))
    assert np.isnan(spearman(np.array([1.0, np.nan, 2.0]), np.arange(3.0)))


class Uneven(AbstractModel):
    """The change has deviation |obs|, which the model knows, or believes to be the other way round."""

    honest: bool = eqx.field(static=True, default=True)

    def init(self, obs, *, key):
        return obs[None], Normal(obs[None], jnp.zeros_like(obs[None]))

    def step(self, belief, action, *, key):
        mean = jnp.zeros_like(belief[0])
        deviation = jnp.abs(belief[0]) if self.honest else 3.0 - jnp.abs(belief[0])
        return (mean, Normal(mean, deviation**2)), Prediction(mean[..., 0], jnp.ones(mean.shape[:-1]))

    def observation(self, belief):
        return belief[1]


@pytest.fixture(scope="module")
def uneven():
    """Steps from a uniform start in (0, 3) to a Gaussian of that deviation; and start and end as arrays."""
    rng = np.random.default_rng(3)
    start = rng.uniform(0, 3, 1500)
    end = start * rng.normal(size=1500)
    return episodes_of(*zip(start.tolist(), end.tolist())), start, end


def test_rank_of_an_honest_model_is_that_of_deviation_and_error(uneven):
    data, start, end = uneven
    found = look(Uneven(), data, ONE, horizon=1, min_particles=1, max_starts=1500)
    assert found.rank[0] == pytest.approx(scipy.stats.spearmanr(start, np.abs(end)).statistic, abs=1e-3)
    assert found.rank[0] > 0.4
    np.testing.assert_allclose(found.binned[:, 0], found.binned[:, 1], rtol=0.15)


def test_rank_of_a_model_that_has_it_backwards_is_negative(uneven):
    data, start, end = uneven
    found = look(Uneven(honest=False), data, ONE, horizon=1, min_particles=1, max_starts=1500)
    assert found.rank[0] == pytest.approx(-scipy.stats.spearmanr(start, np.abs(end)).statistic, abs=1e-3)


# ---- terminations and returns


def test_nothing_after_the_end_of_an_episode_is_compared():
    found = look(Still(), episodes_of([0, 1, 2], [0, 1, 2, 3]), ONE, horizon=3)
    np.testing.assert_array_equal(found.count, [5, 3, 1])
    np.testing.assert_allclose((found.error * found.scale)[:, 0], [1.0, 2.0, 3.0], rtol=1e-6)


def test_continuation_error_is_the_squared_distance_to_what_happened():
    found = look(Still(0.75), episodes_of([0, 1, 2], terminated=(True,)), ONE, horizon=2)
    # One step ahead of the two starts, once on and once over; two steps ahead of the first start, over.
    np.testing.assert_allclose(found.continuation_error, [(0.25**2 + 0.75**2) / 2, 0.75**2], rtol=1e-5)


class CountsDown(AbstractModel):
    """The observation falls by one a step, and the episode ends where it is zero; it says nothing of what follows."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        belief = belief - 1
        return belief, Prediction(jnp.zeros(belief.shape[:-1]), (belief[..., 0] != 0).astype(jnp.float32))

    def observation(self, belief):
        return Normal(belief, jnp.zeros_like(belief))


def test_missed_terminations_are_those_that_the_model_imagined_to_survive():
    """Three of four falls are foreseen; the fourth happens three steps before the model expects it."""
    data = episodes_of([3, 2, 1, 0], [3, 2, 1, 0], [3, 2, 1, 0], [6, 5, 4, 3], terminated=(True,) * 4)
    found = look(CountsDown(), data, ONE, horizon=3)
    assert found.terminations == 4
    np.testing.assert_allclose(found.missed, [0.25, 0.25, 0.25])
    assert found.missed_share == 0.25
    assert found.false_alarm_share == 0


def test_every_fall_is_looked_at_however_few_starts_there_are():
    """Of 30 falls the model foresees 20; 8 starts spread over all steps would see but a few."""
    foreseen = [np.arange(40.0, -1, -1).tolist()] * 20
    found = look(
        CountsDown(),
        episodes_of(*foreseen, *[np.arange(70.0, 29, -1).tolist()] * 10, terminated=(True,) * 30),
        ONE,
        horizon=5,
        max_starts=8,
    )
    assert found.count[0] == 8
    np.testing.assert_allclose(found.missed, 1 / 3)
    assert found.missed_share == pytest.approx(1 / 3)


def test_false_alarms_are_steps_on_which_the_model_imagined_the_end():
    """The first episode goes on through zero; what was once imagined over stays over."""
    data = episodes_of([3, 2, 1, 0, -1], [9, 8, 7, 6, 5])
    found = look(CountsDown(), data, ONE, horizon=4)
    # Two steps ahead, the starts at 2 and 1 of the first episode are imagined over, of 6 starts in all.
    np.testing.assert_allclose(found.false_alarm, [1 / 8, 2 / 6, 2 / 4, 1 / 2])
    assert found.false_alarm_share == pytest.approx(6 / 20)
    assert found.terminations == 0 and np.isnan(found.missed_share)


def test_a_reward_too_high_by_a_half_drifts_by_half_a_unit_a_step():
    found = look(Still(reward=1.5), episodes_of(np.arange(9.0).tolist(), np.arange(9.0).tolist(), reward=1.0), ONE)
    steps = np.arange(1, found.horizon + 1)
    np.testing.assert_allclose(found.drift, 0.5 * steps, rtol=1e-6)
    np.testing.assert_allclose(found.real_return, steps, rtol=1e-6)
    np.testing.assert_allclose(found.drift_error, 0.5 * steps, rtol=1e-6)
    np.testing.assert_allclose(found.drift_band, [0.5 * steps] * 2, rtol=1e-6)


def test_return_ends_with_the_episode_and_imagination_weighs_by_survival():
    """Two steps at reward 1, then the end. Imagined with probability 1/2 of going on: 1 + 1/2 + 1/4."""
    spec = dataclasses.replace(ONE, max_episode_steps=3)
    found = look(Still(0.5, reward=1.0), episodes_of([0, 1, 2], terminated=(True,), reward=1.0), spec, horizon=2)
    np.testing.assert_array_equal(found.return_count, [2, 2])
    np.testing.assert_allclose(found.real_return, [1.0, 1.5])
    np.testing.assert_allclose(found.imagined_return, [1.0, 1.5])
    truncated = look(Still(0.5, reward=1.0), episodes_of([0, 1, 2], reward=1.0), ONE, horizon=2)
    np.testing.assert_array_equal(truncated.return_count, [2, 1])
    np.testing.assert_allclose(truncated.real_return, [1.0, 2.0])


LIMIT, GOES_ON = 12, 0.9


@functools.cache
def falls(num=1500):
    """Episodes at reward 1 that end at any step with probability 0.1, and by truncation after LIMIT steps."""
    lengths = np.random.default_rng(5).geometric(1 - GOES_ON, num)
    rows = [list(range(min(n, LIMIT) + 1)) for n in lengths]
    return episodes_of(*rows, terminated=tuple(lengths <= LIMIT), reward=1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "limit",
    [
        {},
        {"max_episode_steps": LIMIT},
        {"max_episode_steps": 2 * LIMIT - 1, "action_repeat": 2},
        {"max_episode_steps": 500},
    ],
    ids=["unknown", "known", "in simulator steps", "longer than what was recorded"],
)
def test_a_right_model_of_falls_does_not_drift_where_time_runs_out(limit):
    """To keep, of the starts close to the limit, only those that fell would make the real return too low."""
    spec = dataclasses.replace(ONE, **limit)
    found = look(Still(GOES_ON, reward=1.0), falls(), spec, max_starts=10**5)
    expected = (1 - GOES_ON ** np.arange(1, HORIZON + 1)) / (1 - GOES_ON)
    np.testing.assert_allclose(found.imagined_return, expected, rtol=1e-5)
    assert np.all((found.drift_band[0] <= 0) & (found.drift_band[1] >= 0))
    np.testing.assert_allclose(found.drift, 0, atol=0.12)
    assert np.all(np.diff(found.return_count) < 0)


def test_the_time_limit_is_what_episodes_could_last_not_what_they_did():
    """All fell early: with a known limit, every return is known; without, only as far as the longest lasted."""
    data = episodes_of([0, 1, 2, 3], [0, 1], terminated=(True, True), reward=1.0)
    known = look(Still(), data, dataclasses.replace(ONE, max_episode_steps=20, action_repeat=3), horizon=3)
    np.testing.assert_array_equal(known.return_count, [4, 4, 4])
    np.testing.assert_array_equal(look(Still(), data, ONE, horizon=3).return_count, [4, 3, 2])


def test_imagined_and_real_return_of_the_true_model_go_together(exact):
    low, high = exact.drift_band
    assert np.all((low < 0.1) & (high > -0.1))
    assert exact.return_correlation[0] == pytest.approx(exact.reward_correlation[0], abs=1e-9)
    assert np.all(exact.return_correlation > 0.8)


# ---- bands


def test_bands_are_over_episodes_and_not_over_starts():
    """Every start of episode i errs by size i; 30 times the starts say no more than one start each."""
    rng = np.random.default_rng(0)
    size = rng.uniform(1, 2, 40)
    few = look(Still(), episodes_of(*[[0, s] for s in size]), ONE, horizon=1)
    jumps = [(np.tile([0, 1], 15) * s).tolist() for s in size]
    many = look(Still(), episodes_of(*jumps), ONE, horizon=1)
    square = lambda e: e.overall_band**2 * e.scale**2
    half_width = scipy.stats.t.ppf(0.975, 39) * (size**2).std(ddof=1) / np.sqrt(40)
    expected = (size**2).mean() + half_width * np.array([-1, 1])
    np.testing.assert_allclose(square(few)[:, 0], expected, atol=0.1 * half_width)
    np.testing.assert_allclose(square(many)[:, 0], expected, atol=0.1 * half_width)


def test_a_ratio_of_errors_of_the_same_episodes_has_a_narrow_band():
    """Twice a step too far and nothing at all are equally wrong: their ratio is one in every resample."""
    rng = np.random.default_rng(0)
    found = look(Still(), episodes_of(*[[0, s] for s in rng.uniform(1, 2, 40)]), ONE, horizon=1)
    np.testing.assert_allclose(found.ratio_band, 1.0, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("episodes", [3, 5, 10, 20])
def test_bands_over_few_episodes_hold_the_truth_nine_times_in_ten(episodes):
    """Means of Gaussian numbers, and root mean squares of them, each of episodes with an effect of their own."""
    rng, starts = np.random.default_rng(episodes), 8
    episode = np.repeat(np.arange(episodes), starts)
    # 500 data sets side by side: every one is a column, as horizons are.
    x = 0.5 * rng.normal(size=(episodes, 1, 500)) + rng.normal(size=(episodes, starts, 500))
    x = x.reshape(-1, 500)
    over = OverEpisodes(episode, np.ones(x.shape, bool))
    low, high = over.band(1.0 + x)
    assert np.mean((low <= 1) & (high >= 1)) >= 0.9
    low, high = over.band(x**2, of=np.sqrt, least=0.0)
    assert np.mean((low <= np.sqrt(1.25)) & (high >= np.sqrt(1.25))) >= 0.9
    assert np.all((low >= 0) & (low <= high)) and np.all(np.isfinite(high))


def test_bands_stay_within_what_can_be():
    """Two episodes say next to nothing, but errors are not negative and shares are between 0 and 1."""
    found = look(Linear(TRUE, NOISE), jax.tree.map(lambda x: x[:2], linear_episodes()), horizon=5)
    for band in (found.error_band, found.overall_band, found.baseline_band, found.ratio_band, found.covered_90_band):
        assert np.all(np.isfinite(band)) and np.all(band >= 0) and np.all(band[0] <= band[1])
    assert np.all(found.covered_90_band <= 1)
    assert np.all((found.overall_band[0] <= found.overall) & (found.overall <= found.overall_band[1]))


def test_horizons_that_one_episode_reaches_have_no_band():
    found = look(Still(), episodes_of([0, 1, 2, 3], [0, 1], [0, 2]), ONE, horizon=3)
    assert np.all(np.isfinite(found.overall_band[:, 0])) and np.all(np.isnan(found.overall_band[:, 1:]))


# ---- how far to trust


def test_trust_ends_where_the_error_passes_half_a_deviation(exact):
    small = exact.overall_band[1] < 0.5
    assert 1 < exact.trusted_steps < HORIZON
    assert exact.trusted_steps == int(np.argmin(small))


def test_no_trust_in_what_does_not_beat_persistence():
    assert look(Still(), linear_episodes(), SPEC, max_starts=100).trusted_steps == 0


def test_trust_does_not_come_back_after_a_bad_step(exact):
    band = np.array(exact.overall_band)
    band[:] = 0.1
    band[:, 2] = 0.6
    ratio = np.full_like(exact.ratio_band, 0.5)
    assert dataclasses.replace(exact, overall_band=band, ratio_band=ratio).trusted_steps == 2


# ---- data that are not as they should be


def test_one_episode_has_no_bands_and_says_so():
    data = jax.tree.map(lambda x: x[:1], linear_episodes())
    found = look(Linear(TRUE, NOISE), data, horizon=3)
    for band in (found.error_band, found.overall_band, found.covered_90_band, found.drift_band, found.ratio_band):
        assert np.isnan(band).all()
    assert "one episode only: there are no bands over episodes" in found.notes
    assert np.isfinite(found.overall).all() and found.trusted_steps >= 1


def test_a_horizon_longer_than_every_episode_is_cut_and_says_so():
    found = look(Still(), episodes_of([0, 1, 2], [0, 1, 2, 3]), ONE, horizon=25)
    assert found.horizon == 3
    assert "horizon 25 cut to 3 steps: no episode is longer" in found.notes


def test_a_dimension_that_never_varies_is_named_and_left_out_of_averages():
    data = linear_episodes()
    still = lambda x: np.concatenate([x, np.full((*x.shape[:2], 1), 7.0, np.float32)], -1)
    wider = dataclasses.replace(data, obs=still(data.obs), next_obs=still(data.next_obs))
    found = look(Wider(Linear(TRUE, NOISE)), wider, EnvSpec("wider", 3, SPEC.action), max_starts=500)
    assert found.constant == (2,) and found.scale[2] == 1
    assert "observation 2 never varies" in " ".join(found.notes)
    np.testing.assert_allclose(found.overall, np.sqrt((found.error[:, :2] ** 2).mean(1)))
    assert np.all(np.abs(found.covered_90 - 0.9) < 0.04)


class Wider(AbstractModel):
    """A model of two dimensions, and a third that stays."""

    inner: Linear

    def init(self, obs, *, key):
        return self.inner.init(obs[:2], key=key), jnp.broadcast_to(obs[2:], (self.inner.particles, 1))

    def step(self, belief, action, *, key):
        inner, said = self.inner.step(belief[0], action, key=key)
        return (inner, belief[1]), said

    def observation(self, belief):
        seen, still = self.inner.observation(belief[0]), belief[1]
        return Normal(jnp.concatenate([seen.loc, still], -1), jnp.concatenate([seen.var, 0 * still], -1))


def test_a_number_that_is_not_finite_is_named_with_its_place():
    data = linear_episodes()
    obs = data.obs.copy()
    obs[7, 3, 1], obs[9, 0, 0] = np.nan, np.inf
    with pytest.raises(UserError, match=r"obs is nan in episode 7, step 3, dimension 1 \(2 of 200 episodes"):
        look(Linear(TRUE, NOISE), dataclasses.replace(data, obs=obs))
    reward = data.reward.copy()
    reward[4, 2] = -np.inf
    with pytest.raises(UserError, match=r"reward is -inf in episode 4, step 2 \(1 of 200"):
        look(Linear(TRUE, NOISE), dataclasses.replace(data, reward=reward))


@pytest.mark.parametrize("change", ["obs", "action"])
def test_data_of_other_spaces_are_refused(change):
    data = linear_episodes()
    other = dataclasses.replace(data, **{change: np.zeros((*data.reward.shape, 5), np.float32)})
    with pytest.raises(UserError, match=rf"do not fit linear: one {change} has shape \(5,\)"):
        look(Linear(TRUE, NOISE), other)


def test_a_model_of_another_environment_is_refused():
    data = episodes_of([0, 1, 2])
    with pytest.raises(UserError, match=r"Linear does not fit one \(1 observations, actions of 1 numbers\)"):
        look(Linear(TRUE, NOISE), data, ONE)
    with pytest.raises(UserError, match=r"it predicts observations of shape \(1,\), the data hold \(2,\)"):
        look(Narrow(), linear_episodes())


class Narrow(AbstractModel):
    """Takes any observation and predicts one number."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        return belief, Prediction(belief[..., 0], belief[..., 0])

    def observation(self, belief):
        return Normal(belief[..., :1], belief[..., :1] ** 2)


def test_a_model_that_cannot_say_what_would_be_seen_is_refused():
    with pytest.raises(UserError, match="does not say what would be seen"):
        look(Linear(TRUE, NOISE, speaks=False))


@pytest.mark.parametrize("error", [KeyError("speed"), AssertionError(), ZeroDivisionError("division by zero")])
def test_whatever_a_model_raises_is_said_in_one_line(error):
    with pytest.raises(UserError, match=f"Raises does not fit one .*: {type(error).__name__}") as found:
        look(Raises(error), episodes_of([0, 1, 2]), ONE)
    assert found.value.__cause__ is error and "\n" not in str(found.value)


class Raises(Narrow):
    """Fails on its first step."""

    error: Exception = eqx.field(static=True)

    def step(self, belief, action, *, key):
        raise self.error


def test_no_data_are_refused():
    data = jax.tree.map(lambda x: x[:0], linear_episodes())
    with pytest.raises(UserError, match="trajectories hold no step"):
        look(Linear(TRUE, NOISE), data)
    with pytest.raises(ValueError, match=r"wanted \[episodes, time\]"):
        look(Linear(TRUE, NOISE), jax.tree.map(lambda x: x[0], linear_episodes()))


class Pushed(AbstractModel):
    """Action 0, 1 or 2 moves by -1, 0 or 1."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        belief = belief + action[..., None] - 1
        return belief, Prediction(belief[..., 0], jnp.ones(belief.shape[:-1]))

    def observation(self, belief):
        return Normal(belief, jnp.zeros_like(belief))


def test_discrete_actions_are_replayed():
    rng = np.random.default_rng(0)
    action = rng.integers(0, 3, (5, 20)).astype(np.int32)
    position = np.concatenate([np.zeros((5, 1)), np.cumsum(action - 1, 1)], 1).astype(np.float32)[..., None]
    no = np.zeros((5, 20), bool)
    data = Transition(position[:, :-1], action, position[:, 1:, 0], position[:, 1:], no, no)
    spec = EnvSpec("pushed", 1, Discrete(3))
    found = look(Pushed(), data, spec, horizon=5)
    np.testing.assert_array_equal(found.error, 0)
    assert found.trusted_steps == 5
    with pytest.raises(UserError, match=r"action is 3 in episode 2, step 1; wanted 0..2"):
        wrong = action.copy()
        wrong[2, 1] = 3
        look(Pushed(), dataclasses.replace(data, action=wrong), spec)
