"""`forethought check-env ENV`."""

import dataclasses
from typing import Annotated

import tyro

from ..errors import UserError
from . import machine, tables
from .common import Anywhere, EnvOptions, Machine
from .parse import option_names, parse

HELP = """Play random steps in an environment and say what would hurt an agent. Exit code 1 if there is an error.

Example:
  forethought check-env Pendulum-v1 --steps 2000 --reward my_package.rewards:pendulum"""


@dataclasses.dataclass(frozen=True)
class CheckEnv:
    """Options of `check-env`."""

    env: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")]
    """One of our tasks, a Gymnasium id, dm_control/..., gymnax/..., or pkg.mod:EnvClass."""
    steps: int = 1000
    """Random steps."""
    seed: int = 0
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
    for name, least in (("steps", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise UserError(f"{name}={getattr(options, name)} must be at least {least}")
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
    )
    marks = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}
    tables.show(["", "looked at", "found"], [[marks[f.level], f.name, f.message] for f in found])
    errors = sum(f.level == "error" for f in found)
    warnings = sum(f.level == "warning" for f in found)
    count = lambda n, what: f"{n} {what}{'' if n == 1 else 's'}"
    print(f"{options.env}: {count(errors, 'error')}, {count(warnings, 'warning')}")
    return 1 if errors else 0
