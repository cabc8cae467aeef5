"""Elo ratings from planted strengths and closed forms."""

import math

import numpy as np
import pytest

from forethought.diagnostics.elo import Result, expected, ratings


def planted(strengths, num_games, draws=0.0, seed=0, chain=False):
    """Results between players of these ratings; all pairs, or only neighbours."""
    rng, names = np.random.default_rng(seed), list(strengths)
    for i, one in enumerate(names):
        for other in names[i + 1 : i + 2] if chain else names[i + 1 :]:
            p = expected(strengths[one] - strengths[other])
            share = [p - draws / 2 * min(p, 1 - p), draws * min(p, 1 - p), 1 - p - draws / 2 * min(p, 1 - p)]
            yield Result(one, other, *map(int, rng.multinomial(num_games, share)))


def test_expected_points_follow_the_definition():
    assert expected(0) == 0.5
    np.testing.assert_allclose([expected(400), expected(-400), expected(120)], [10 / 11, 1 / 11, 0.6661], atol=1e-4)


def test_two_players_have_the_closed_form_with_one_draw_more():
    (best, worst) = ratings([Result("strong", "random", 60, 20, 20)])
    assert (best.name, worst.name, worst.elo) == ("strong", "random", 0.0)
    np.testing.assert_allclose(best.elo, 400 * math.log10(70.5 / 30.5), rtol=1e-6)
    assert best.games == worst.games == 100 and worst.low == worst.high == 0


@pytest.mark.parametrize("chain", [False, True])
def test_planted_ratings_are_recovered_and_lie_in_their_intervals(chain):
    strengths = {"random": 0.0, "a": 150.0, "b": 420.0, "c": 700.0}
    found = {r.name: r for r in ratings(list(planted(strengths, 4000, draws=0.5, chain=chain)))}
    for name, elo in strengths.items():
        assert abs(found[name].elo - elo) < 35
        assert found[name].low - 1e-9 <= elo <= found[name].high + 1e-9
    assert list(found) == ["c", "b", "a", "random"]


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    strengths, inside = {"random": 0.0, "a": 120.0}, 0
    for seed in range(150):
        (rating,) = [
            r for r in ratings(list(planted(strengths, 200, seed=seed)), level=0.8, num_resamples=80) if r.name == "a"
        ]
        inside += rating.low <= 120 <= rating.high
    assert 0.7 < inside / 150 < 0.9


def test_who_won_every_game_has_a_finite_rating_and_an_interval_upwards():
    strong = ratings([Result("random", "strong", 0, 0, 200)])[0]
    assert strong.name == "strong" and 900 < strong.elo < 1200
    assert strong.low < strong.elo < strong.high < 2000 and strong.high - strong.low > 100


def test_order_side_and_splitting_of_results_do_not_matter():
    once = ratings([Result("a", "random", 7, 1, 2), Result("b", "a", 6, 0, 4)])
    again = ratings([Result("a", "b", 4, 0, 6), Result("random", "a", 1, 0, 3), Result("a", "random", 4, 1, 1)])
    for one, other in zip(once, again):
        assert one.name == other.name and one.games == other.games
        np.testing.assert_allclose(one.elo, other.elo, atol=1e-5)


def test_another_anchor_shifts_all_ratings():
    results = list(planted({"random": 0.0, "a": 200.0, "b": 300.0}, 300))
    by_random, by_a = ({r.name: r.elo for r in ratings(results, anchor=name)} for name in ("random", "a"))
    for name, elo in by_random.items():
        np.testing.assert_allclose(elo - by_random["a"], by_a[name], atol=1e-5)


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ([], "no results"),
        ([Result("a", "a", 1, 0, 0)], "a played against itself"),
        ([Result("a", "random", -1, 0, 0)], "at least 0"),
        ([Result("a", "random", 0, 0, 0)], "at least 0"),
        ([Result("a", "random", 1, 0, 0), Result("b", "c", 1, 0, 0)], "connects b, c with random"),
        ([Result("b", "c", 1, 0, 0)], "connects b, c with random"),
    ],
)
def test_tables_that_cannot_be_rated_are_refused(results, why):
    with pytest.raises(ValueError, match=why):
        ratings(results)


def test_a_level_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match=r"level=1\.5"):
        ratings([Result("a", "random", 1, 0, 1)], level=1.5)
