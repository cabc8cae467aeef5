"""`forethought report RUN`."""

import dataclasses

from . import machine
from .common import Anywhere, Machine, RunPath
from .parse import option_names, parse

HELP = """Write a run's self-contained HTML page again: curves, settings, model check, video.

Example:
  forethought report runs/first"""


@dataclasses.dataclass(frozen=True)
class Report:
    """Options of `report`."""

    run: RunPath
    """Folder of a run, or of a group of them."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Report)


def run(argv: list[str]) -> int:
    """Prints the page's path, for each run of a group."""
    options = parse(Report, argv, command="report", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import reporting
    from ..storage.run_folder import open_runs

    for folder in open_runs(options.run):
        print(f"report  {reporting.write(folder).report}")
    return 0
