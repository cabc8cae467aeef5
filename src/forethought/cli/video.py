"""`forethought video RUN`."""

import dataclasses
from pathlib import Path

from ..errors import UserError
from ..presets.bounds import Seed
from . import machine, tables
from .common import Anywhere, Machine, RunPath, Switch
from .parse import option_names, parse

HELP = """Film episodes of the policy of a run; the report is written again with them.

Example:
  forethought video runs/first --best
  forethought video runs/first --episodes 3 --out first.gif"""


@dataclasses.dataclass(frozen=True)
class Video:
    """Options of `video`."""

    run: RunPath
    """Folder of a run, or of a group of them."""
    best: Switch = False
    """The checkpoint with the best evaluation instead of the last one."""
    seed: Seed | None = None
    """Which seed of a run that has several; default: the first."""
    episodes: int = 1
    """Episodes, shown one after another."""
    fps: float | None = None
    """Frames a second; default: what the environment asks for (`render_fps`), else as many as show it well."""
    out: Path | None = None
    """File to write, .mp4 or .gif (a folder where RUN is a group); default: in the run folder, for its report."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Video)


def run(argv: list[str]) -> int:
    """Prints the video's path, for each run of a group."""
    options = parse(Video, argv, command="video", help=HELP)
    if options.episodes < 1:
        raise UserError(f"episodes={options.episodes} must be at least 1")
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import api
    from ..display import Display
    from ..storage.run_folder import open_runs

    folders, display = open_runs(options.run), Display()
    for folder in folders:
        run = api.load_run(folder.path)
        out = options.out
        if out is not None and len(folders) > 1:
            out = out / f"{folder.path.name}.mp4"
        more = {"episodes": options.episodes, "fps": options.fps, "out": out}
        with display:
            display.doing(f"playing and drawing {options.episodes} episode{'s' if options.episodes > 1 else ''}")
            path = run.video(which="best" if options.best else "last", seed=options.seed, **more)
        for text in run.notes:
            tables.note(text)
        if out is None:
            run.report()
        print(f"video   {path}")
    return 0
