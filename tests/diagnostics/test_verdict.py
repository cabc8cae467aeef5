"""The verdict says what was measured, in words that fit it."""

import dataclasses

import numpy as np
import pytest
from examined import HORIZON, look
from linear_world import NOISE, TRUE, Linear

from forethought.diagnostics.verdict import judged, plain_verdict


@pytest.fixture(scope="module")
def good(right):
    """As if every figure were good, to be spoilt one by one."""
    ones = np.ones(HORIZON)
    pair = np.ones((2, HORIZON))
    return dataclasses.replace(
        right,
        overall=0.1 * ones,
        overall_band=0.1 * pair,
        ratio_band=0.2 * pair,
        covered_90=0.9 * ones,
        covered_90_band=np.stack([0.87 * ones, 0.92 * ones]),
        rank=0.62 * ones,
        stated_variation=0.5 * ones,
        terminations=0,
        missed_share=float("nan"),
        false_alarm_share=0.0,
        drift=0.08 * ones,
        drift_band=np.stack([0.05 * ones, 0.11 * ones]),
        real_return=ones,
        return_spread=0.5 * ones,
    )


def test_a_good_model_is_trusted_as_far_as_it_was_examined(good):
    assert plain_verdict(good) == (
        "Trust it to all 10 steps examined; its 90 % intervals cover 90 %; imagined return is 8 % above the real one "
        "over 10 steps; its uncertainty ranks its errors well (0.62)."
    )


def test_trust_ends_where_the_examination_says(good):
    band = np.where(np.arange(HORIZON) < 4, 0.1, 0.7) * np.ones((2, 1))
    assert plain_verdict(dataclasses.replace(good, overall_band=band)).startswith("Trust it to about 4 steps;")
    band = 0.7 * np.ones((2, HORIZON))
    said = plain_verdict(dataclasses.replace(good, overall_band=band))
    assert said.startswith("Do not trust it even one step ahead (error 0.1 of a standard deviation, persistence ")


def test_a_model_worse_than_doing_nothing_is_said_to_be():
    assert "no better than nothing" in plain_verdict(look(Linear(-TRUE, NOISE)))


@pytest.mark.parametrize(
    ("share", "words"),
    [
        ([0.9] * 6 + [0.71] * 4, "over-confident from step 7 (90 % intervals cover 71 %)"),
        ([0.7] * 10, "over-confident at every step (90 % intervals cover 70 %)"),
        ([0.9, 0.8] + [0.9] * 8, "over-confident at step 2 (90 % intervals cover 80 %)"),
        ([0.9, 0.8, 0.8] + [0.9] * 7, "over-confident between steps 2 and 3 (90 % intervals cover 80 %)"),
        (
            [0.99] * 2 + [0.9] * 4 + [0.7] * 4,
            "under-confident between steps 1 and 2 (90 % intervals cover 99 %) and",
        ),
    ],
)
def test_confidence_is_said_with_its_steps_and_its_coverage(good, share, words):
    covered = np.array(share)
    spoilt = dataclasses.replace(good, covered_90=covered, covered_90_band=np.stack([covered - 0.02, covered + 0.02]))
    assert words in plain_verdict(spoilt)


def test_coverage_that_may_be_chance_is_not_held_against_the_model(good):
    covered = np.full(HORIZON, 0.8)
    band = np.stack([covered - 0.11, covered + 0.11])
    assert "confident" not in plain_verdict(dataclasses.replace(good, covered_90=covered, covered_90_band=band))


def test_missed_falls_and_false_alarms_are_counted(good):
    missed = dataclasses.replace(good, terminations=25, missed_share=0.04)
    assert "; termination missed in 4 % of real ends;" in plain_verdict(missed)
    few = dataclasses.replace(missed, terminations=2)
    assert "; termination missed in 4 % of real ends (2 seen);" in plain_verdict(few)
    both = dataclasses.replace(missed, false_alarm_share=0.2)
    assert "; termination missed in 4 % of real ends, imagined where there was none in 20 % of steps;" in plain_verdict(
        both
    )
    alarms = dataclasses.replace(good, false_alarm_share=0.2)
    assert "; termination imagined where there was none in 20 % of steps;" in plain_verdict(alarms)


def test_drift_is_relative_to_the_return_or_to_its_spread(good):
    below = dataclasses.replace(good, drift=-good.drift, drift_band=-good.drift_band[::-1])
    assert "imagined return is 8 % below the real one over 10 steps" in plain_verdict(below)
    near_zero = dataclasses.replace(good, real_return=0.01 * good.real_return)
    assert "is 16 % of its standard deviation above the real one" in plain_verdict(near_zero)


def test_a_drift_that_may_be_chance_is_agreement_only_where_the_band_is_narrow(good):
    band = lambda low, high: {"drift_band": np.stack([np.full(HORIZON, low), np.full(HORIZON, high)])}
    narrow = dataclasses.replace(good, **band(-0.01, 0.09))
    assert "imagined return agrees with the real one over 10 steps (within 9 %)" in plain_verdict(narrow)
    wide = dataclasses.replace(good, **band(-0.24, 0.4))
    assert "imagined return cannot be told apart from the real one over 10 steps (within ±40 %)" in plain_verdict(wide)
    no_return = dataclasses.replace(wide, real_return=0 * good.drift)
    assert "(within ±80 % of its standard deviation)" in plain_verdict(no_return)
    wider = dataclasses.replace(good, **band(-1.52, 1.2))
    assert "over 10 steps (within ±152 %; more episodes would tell)" in plain_verdict(wider)
    still = dataclasses.replace(no_return, return_spread=0 * good.drift)
    assert "cannot be told apart from the real one over 10 steps (within ±0.4)" in plain_verdict(still)


