"""`forethought video RUN`."""

import dataclasses

from ..presets.bounds import Seed
from . import machine, tables
from .common import Anywhere, Machine, RunPath, Switch
from .parse import option_names, parse

HELP = """Film an episode of the policy of a run; the report is written again with it.

Example:
  forethought video runs/first --best"""


@dataclasses.dataclass(frozen=True)
class Video:
    """Options of `video`."""

    run: RunPath
    """Folder of a run, or of a group of them."""
    best: Switch = False
    """The checkpoint with the best evaluation instead of the last one."""
    seed: Seed | None = None
    """Which seed of a run that has several; default: the first."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Video)


def run(argv: list[str]) -> int:
    """Prints the video's path, for each run of a group."""
    options = parse(Video, argv, command="video", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import api
    from ..storage.run_folder import open_runs

    for folder in open_runs(options.run):
        run = api.load_run(folder.path)
        path = run.video(which="best" if options.best else "last", seed=options.seed)
        for text in run.notes:
            tables.note(text)
        run.report()
        print(f"video   {path}")
    return 0
