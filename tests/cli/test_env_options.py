"""`--env.kwargs name=value ...`."""

import pytest

from forethought.cli.common import EnvOptions
from forethought.cli.parse import parse
from forethought.cli.train import _kind
from forethought.errors import UserError


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
    assert EnvOptions().arguments == {}
    found = cli("check-env", "toy_envs:Counter", "--steps", "40", "--env.kwargs", "ends=7")
    assert "7 to 7 steps" in found.out
    assert (
        "takes no argument 'end'; did you mean ends"
        in cli("check-env", "toy_envs:Counter", "--env.kwargs", "end=7").out
    )
