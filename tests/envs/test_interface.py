"""What passes between a policy and who calls it is as the environment has it, in and out."""

import json

import numpy as np
import pytest
from gymnasium import spaces
from toy_envs import Spaces

from forethought.envs.host import GymnasiumEnv
from forethought.envs.interface import Interface, describe_interface
from forethought.envs.tabular import chain
from forethought.errors import UserError

BOX = spaces.Box(-1, 1, (2,), np.float32)
GOAL = spaces.Dict({"goal": BOX, "at": spaces.Discrete(3, start=1)})
HAND = spaces.Tuple((spaces.Discrete(4), spaces.Discrete(3, start=1)))


def interface(seen=None, acts=None, **more):
    """As a saved policy has it."""
    host = GymnasiumEnv([Spaces(seen, acts)], **more)
    return Interface.of(host.spec, json.loads(json.dumps(describe_interface(host))))


@pytest.mark.parametrize(
    ("space", "actions", "wanted"),
    [
        (spaces.Discrete(3, start=1), np.array([0, 2], np.int32), np.array([1, 3])),
        (spaces.Box(-1, 1, (2, 2)), np.array([[0, 0.5, 1, 2.0], [0, 0, 0, 0]]), np.zeros((2, 2, 2), np.float32)),
        (spaces.Box(-1, 1, (), np.float64), np.array([[2.0], [0.5]]), np.array([1.0, 0.5])),
        (spaces.Box(0, 10, (1,), np.int64), np.array([[3.6], [-2.0]]), np.array([[4], [0]])),
        (spaces.Box(0, 255, (1,), np.uint8), np.array([[254.7], [300.0]]), np.array([[255], [255]], np.uint8)),
    ],
)
def test_actions_come_in_the_shape_dtype_and_numbering_of_the_environment(space, actions, wanted):
    link = interface(acts=space)
    batch, alone = link.actions(actions, True), link.actions(actions[:1], False)
    assert batch.shape == wanted.shape and batch.dtype == wanted.dtype and space.contains(alone)
    assert all(space.contains(action) for action in batch)
    if wanted.any():
        np.testing.assert_array_equal(batch, wanted)
    np.testing.assert_array_equal(batch[0], alone)


@pytest.mark.parametrize(
    ("space", "obs", "wanted"),
    [
        (spaces.Discrete(5, start=10), 12, [[2]]),
        (spaces.Discrete(5, start=10), np.array([10, 14]), [[0], [4]]),
        (spaces.Discrete(5, start=10), [11], [[1]]),
        (BOX, [0.5, 1.0], [[0.5, 1]]),
        (spaces.Box(0, 255, (8, 8), np.uint8), np.ones((8, 8), np.uint8), [np.ones(64)]),
        (spaces.Box(0, 255, (8, 8), np.uint8), np.ones((2, 8, 8), np.uint8), np.ones((2, 64))),
        (spaces.Box(0, 255, (8, 8), np.uint8), np.ones((2, 64)), np.ones((2, 64))),  # vectors, as the agent has them
        (GOAL, {"goal": np.array([0.5, 1]), "at": 2}, [[0, 1, 0, 0.5, 1]]),
        (GOAL, {"goal": np.ones((2, 2)), "at": np.array([1, 3])}, [[1, 0, 0, 1, 1], [0, 0, 1, 1, 1]]),
        (GOAL, [{"goal": np.ones(2), "at": 1}, {"goal": np.ones(2), "at": 3}], [[1, 0, 0, 1, 1], [0, 0, 1, 1, 1]]),
        (HAND, (3, 3), [[11]]),
        (HAND, [3, 3], [[11]]),  # a list of numbers is one observation, as JSON gives a tuple back
        (HAND, (np.array([0, 3]), np.array([1, 3])), [[0], [11]]),
        (HAND, [(0, 1), (3, 3)], [[0], [11]]),
    ],
)
def test_observations_are_taken_as_the_environment_gives_them_alone_and_in_batches(space, obs, wanted):
    rows, batch = interface(space).observations(obs)
    np.testing.assert_array_equal(rows, wanted)
    assert rows.dtype == np.float32
    assert batch == (len(wanted) > 1 or (isinstance(obs, list) and obs == [11]))


@pytest.mark.parametrize(
    ("space", "obs", "words"),
    [
        (spaces.Discrete(5, start=10), 999, r"observation 999 outside Discrete\(5, start=10\)"),
        (spaces.Discrete(5, start=10), 2, "observation 2 outside"),
        (spaces.Discrete(5, start=10), np.array([10, 15]), "observation 15 outside"),
        (spaces.Discrete(5), 1.5, "observation 1.5 outside"),
        (spaces.Discrete(5), np.zeros((2, 1)), r"obs has shape \(2, 1\), wanted \(\) or \(n,\)"),
        (spaces.Discrete(5), "two", "no array of numbers"),
        (BOX, [0.5], r"obs has shape \(1,\), wanted \(2,\) or \(n, 2\)"),
        (BOX, [np.nan, 0.0], "not finite"),
        (BOX, {"x": 1}, r"obs has shape \(\), wanted"),
        (spaces.Box(0, 255, (8, 8), np.uint8), np.full((8, 8), 0.5), "the picture holds 0.5"),
        (GOAL, np.zeros(5), "obs ndarray, expected a dict with 'at'"),
        (GOAL, {"goal": np.zeros(2)}, r"obs \['goal'\], expected a dict with 'at'"),
        (GOAL, {"goal": np.zeros(3), "at": 1}, r"obs 'goal' has shape \(3,\), wanted \(2,\) or \(n, 2\)"),
        (GOAL, {"goal": np.zeros((2, 2)), "at": 1}, "different numbers of observations"),
        (GOAL, {"goal": np.zeros(2), "at": 4}, r"observation 'at' 4 outside Discrete\(3, start=1\)"),
    ],
)
def test_what_is_no_observation_is_one_line_for_who_asked(space, obs, words):
    with pytest.raises(UserError, match=words) as caught:
        interface(space).observations(obs)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and "mend" not in str(caught.value)


def test_numbered_states_of_a_jax_environment_are_held_to_their_range():
    link = Interface.of(chain(5).spec, None)
    assert [link.observations(obs)[0].tolist() for obs in (3, [3], [[3]])] == [[[3.0]]] * 3
    for wrong in (5, -1, 1.5):
        with pytest.raises(UserError, match="no number of a state, wanted whole numbers from 0 to 4"):
            link.observations(wrong)


@pytest.mark.parametrize("damaged", [{}, {"observation": {"kind": "Box"}}, 3])
def test_damaged_spaces_of_a_saved_policy_are_one_line(damaged):
    with pytest.raises(UserError, match=r"spaces are damaged.*export it again"):
        Interface.of(GymnasiumEnv([Spaces()]).spec, damaged)


def test_spaces_of_another_environment_are_refused():
    with pytest.raises(UserError, match="do not fit its 2 inputs"):
        Interface.of(GymnasiumEnv([Spaces()]).spec, describe_interface(GymnasiumEnv([Spaces(GOAL)])))
