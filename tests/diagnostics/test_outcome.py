"""Whether a run has learned is said by the interval of its distance from random actions."""

import numpy as np
import pytest

from forethought.diagnostics.baseline import Baseline, number, outcome, placed, random_phase

RANDOM = Baseline((-230.0, -212.0, -221.0, -216.0, -226.0), "episodes of random actions")
TRY = "376 updates are few, try `--steps 20000`"


def test_a_baseline_says_its_mean_and_the_interval_of_it():
    # t of 4 degrees of freedom is 2.776; the standard deviation is 7.28
    assert str(RANDOM) == "-221 ± 9"
    assert str(Baseline((0.0,), "by symmetry", exact=True)) == "0"


@pytest.mark.parametrize(
    ("returns", "place"),
    [
        ([-25.0, -30.0, -20.0], "above"),
        ([-368.0, -350.0, -390.0], "below"),
        ([-222.0, -219.0, -230.0], "equal"),
        ([-150.0, -290.0], "equal"),  # two that are far apart prove nothing
        ([-25.0], "above"),  # one episode, as far apart as random actions never are
        ([-215.0], "equal"),
        ([-205.0], "unclear"),  # one episode, further off than they usually are, but not as they never are
    ],
)
def test_returns_are_placed_beside_those_of_random_actions(returns, place):
    assert placed(returns, RANDOM) == place


def test_returns_without_spread_are_compared_as_they_are():
    one = Baseline((0.0,) * 5, "episodes of random actions")
    assert placed([0.0] * 5, one) == "equal" and placed([1.0] * 5, one) == "above"
    assert placed([-1.0] * 5, one) == "below"


def test_a_tail_of_bad_episodes_does_not_hide_what_ranks_show():
    tail = Baseline((-20.0, -35.0, -60.0, -150.0, -3900.0), "episodes of random actions")
    assert placed([-5.0, -6.0, -5.5, -7.0, -6.2], tail) == "above"
    assert placed([-5.0, -6.0, -55.0, -70.0, -6.2], tail) == "equal"  # two of five are no better
    assert placed([-5.0, -6.0, -5.5, -7.0, -20_000.0], tail) == "equal"  # the means say otherwise than the ranks
    ours, theirs = np.random.default_rng(0).standard_cauchy((2, 2000, 6))
    places = [placed(a, Baseline(tuple(b), "")) for a, b in zip(ours, theirs)]
    assert np.mean([place != "equal" for place in places]) < 0.05


def test_one_episode_against_one_proves_nothing():
    one = Baseline((-4.0,), "episodes of random actions")
    assert placed([3.0], one) == "unclear" and placed([-4.0], one) == "equal"
    assert "too few to tell" in outcome([3.0], one, TRY)


def test_the_mean_of_a_game_against_random_moves_is_known():
    even = Baseline((0.0,), "by symmetry", exact=True)
    assert placed([1.0, 1.0, -1.0, 1.0] * 10, even) == "above"
    assert placed([1.0, -1.0] * 10, even) == "equal"


def test_a_run_that_learned_nothing_is_told_what_to_try():
    assert outcome([-222.0, -219.0, -230.0], RANDOM, TRY) == (
        "no better than random actions (-224 against -221 ± 9): 376 updates are few, try `--steps 20000`"
    )


def test_a_run_that_learned_is_said_to():
    assert outcome([-25.0, -30.0, -20.0], RANDOM, TRY) == "above random actions by 196 (-25.0 against -221 ± 9)"


def test_a_run_that_ends_below_random_says_so():
    said = outcome([-368.0, -350.0, -390.0], RANDOM, TRY)
    assert said.startswith("below random actions (-369 against -221 ± 9): 376 updates")


def test_the_random_phase_is_the_episodes_that_ended_in_it():
    rows = [{"kind": "episode", "env_steps": n, "return": float(n)} for n in (50, 100, 101)]
    others = [{"kind": "eval", "env_steps": 1}, {"kind": "episode", "env_steps": 1, "return": None}]
    assert random_phase([*rows, *others], 100) == (50.0, 100.0)


@pytest.mark.parametrize("held", [None, {}, {"returns": 3}, {"returns": []}, {"returns": ["a", float("nan")]}, [1.0]])
def test_a_record_that_holds_no_baseline_has_none(held):
    assert Baseline.of_record({"random": held}) is None


def test_a_baseline_comes_back_from_the_record():
    assert Baseline.of_record({"random": RANDOM.as_dict()}) == RANDOM


def test_returns_are_written_with_the_digits_that_count():
    said = [number(x) for x in (-1234.5, 123.4, 12.34, 1.234, -0.001, 0.0)]
    assert said == ["-1,234", "123", "12.3", "1.23", "0", "0"]
    assert number(np.float64(0.456), like=200.0) == "0"
