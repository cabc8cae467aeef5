"""Whole episodes out of a replay."""

import jax
import jax.random as jr
import numpy as np
import pytest

from forethought.errors import TrainingFault
from forethought.learners.episodes import Place, by_start, whole_episodes
from forethought.types import Transition

T = 3


class Stored:
    """What `whole_episodes` asks of a replay, in NumPy."""

    def __init__(self, data: Transition):
        self.data = data

    def rows(self):
        return self.data, np.ones(len(self.data.reward), bool)

    def latest(self, n):
        return jax.tree.map(lambda x: x[-n:], self.data)


def replay_of(rows: list[tuple[float, int, int]], terminated: bool = False) -> Stored:
    """Rows of (first observation of the episode, its name, time)."""
    first, name, time = map(np.array, zip(*rows))
    obs = np.tile((first + 10.0 * time)[:, None], (1, 2)).astype(np.float32)
    place = Place(name.astype(np.int32), time.astype(np.int32))
    no = np.zeros(len(rows), bool)
    return Stored(Transition(obs, obs[:, :1], obs[:, 0], obs + 10, no | terminated, no, place))


def test_whole_episodes_are_found_among_cut_and_interleaved_ones_oldest_end_first():
    rows = [(9.0, 1, 1), (9.0, 1, 2)]  # their beginning has left the ring, and so do they
    rows += [(4.0, 7, 0), (3.0, 5, 0), (4.0, 7, 1), (3.0, 5, 1), (3.0, 5, 2), (4.0, 7, 2)]
    rows += [(6.0, 2, 0), (6.0, 2, 1)]  # unfinished
    found = whole_episodes(replay_of(rows), T)
    np.testing.assert_array_equal(found.obs[..., 0], [[3, 13, 23], [4, 14, 24]])
    np.testing.assert_array_equal(found.next_obs[:, -1, 0], [33, 34])


def episodes(*firsts: float) -> Transition:
    rows = [(first, name + 1, t) for name, first in enumerate(firsts) for t in range(T)]
    return whole_episodes(replay_of(rows), T)


def test_the_latest_rollouts_of_every_start_come_in_the_order_of_known_starts():
    none = np.zeros((0, 2))
    found = by_start(episodes(5.0, 4.0, 5.0, 4.00001, 5.0), none, 2, 2)
    assert found.obs.shape == (2, 2, T, 2) and found.obs.dtype == np.float64
    np.testing.assert_allclose(found.firsts[:, 0], [5, 4], atol=1e-4)
    known = np.array([[4.0, 4.0], [5.0, 5.0]])
    again = by_start(episodes(5.0, 4.0, 5.0, 4.0), known, 2, 2)
    np.testing.assert_allclose(again.firsts[:, 0], [4, 5])


def test_a_start_with_too_few_episodes_gives_no_rollouts():
    assert by_start(episodes(5.0, 4.0, 5.0), np.zeros((0, 2)), 2, 2) is None
    assert by_start(episodes(5.0, 5.0), np.zeros((0, 2)), 2, 2) is None


def test_more_starts_than_wanted_are_an_error():
    with pytest.raises(TrainingFault, match="3 first observations in training, wanted starts=2"):
        by_start(episodes(5.0, 4.0, 3.0), np.zeros((0, 2)), 2, 1)


def test_an_episode_that_terminates_is_an_error():
    with pytest.raises(TrainingFault, match="terminated before its time"):
        whole_episodes(replay_of([(0.0, 1, 0)] * 4, terminated=True), T)


def test_a_name_is_drawn_where_an_episode_begins_and_kept():
    first = Place.example().named(key=jr.key(0))
    later = first.after().named(key=jr.key(1))
    assert first.episode == later.episode > 0 and later.time == 1
    assert Place.example().named(key=jr.key(1)).episode != first.episode