@pytest.mark.parametrize("real", [0.0, 1.0])
def test_no_drift_at_all_is_agreement(good, real):
    ones = np.ones(HORIZON)
    for band in (np.full((2, HORIZON), np.nan), np.zeros((2, HORIZON))):
        same = {"drift": 0 * ones, "drift_band": band, "real_return": real * ones, "return_spread": 0 * ones}
        said = plain_verdict(dataclasses.replace(good, **same))
        assert "imagined return agrees with the real one over 10 steps;" in said


def test_a_model_that_states_the_same_everywhere_is_not_said_to_rank_badly(good):
    even = dataclasses.replace(good, rank=np.full(HORIZON, 0.04), stated_variation=np.full(HORIZON, 0.05))
    said = plain_verdict(even)
    assert said.endswith("; it states about the same uncertainty everywhere.") and "ranks" not in said
    unknown = dataclasses.replace(even, rank=np.full(HORIZON, np.nan))
    assert plain_verdict(unknown).endswith("; it states about the same uncertainty everywhere.")
    uneven = dataclasses.replace(even, stated_variation=np.full(HORIZON, 0.5))
    assert plain_verdict(uneven).endswith("; its uncertainty hardly ranks its errors (0.04).")


def test_the_true_model_of_even_noise_is_not_scolded(right):
    assert right.stated_variation[0] < 1e-5 and np.all(right.stated_variation < 0.2)
    assert plain_verdict(right).endswith("it states about the same uncertainty everywhere.")


@pytest.mark.parametrize(
    ("rank", "words"), [(0.3, "ranks its errors somewhat (0.30)"), (-0.1, "hardly ranks its errors")]
)
def test_ranking_is_graded(good, rank, words):
    assert words in plain_verdict(dataclasses.replace(good, rank=np.full(HORIZON, rank)))


def test_a_certain_model_is_not_judged_by_its_intervals(certain):
    said = plain_verdict(certain)
    assert "it states no uncertainty" in said
    assert "90 %" not in said and "uncertainty ranks" not in said


def test_one_step_is_all_there_is_to_trust():
    one = look(Linear(TRUE, NOISE), horizon=1)
    assert plain_verdict(one).startswith("Trust it for one step (error 0.")


def test_a_model_that_blows_up_is_said_to():
    said = plain_verdict(look(Linear(1e8 * TRUE, NOISE), max_starts=100))
    assert said.startswith("The model's prediction is not finite from step ")


# ---- beside what the agent does with it


@pytest.fixture(scope="module")
def slow(good):
    """Nothing moves one step ahead; later the model is far better than persistence."""
    far = np.arange(HORIZON) >= 1
    ratio = np.where(far, 0.3, 1.1)
    return dataclasses.replace(good, baseline=np.where(far, 0.9, 0.09), ratio_band=ratio * np.ones((2, 1)))


def test_a_model_of_slow_positions_is_trusted_though_persistence_is_as_good_one_step_ahead(slow):
    said = plain_verdict(slow)
    assert slow.trusted_steps == HORIZON and slow.slow_steps == 1
    assert said.startswith(
        "Trust it to all 10 steps examined (at step 1 persistence is as good: error 0.1 of a standard deviation, "
        "persistence 0.09);"
    )


def test_a_model_that_never_beats_persistence_is_not_trusted_however_small_its_error(good):
    none = dataclasses.replace(good, ratio_band=1.1 * np.ones((2, HORIZON)))
    assert none.trusted_steps == none.slow_steps == 0


def test_a_model_is_judged_where_its_agent_looks(slow):
    rough = dataclasses.replace(slow, overall=0.6 * np.ones(HORIZON), overall_band=0.7 * np.ones((2, HORIZON)))
    said = plain_verdict(rough, used=8)
    assert said.startswith(
        "Trust it roughly at most; 8 steps ahead, as far as its agent looks, it is better than nothing (error 0.6 of a "
        "standard deviation, persistence 0.9);"
    )
    assert "10 steps ahead, of its agent's 25, it is better" in plain_verdict(rough, used=25)


def test_trust_that_ends_before_the_agent_stops_looking_says_what_is_there(good):
    band = np.where(np.arange(HORIZON) < 4, 0.1, 0.7) * np.ones((2, 1))
    short = dataclasses.replace(good, overall_band=band, baseline=0.5 * np.ones(HORIZON))
    assert plain_verdict(short, used=10).startswith("Trust it to about 4 steps; 10 steps ahead, as far as its agent")
    assert plain_verdict(short, used=3).startswith("Trust it to about 4 steps; its 90 %")


def test_the_return_stands_beside_the_verdict(good):
    said = plain_verdict(good, beside="its agent returns -25, random actions -112 ± 9")
    assert said.startswith(
        "Trust it to all 10 steps examined; its agent returns -25, random actions -112 ± 9; its 90 %"
    )


def test_what_the_verdict_holds_against_a_model_is_a_finding(good):
    assert judged(good) == []
    (alarms,) = judged(dataclasses.replace(good, false_alarm_share=0.76))
    assert alarms.name == "ends-imagined" and "ended in 76 % of the steps" in alarms.sentence
    (missed,) = judged(dataclasses.replace(good, terminations=25, missed_share=0.8))
    assert missed.name == "ends-missed" and "at 80 % of real ends" in missed.sentence
    assert judged(dataclasses.replace(good, terminations=2, missed_share=1.0)) == []  # too few to tell
    broken = np.full(HORIZON, np.nan)
    (finite,) = judged(dataclasses.replace(good, overall=broken))
    assert finite.name == "prediction-not-finite" and finite.severity == "error"
