"""`forethought resume RUN`."""

import dataclasses

from . import machine
from .common import Anywhere, Machine, RunPath, Switch
from .parse import option_names, parse

HELP = """Go on with a run from its newest whole checkpoint, exactly as if it had not stopped. Of a group of runs, every
one that is not finished.

Example:
  forethought resume runs/pets-pendulum-20260101-120000"""


@dataclasses.dataclass(frozen=True)
class Resume:
    """Options of `resume`."""

    run: RunPath
    """Folder of a run, or of a group of them."""
    quiet: Switch = False
    """Show no progress."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Resume)


def run(argv: list[str]) -> int:
    """Trains on; prints where the results are."""
    options = parse(Resume, argv, command="resume", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import api
    from .seeds import finish, resume_group

    if (options.run / "group.json").is_file():
        return resume_group(options.run, quiet=options.quiet)
    return finish(api.resume(options.run, quiet=options.quiet), quiet=options.quiet)
