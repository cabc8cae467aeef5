import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_toys import BOX

from forethought.planners.sequences import (
    CategoricalSequences,
    GaussianSequences,
    coloured_noise,
    start,
)
from forethought.types import Box, Discrete

KEY = jax.random.key(0)


def test_the_first_distribution_is_centred_with_a_sixteenth_of_the_squared_range():
    first = start(BOX, 3)
    np.testing.assert_allclose(first.mean, np.full((3, 1), 0.5))
    np.testing.assert_allclose(first.variance, np.full((3, 1), 25 / 16))


def test_samples_are_truncated_at_two_standard_deviations():
    wide = Box((-100.0,), (100.0,))
    narrow = GaussianSequences(jnp.zeros((1, 1)), jnp.ones((1, 1)), wide, 0.25)
    drawn = np.asarray(narrow.sample(20000, key=KEY))
    assert 1.95 < np.abs(drawn).max() <= 2.0
    np.testing.assert_allclose(drawn.var(), 0.774, atol=0.02)  # of a normal truncated at +-2


def test_the_standard_deviation_shrinks_near_a_bound_as_in_pets():
    near = GaussianSequences(jnp.full((1, 1), 2.9), jnp.ones((1, 1)), BOX, 0.25)
    drawn = np.asarray(near.sample(20000, key=KEY))
    assert drawn.min() >= 2.8 - 1e-5 and drawn.max() <= 3.0
    assert (drawn == 3.0).mean() < 0.01  # truncated, not clipped: no mass on the bound


@settings(max_examples=25, deadline=None)
@given(
    low=st.floats(-50, 50, width=32, allow_subnormal=False),  # XLA takes subnormal numbers for 0
    width=st.floats(0.015625, 100, width=32),
    where=st.floats(0, 1),
    beta=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 100),
)
def test_samples_and_mode_stay_inside_any_bounds(low, width, where, beta, seed):
    box = Box((low,), (low + width,))
    f = np.float32
    mean = jnp.full((3, 1), low + where * width, jnp.float32)
    sequences = GaussianSequences(mean, jnp.full((3, 1), width**2, jnp.float32), box, 0.25)
    key = jax.random.key(seed)
    for drawn in (
        sequences.sample(64, key=key),
        sequences.sample_clipped(64, beta, key=key),
        sequences.mode(),
    ):
        assert np.asarray(drawn).min() >= f(low) and np.asarray(drawn).max() <= f(low + width)


def test_refit_gives_the_elites_all_but_the_momentum():
    old = GaussianSequences(jnp.full((1, 1), 1.0), jnp.full((1, 1), 2.0), BOX, 0.25)
    elites = jnp.array([-1.0, 1.0, 3.0, -1.0])[:, None, None]
    new = old.refit(elites, jnp.array([1.0, 1.0, 1.0, 0.0]), momentum=0.1)
    np.testing.assert_allclose(new.mean, [[0.1 * 1.0 + 0.9 * 1.0]], rtol=1e-6)
    np.testing.assert_allclose(new.variance, [[0.1 * 2.0 + 0.9 * 8 / 3]], rtol=1e-6)
    far = old.refit(jnp.full((2, 1, 1), -1.0), jnp.ones(2), momentum=0.25)
    np.testing.assert_allclose(far.mean, [[0.25 * 1.0 + 0.75 * -1.0]], rtol=1e-6)


def test_refit_of_categoricals_gives_the_frequencies_all_but_the_momentum():
    old = CategoricalSequences(jnp.array([[0.5, 0.5], [0.2, 0.8]]))
    new = old.refit(jnp.array([[0, 1], [0, 0]]), jnp.array([3.0, 1.0]), momentum=0.1)
    np.testing.assert_allclose(new.probs, [[0.95, 0.05], [0.02 + 0.9 * 0.25, 0.08 + 0.9 * 0.75]], rtol=1e-5)


@pytest.mark.parametrize("space", [BOX, Discrete(3)], ids=["box", "discrete"])
def test_refit_to_nothing_moves_nothing(space):
    old = start(space, 2)
    new = old.refit(old.sample(4, key=KEY), jnp.zeros(4), momentum=0.0)
    jax.tree.map(np.testing.assert_array_equal, old, new)


def test_shift_moves_the_mean_pads_with_the_centre_and_renews_the_variance():
    old = GaussianSequences(jnp.array([[1.0], [2.0], [-1.0]]), jnp.full((3, 1), 0.01), BOX, 0.25)
    new = old.shift()
    np.testing.assert_allclose(new.mean, [[2.0], [-1.0], [0.5]])
    np.testing.assert_allclose(new.variance, np.full((3, 1), 25 / 16))


def test_shift_of_categoricals_goes_halfway_back_to_uniform():
    new = CategoricalSequences(jnp.array([[1.0, 0.0], [0.0, 1.0]])).shift()
    np.testing.assert_allclose(new.probs, [[0.25, 0.75], [0.5, 0.5]])


def test_categorical_samples_follow_the_probabilities():
    probs = jnp.array([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    drawn = np.asarray(CategoricalSequences(probs).sample(20000, key=KEY))
    assert drawn.dtype == np.int32 and drawn.shape == (20000, 2)
    np.testing.assert_allclose((drawn[:, 0] == 2).mean(), 0.7, atol=0.02)
    assert (drawn[:, 1] == 0).all()


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("horizon", [24, 25])
def test_the_noise_spectrum_falls_with_frequency_to_the_beta(beta, horizon):
    noise = np.asarray(coloured_noise((20000, horizon, 1), beta, key=KEY))[..., 0]
    np.testing.assert_allclose(noise.var(0), 1.0, atol=0.05)
    power = (np.abs(np.fft.rfft(noise)) ** 2).mean(0)
    inner = slice(1, (horizon - 1) // 2 + 1)  # not the constant, not Nyquist
    slope = np.polyfit(np.log(np.fft.rfftfreq(horizon)[inner]), np.log(power[inner]), 1)[0]
    np.testing.assert_allclose(slope, -beta, atol=0.05)


def test_noise_of_horizon_one_has_unit_variance():
    np.testing.assert_allclose(coloured_noise((20000, 1, 1), 2.0, key=KEY).var(), 1.0, atol=0.05)


def test_equally_likely_actions_are_told_apart_by_the_best_sequence():
    probs = jnp.array([[0.5, 0.0, 0.5], [0.4, 0.4, 0.2], [0.2, 0.3, 0.5]])
    mode = CategoricalSequences(probs).mode(jnp.array([2, 1, 0]))
    np.testing.assert_array_equal(mode, [2, 1, 2])
