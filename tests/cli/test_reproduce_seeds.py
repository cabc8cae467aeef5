"""Which runs `reproduce` makes of so many seeds."""

from forethought.cards import find
from forethought.cli.reproduce import groups


def test_seeds_of_a_card_that_runs_them_one_after_another_are_runs_of_their_own():
    assert groups(find("pets/cartpole"), 3, 2) == [(3, 1), (4, 1)]


def test_seeds_of_a_card_side_by_side_are_seeds_and_no_groups_of_them():
    card = find("dyna-q/maze")
    assert card.arms[0].run.num_seeds == 30
    assert groups(card, 0, 30) == [(0, 30)]
    assert groups(card, 4, 5) == [(4, 5)]
    assert groups(card, 0, 65) == [(0, 30), (30, 30), (60, 5)]
