"""`forethought export RUN`."""

import dataclasses
from pathlib import Path

from ..presets.bounds import Seed
from ..storage.files import own
from . import machine, tables
from .common import Anywhere, Machine, RunPath, Switch
from .parse import option_names, parse

HELP = """Write the policy of a run alone: arrays (policy.npz), what they are (policy.json), and a short loop that runs
them (run_policy.py).

Example:
  forethought export runs/first --out my-policy && python my-policy/run_policy.py"""


@dataclasses.dataclass(frozen=True)
class Export:
    """Options of `export`."""

    run: RunPath
    """Folder of a run."""
    out: Path | None = None
    """Folder to write to; default: RUN/policy."""
    best: Switch = False
    """The checkpoint with the best evaluation instead of the last one."""
    seed: Seed | None = None
    """Which seed of a run that has several; default: the first."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Export)


def run(argv: list[str]) -> int:
    """Prints the paths of what was written."""
    options = parse(Export, argv, command="export", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import api, export

    run = api.load_run(options.run)
    which = "best" if options.best else "last"
    written = export.export_policy(run, options.out or own(options.run, "policy"), which=which, seed=options.seed)
    for text in run.notes:
        tables.note(text)
    for path in written:
        print(path)
    print(f"run it with: python {written[-1]}")
    return 0
