"""What the marks of a card measure."""

import pytest

from forethought.cards import CARDS, ORACLES
from forethought.cards.card import Mark
from forethought.cards.marks import (
    gap_between_intervals,
    median_of,
    median_return,
    ratio_of_medians,
    share_of_seeds_by,
    values,
    worst,
)


def results(**arms):
    """Results with the given final returns, seeds counted down so that order must come from the seed."""
    runs = lambda finals: {seed: {"final_return": x} for seed, x in reversed(list(enumerate(finals)))}
    return {arm.replace("_", "."): runs(finals) for arm, finals in arms.items()}


def test_median_return_takes_the_middle_seed():
    mark = median_return(3.0, "why")
    found = {"": {0: {"final_return": 9.0}, 1: {"final_return": 1.0}, 2: {"final_return": 4.0}}}
    assert (mark.measure(found), mark.bound, mark.reason) == (4.0, 3.0, "why")


def test_values_are_in_order_of_seeds_not_of_files():
    assert values(results(a=[1.0, 2.0, 3.0]), "a", "final_return") == [1.0, 2.0, 3.0]


def test_ratio_of_medians():
    found = results(a=[1.0, 9.0, 100.0], b=[3.0, 50.0, 1.0])
    assert ratio_of_medians(("a", "final_return"), ("b", "final_return"))(found) == 3.0


def test_the_worst_seed_counts_and_a_mark_may_be_an_upper_bound():
    found = {"": {0: {"lost": 0}, 1: {"lost": 3}, 2: {"lost": 1}}}
    assert worst("lost")(found) == 3
    at_most, at_least = (Mark("lost", 2.0, "why", worst("lost"), at_most=flag) for flag in (True, False))
    assert [at_most.passed(x) for x in (1.0, 2.0, 3.0)] == [True, True, False]
    assert [at_least.passed(x) for x in (1.0, 2.0, 3.0)] == [False, True, True]
    assert median_of("lost")(found) == 1


def test_gap_between_intervals_is_that_of_the_returns_where_nothing_varies():
    assert gap_between_intervals("b", "a")(results(a=[1.0, 1.0], b=[4.0, 4.0])) == 3.0


def test_intervals_that_overlap_leave_no_gap():
    apart = results(a=[1.0, 1.1, 0.9, 1.0], b=[2.0, 2.1, 1.9, 2.0])
    mixed = results(a=[1.0, 3.0, 1.0, 3.0], b=[2.0, 4.0, 2.0, 4.0])
    gap = gap_between_intervals("b", "a")
    assert 0.8 < gap(apart) < 1.0
    assert gap(mixed) < 0


def test_the_mark_of_the_pendulum_is_95_percent_of_the_way_to_the_oracle():
    oracle, least = ORACLES["Pendulum-v1"], CARDS["pets/pendulum"].marks[0].bound
    assert (least - oracle.random_return) / (oracle.mean_return - oracle.random_return) == pytest.approx(0.95)


def test_a_card_with_several_arms_names_each():
    for card in CARDS.values():
        names = [arm.name for arm in card.arms]
        assert len(set(names)) == len(names) and (names == [""] or all(names))


def test_a_seed_that_never_got_there_does_not_count_as_there_in_time():
    found = {"": {seed: {"after": after} for seed, after in enumerate((100, None, 400, 440))}}
    assert share_of_seeds_by("after", 400)(found) == 0.5
