"""What the marks of a card measure."""

import pytest

from forethought.cards import CARDS, ORACLES, marks
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


def curve(*means, final=0.0, every=250):
    """A raw file with evaluations `every` steps apart."""
    rows = [
        {"kind": "eval", "final": False, "env_steps": every * (i + 1), "mean_return": mean}
        for i, mean in enumerate(means)
    ]
    last = {"kind": "eval", "final": True, "env_steps": every * len(means), "mean_return": final}
    return {"final_return": final, "rows": [*rows, {"kind": "episode"}, last]}


def test_the_lowest_seed_is_that_of_one_arm():
    found = {"a": {0: curve(1.0, final=3.0), 1: curve(1.0, final=-2.0)}, "b": {0: curve(1.0, final=-9.0)}}
    assert marks.lowest("a")(found) == -2.0


def test_areas_are_compared_seed_by_seed_and_the_worst_seed_counts():
    found = {"a": {0: curve(1.0, 3.0), 1: curve(5.0, 5.0)}, "b": {0: curve(0.0, 1.0), 1: curve(4.0, 5.5)}}
    assert marks.area_above("a", "b")(found) == pytest.approx(0.25)


def test_evaluations_running_ends_with_the_last_of_them_and_the_slowest_seed_counts():
    measure = marks.evaluations_running(10.0, 3)
    fast, slow = curve(10, 10, 10, 0), curve(10, 10, 9, 10, 10, 11)
    assert measure({"": {0: fast}}) == 750 and measure({"": {0: fast, 1: slow}}) == 1500
    assert measure({"": {0: fast, 1: curve(10, 10, 9, 10, 10)}}) == float("inf")
