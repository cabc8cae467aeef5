"""Interquartile mean and bootstrap intervals."""

import numpy as np
import pytest

from forethought.diagnostics.statistics import (
    bootstrap_band,
    bootstrap_interval,
    interquartile_mean,
    paired_difference,
)


def test_interquartile_mean_cuts_a_quarter_at_each_end():
    assert interquartile_mean([100.0, 1, 2, 3, 4, 5, 90, -100]) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_interquartile_mean_of_ten_cuts_two_at_each_end():
    assert interquartile_mean(np.arange(10.0) ** 2) == pytest.approx((4 + 9 + 16 + 25 + 36 + 49) / 6)


def test_interquartile_mean_of_three_is_their_mean():
    assert interquartile_mean([1.0, 2.0, 9.0]) == pytest.approx(4.0)


def test_interquartile_mean_along_an_axis_equals_it_column_by_column():
    x = np.random.default_rng(0).normal(size=(9, 4))
    expected = [interquartile_mean(x[:, i]) for i in range(4)]
    np.testing.assert_allclose(interquartile_mean(x, 0), expected)


def test_interquartile_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one value"):
        interquartile_mean([])


def test_interval_of_a_mean_has_the_width_of_the_normal_approximation():
    x = np.random.default_rng(1).normal(size=400)
    found = bootstrap_interval(x, np.mean)
    half = 1.96 * x.std() / 20
    assert found.estimate == pytest.approx(x.mean())
    assert found.low == pytest.approx(x.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(x.mean() + half, abs=0.15 * half)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for i in range(200):
        found = bootstrap_interval(rng.normal(size=20), np.mean, num_resamples=300, level=0.9, seed=i)
        hits += found.low <= 0 <= found.high
    assert 0.80 <= hits / 200 <= 0.96  # percentile intervals of 20 samples are known to be slightly narrow


def test_seeds_are_resampled_within_each_task():
    """Tasks of very different scale and no spread over seeds: without strata the interval would be wide."""
    scores = np.tile([0.0, 1000.0], (5, 1))
    assert bootstrap_interval(scores, np.mean) == (500.0, 500.0, 500.0)


def test_paired_difference_sees_what_unpaired_intervals_hide():
    rng = np.random.default_rng(3)
    difficulty = rng.normal(scale=100, size=10)
    better, worse = difficulty + 2 + rng.normal(scale=0.5, size=10), difficulty
    assert paired_difference(better, worse).low > 0
    assert bootstrap_interval(better).low < bootstrap_interval(worse).high


def test_paired_difference_needs_the_same_seeds():
    with pytest.raises(ValueError, match=r"\(3,\) and \(4,\)"):
        paired_difference(np.zeros(3), np.zeros(4))


def test_band_equals_the_interval_at_every_step():
    curves = np.random.default_rng(4).normal(size=(8, 3))
    middle, low, high = bootstrap_band(curves, num_resamples=4000)
    for i in range(3):
        alone = bootstrap_interval(curves[:, i], num_resamples=4000, seed=1)
        assert middle[i] == pytest.approx(alone.estimate)
        assert (low[i], high[i]) == pytest.approx((alone.low, alone.high), abs=0.1)


def test_failed_seeds_are_not_averaged_away():
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_interval([1.0, np.nan])
