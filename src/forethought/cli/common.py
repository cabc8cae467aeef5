"""Options that several commands share."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

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
