"""`--env.kwargs name=value ...`."""

import gymnasium
import numpy as np
import pytest

from forethought.cli.parse import parse
from forethought.cli.train import _kind
from forethought.errors import UserError


class Timed(gymnasium.Env):
    """Ends after `ends` steps."""

    observation_space = gymnasium.spaces.Box(0, 99, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, ends=3):
        self.ends, self.steps = ends, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), float(action), self.steps >= self.ends, False, {}


def arguments(*words):
    kind, default = _kind(None, "default")
    return parse(kind, [*words], command="train", help="", default=default).env.arguments


def test_values_have_the_types_that_they_look_like():
    words = [
        "size=4",
        "gain=0.5",
        "goal=true",
        "off=False",
        "none=null",
        "name=abc",
        "quoted='4'",
        "empty=",
        "big=1e3",
        "wild=nan",
    ]
    assert arguments("--env.kwargs", *words, "--steps", "5") == {
        "size": 4,
        "gain": 0.5,
        "goal": True,
        "off": False,
        "none": None,
        "name": "abc",
        "quoted": "'4'",
        "empty": "",
        "big": 1000.0,
        "wild": "nan",
    }
    assert arguments("--env.kwargs", "shape=[2, 3]", 'config={"a": {"b": 1}}', 'text="4"', "sum=a=b") == {
        "shape": [2, 3],
        "config": {"a": {"b": 1}},
        "text": "4",
        "sum": "a=b",
    }


def test_given_twice_both_count():
    assert arguments("--env.kwargs", "a=1", "--steps", "5", "--env.kwargs", "b=2", "c=3") == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [(["size"], "must look like name=value"), (["=4"], "must look like"), (["a=1", "a=2"], "a twice")],
)
def test_words_that_are_no_arguments_are_refused(words, said):
    with pytest.raises(UserError, match=said):
        arguments("--env.kwargs", *words)


def test_check_env_hands_them_over(cli):
    here = "test_env_options:Timed"
    assert "exactly 7 steps" in cli("check-env", here, "--steps", "30", "--env.kwargs", "ends=7").out
    assert "takes no argument 'end'; did you mean ends" in cli("check-env", here, "--env.kwargs", "end=7").out
