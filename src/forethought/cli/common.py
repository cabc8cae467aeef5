"""Options that several commands share."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..errors import UserError
from ..presets.bounds import Threads

RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a command computes."""

    threads: Threads | None = None
    """CPU threads; default: all cores that this process may use."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where JAX computes; `auto` takes a GPU if JAX finds one."""
    debug: Switch = False
    """Show the traceback of an error."""


Anywhere = Annotated[Machine, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class EnvOptions:
    """What an environment is constructed with."""

    kwargs: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.arg(name="env.kwargs", metavar="NAME=VALUE"),
        tyro.conf.UseAppendAction,  # given twice, both count
    ] = ()
    """Arguments of the environment's constructor, such as `size=4 goal=true name=abc` (lists and dictionaries as JSON);
    they are recorded, and used again wherever the run is loaded."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name. Raises UserError for a word that is none."""
        found: dict[str, Any] = {}
        for word in (word for words in self.kwargs for word in words):
            name, sign, text = word.partition("=")
            if not sign or not name.isidentifier():
                raise UserError(f"--env.kwargs {word!r} must look like name=value, such as size=4")
            if name in found:
                raise UserError(f"--env.kwargs has {name} twice; give it once")
            found[name] = _value(text)
        return found


def _value(text: str) -> Any:
    """A number, true, false, null or what JSON holds; anything else is text."""
    plain = {"True": True, "False": False, "None": None}
    if text in plain:
        return plain[text]
    try:
        value = json.loads(text, parse_constant=lambda name: text)
    except ValueError:
        return text
    return text if value in (float("inf"), float("-inf")) else value
