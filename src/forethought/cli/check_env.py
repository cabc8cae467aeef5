"""`forethought check-env ENV`."""

import dataclasses
import sys
import time
from typing import Annotated

import tyro

from ..presets.bounds import Positive, Seed
from . import machine, tables
from .common import Anywhere, EnvOptions, Machine
from .parse import option_names, parse

HELP = """Play random steps in an environment and say what would hurt an agent. Exit code 1 if there is an error.

Example:
  forethought check-env Pendulum-v1 --steps 2000 --reward my_package.rewards:pendulum"""

QUIET = 2.0  # seconds without a word, where lines cannot be written over


@dataclasses.dataclass(frozen=True)
class CheckEnv:
    """Options of `check-env`."""

    env: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")]
    """One of our tasks, a Gymnasium id, dm_control/..., gymnax/..., or pkg.mod:EnvClass."""
    steps: int = 1000
    """Random steps."""
    max_seconds: Positive = 60.0
    """Look at a slow environment for about so long, with fewer steps."""
    seed: Seed = 0
    """Seed of starts and actions."""
    reward: str | None = None
    """Your reward function, pkg.mod:fn, held against the real transitions."""
    termination: str | None = None
    """Your termination function, pkg.mod:fn, held against the real transitions."""
    env_options: Annotated[EnvOptions, tyro.conf.arg(name="")] = EnvOptions()
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(CheckEnv)


def run(argv: list[str]) -> int:
    """Prints what was found; 1 if there is an error among it."""
    options = parse(CheckEnv, argv, command="check-env", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from ..envs.check import check_env
    from ..references import load_object

    found = check_env(
        options.env,
        num_steps=options.steps,
        env_kwargs=options.env_options.arguments,
        seed=options.seed,
        reward=None if options.reward is None else load_object(options.reward),
        termination=None if options.termination is None else load_object(options.termination),
        max_seconds=options.max_seconds,
        progress=(shown := _Shown()),
    )
    shown.clear()
    marks = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}
    tables.show(["", "looked at", "found"], [[marks[f.level], f.name, f.message] for f in found])
    errors = sum(f.level == "error" for f in found)
    warnings = sum(f.level == "warning" for f in found)
    count = lambda n, what: f"{n} {what}{'' if n == 1 else 's'}"
    print(f"{options.env}: {count(errors, 'error')}, {count(warnings, 'warning')}")
    return 1 if errors else 0


class _Shown:
    """One line of the terminal that is written over; elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._terminal, self._told = sys.stderr.isatty(), time.monotonic()

    def __call__(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
        elif time.monotonic() - self._told > QUIET:
            self._told = time.monotonic()
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._terminal:
            self("")
