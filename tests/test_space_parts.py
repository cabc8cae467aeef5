"""Spaces as JSON, and their parts as numbers."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from forethought.space_parts import describe_space, space_from


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (8, 8, 3), np.uint8),
        spaces.Box(-np.inf, np.inf, (2, 2)),
        spaces.Box(np.array([-np.inf, -1.0]), np.array([2.5, np.inf]), dtype=np.float64),
        spaces.Box(-1, 1, ()),
        spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
        spaces.Discrete(5, start=10),
        spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [0, 1]]),
        spaces.MultiBinary([2, 2]),
        spaces.Dict([("z", spaces.Discrete(2)), ("a", spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))))]),
    ],
)
def test_a_space_comes_back_from_json_as_it_was(space):
    again = space_from(json.loads(json.dumps(describe_space(space), allow_nan=False)))
    assert again == space and str(again) == str(space)  # the order of a Dict's keys too


@pytest.mark.parametrize(
    "junk",
    [
        None,
        {},
        {"kind": "Box", "shape": [2], "dtype": "float32", "low": 0, "high": [1, 2, 3]},
        {"kind": "Box", "shape": [10**12], "dtype": "float32", "low": 0, "high": 1},
        {"kind": "Discrete", "n": -1, "start": 0, "dtype": "int64"},
        {"kind": "Dict", "parts": [["a", 3]]},
    ],
)
def test_what_describes_no_space_is_refused(junk):
    with pytest.raises(ValueError, match="no description of a space"):
        space_from(junk)
