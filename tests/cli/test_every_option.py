"""Every number of every option of every command and agent is taken or refused as its type declares, in one line."""

import dataclasses
import importlib
import math
import typing
from pathlib import Path

import pytest

from forethought.catalogue import AGENTS
from forethought.cli.main import COMMANDS
from forethought.cli.parse import parse
from forethought.cli.train import _kind
from forethought.errors import UserError
from forethought.presets.bounds import declared
from forethought.presets.fit import FitConfig
from forethought.presets.run import RunConfig
from forethought.presets.values import checked

VALUES = (math.nan, math.inf, -math.inf, -1, 0, 1, 0.5, 1e30, 2**32, 2**63, 10**400, "7", "x", True, [1], {}, 1j)


def command_kind(name):
    """The dataclass of a command's options, and its positional arguments on a command line."""
    module = importlib.import_module(f"forethought.cli.{COMMANDS[name].module}")
    kinds = [k for k in vars(module).values() if dataclasses.is_dataclass(k) and k.__module__ == module.__name__]
    kind = next(
        k for k in kinds if k.__name__.lower() == COMMANDS[name].module.replace("_", "").replace("listing", "list")
    )
    return kind, ["x"] if required(kind) else []


def required(kind):
    return [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]


def command_default(name):
    kind, _ = command_kind(name)
    hints = typing.get_type_hints(kind)
    examples = {Path: Path("x"), tuple[Path, ...]: (Path("x"),)}
    return kind(**{name: examples.get(hints[name], "x") for name in required(kind)})


CONFIGS = {
    "run": RunConfig(),
    "fit": FitConfig(),
    **{f"command {name}": command_default(name) for name in COMMANDS if name != "train"},
    **{f"agent {name}": entry.preset("default") for name, entry in AGENTS.items()},
}


def numbers(config, path=()):
    """`(path, type, whether None is taken)` of every number in a config and its parts."""
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, (*path, name))
            continue
        for option in typing.get_args(hint) if type(None) in typing.get_args(hint) else [hint]:
            if option is not type(None) and declared(option)[0] in (int, float):
                yield (*path, name), option


def with_value(config, path, value):
    first, *rest = path
    inner = with_value(getattr(config, first), rest, value) if rest else value
    return dataclasses.replace(config, **{first: inner})


def as_declared(kind, value):
    """Whether a value may be taken, by its bounds alone."""
    plain, within = declared(kind)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        return False
    low = value > within.least if within.above else value >= within.least
    high = value < within.most if within.below else value <= within.most
    return low and high and (plain is float or value == int(value))


@pytest.mark.parametrize("name", CONFIGS)
def test_numbers_are_taken_or_refused_as_declared(name):
    config = CONFIGS[name]
    for path, kind in numbers(config):
        for value in VALUES:
            changed = with_value(config, path, value)
            if as_declared(kind, value):
                checked(changed)
                continue
            with pytest.raises(UserError, match=path[-1]) as caught:
                checked(changed)
            assert "\n" not in str(caught.value)


def test_there_are_numbers_to_check():
    assert sum(len(list(numbers(config))) for config in CONFIGS.values()) > 300


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_the_parser_of_every_command_checks_its_numbers(name):
    kind, words = command_kind(name)
    for (*_, leaf), number in numbers(command_default(name)):
        bad = "nan" if declared(number)[0] is float else str(2**63)
        prefix = "model." if leaf in {f.name for f in dataclasses.fields(FitConfig().model)} and name == "fit" else ""
        with pytest.raises(UserError, match=f"{prefix}{leaf}={bad}"):
            parse(kind, [*words, f"--{prefix}{leaf.replace('_', '-')}", bad], command=name, help="")


@pytest.mark.parametrize("agent", AGENTS)
def test_the_parser_of_every_agent_checks_its_numbers(agent):
    kind, default = _kind(AGENTS[agent], "default")
    *_, (path, number) = numbers(AGENTS[agent].preset("default"))
    bad = "nan" if declared(number)[0] is float else str(2**63)
    with pytest.raises(UserError, match=f"{'.'.join(path)}={bad}"):
        parse(kind, [f"--{'.'.join(path).replace('_', '-')}", bad], command="train", help="", default=default)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x", "--out", ""], "--out is empty"),
        (["x", "--out="], "--out is empty"),
        (["x", "--out", " "], "--out is empty"),
        ([""], "an argument is empty"),
        (["x" * 300], "is longer than a path may be"),
        (["x", "--out", "y/" * 3000], "is longer than a path may be"),
        (["x\0"], "holds a null byte"),
    ],
)
def test_paths_that_no_file_system_takes_are_refused_by_the_parser(words, says):
    with pytest.raises(UserError, match=says):
        parse(command_kind("export")[0], words, command="export", help="")
