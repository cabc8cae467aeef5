"""Observations whose changes float32 cannot hold."""

import warnings
from functools import partial

import gymnasium
import jax.random as jr
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from toy_envs import Clock, Counter

from forethought.envs.faults import Place, checked_obs
from forethought.envs.host import GymnasiumEnv, GymnasiumVectorEnv
from forethought.envs.precision import PrecisionWarning

KEY = jr.key(0)


def play(host, num_steps=70):
    host.start([KEY] * host.num_envs)
    actions = np.zeros((host.num_envs, 1), np.float32)
    return [host.step(actions, step_key=KEY, reset_key=lambda i: KEY).next_obs for _ in range(num_steps)]


def shown(rows):
    """The messages about these observations of one episode."""
    place = Place("toy", "number 0")
    place.begin()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for row in rows:
            checked_obs(row, np.shape(row), place)
            place.step += 1
        place.begin()
        checked_obs(rows[0], np.shape(rows[0]), place)
    return [str(w.message) for w in caught if w.category is PrecisionWarning]


STEPS = np.arange(40.0)


@pytest.mark.parametrize(
    "moving",
    [
        1.7e9 + 0.05 * STEPS,  # seconds since 1970
        1.7e9 + 60 * STEPS,
        (1_700_000_000_000_000_000 + 50_000_000 * np.arange(40)),  # nanoseconds
        52.1234567 + 1e-7 * STEPS,  # degrees of latitude
        5_400_000 + np.sin(STEPS) / 10,  # a position on a map, in m
        np.arange(2**26, 2**26 + 40),
    ],
)
def test_changes_that_float32_cannot_hold_are_named_with_their_dimension(moving):
    (message,) = shown(np.stack([np.zeros(40), moving], 1) if moving.dtype == float else moving[:, None])
    assert message.startswith("toy: dimension ") and "TransformObservation" in message


@pytest.mark.parametrize(
    "moving",
    [
        np.full(40, 1.7e9),
        0.5 + 0.4**STEPS,  # comes to rest
        0.42 + 1e-13 * np.sin(STEPS),  # is at rest
        1000 + 0.01 * STEPS,
        1e-9 * STEPS,
        (1.7e9 + 0.05 * STEPS).astype(np.float32),
        np.arange(40),
    ],
)
def test_what_float32_can_hold_or_what_does_not_move_is_passed_in_silence(moving):
    assert shown(moving[:, None]) == []


@pytest.mark.parametrize(
    "host",
    [
        GymnasiumEnv([Clock(1.7e9, 0.05), Clock(1.7e9, 0.05)]),
        GymnasiumVectorEnv(SyncVectorEnv([partial(Clock, 1.7e9, 0.05)] * 2)),
    ],
    ids=["single", "vector"],
)
def test_a_run_and_its_evaluation_copies_warn_once(host):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        play(host)
        play(host.copy(2))
    assert [w.category for w in caught] == [PrecisionWarning]


def test_a_part_of_a_dict_is_watched_too():
    class Parts(Clock):
        def __init__(self):
            super().__init__(1.7e9, 0.05)
            picture = spaces.Box(0, 255, (8, 8, 1), np.uint8)
            self.observation_space = spaces.Dict({"time": self.observation_space, "camera": picture})

        def obs(self):
            return {"time": super().obs(), "camera": np.zeros((8, 8, 1), np.uint8)}

    with pytest.warns(PrecisionWarning, match="dimension 0 of observation 'time'.*ObservationWrapper"):
        play(GymnasiumEnv([Parts()]))


def test_remedy_shows_the_changes():
    env = Clock(1.7e9, 0.05)
    first, space = np.array([1.7e9, 0]), env.observation_space
    host = GymnasiumEnv([gymnasium.wrappers.TransformObservation(env, lambda obs: obs - first, space)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose([row[0, 0] for row in play(host, 3)], [0.05, 0.1, 0.15], atol=1e-6)


def test_sound_observations_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(GymnasiumEnv([Counter(ends=9)]))
