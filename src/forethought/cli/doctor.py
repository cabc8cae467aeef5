"""`forethought doctor RUN|MODEL`."""

import dataclasses
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import UserError
from ..presets.bounds import Ahead, Seed
from . import machine, tables
from .common import Anywhere, Machine, Switch
from .parse import option_names, parse

HELP = """Examine a trained model: how far it can be trusted, how sure of itself it is and may be, and what is wrong
with it or its data, with a remedy for each.

A run is judged on fresh episodes of its policy; a model that `forethought fit` wrote on logged episodes that it has
not seen.

Example:
  forethought doctor runs/first
  forethought doctor my-model --data held-out.npz"""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Options of `doctor`."""

    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL")]
    """Folder of a run or of a group of them, or a model.npz or folder that `forethought fit` wrote."""
    data: str | None = None
    """[MODEL] Logged episodes to judge it on, .npz or minari:NAME; default: those that its fit held out."""
    episodes: int | None = None
    """[RUN] Fresh episodes; default: 20. All of them make the recalibration; how good it is is found by making one
    from half of them and judging it on the others."""
    horizon: Ahead = 25
    """Steps ahead up to which the model is examined."""
    best: Switch = False
    """[RUN] The checkpoint with the best evaluation instead of the last one."""
    seed: Seed | None = None
    """[RUN] Which seed of a run that has several; default: the first."""
    out: Path | None = None
    """Folder to write to; default: `doctor` in the folder of the run or model."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Doctor)


def run(argv: list[str]) -> int:
    """Prints verdict, findings and paths, for each run of a group; 0 whatever was found.

    A run of a group that cannot be looked at costs no other: it is named, and a UserError is raised at the end.
    """
    options = parse(Doctor, argv, command="doctor", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import api

    if not any((options.target / name).is_file() for name in ("run.json", "group.json")):
        asked = {"best": options.best, "seed": options.seed is not None, "episodes": options.episodes is not None}
        for name, given in asked.items():
            if given:
                raise UserError(f"--{name} is for runs, and {options.target} is none; leave it out")
        from ..display import Display

        with Display() as display:
            display.doing("examining the model")
            found = api.doctor(options.target, data=options.data, horizon=options.horizon, out=options.out)
        _show(found)
        return 0
    if options.data is not None:
        raise UserError("--data is for fitted models; a run is judged on fresh episodes of its policy")
    runs, failed = _runs(options.target), []
    for path in runs:
        try:
            _look(path, options, grouped=len(runs) > 1)
        except Exception as error:
            if len(runs) == 1:
                raise
            what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            tables.note(f"{path} could not be looked at: {' '.join(what.split())}")
            failed.append((str(path), error))
    if failed:
        names = ", ".join(name for name, _ in failed)
        first = failed[0][1]
        raise UserError(f"{len(failed)} of {len(runs)} runs could not be looked at: {names}; see the notes") from first
    return 0


def _runs(target: Path) -> list[Path]:
    """The run itself, or those of a group that have begun; each is opened, and may fail, by itself."""
    from ..storage.run_folder import group_names, open_runs

    if not (target / "group.json").is_file():
        return [target]
    begun = [target / name for name in group_names(target) if (target / name / "run.json").is_file()]
    return begun or [folder.path for folder in open_runs(target)]  # says that none has begun


def _look(path: Path, options: Doctor, *, grouped: bool) -> None:
    """Looks at one run, and prints what was found."""
    from .. import api, checkup
    from ..display import Display

    trained = api.load_run(path)
    with Display() as display:
        display.doing("loading the run")
        found = trained.doctor(
            display=display,
            episodes=checkup.EPISODES if options.episodes is None else options.episodes,
            horizon=options.horizon,
            which="best" if options.best else "last",
            seed=options.seed,
            out=options.out / path.name if grouped and options.out is not None else options.out,
        )
    for text in trained.notes:
        tables.note(text)
    _show(found)


def _show(found) -> None:
    width = min(shutil.get_terminal_size((100, 20)).columns, 120) if sys.stdout.isatty() else 100
    print(f"{found.source}")
    print(_wrapped("verdict", found.verdict, width))
    for name, sentence, remedy in found.table():
        print()
        print(_wrapped(name, sentence, width))
        if remedy:
            print(_wrapped("  remedy", remedy, width))
    print()
    for text in found.notes:
        tables.note(text)
    for what in ("page", "video", "still", "recalibration", "summary"):
        if what in found.paths:
            print(f"{what:<14} {found.paths[what]}")


def _wrapped(label: str, text: str, width: int) -> str:
    """`text` in a column behind `label`, the label on a line of its own where it is long."""
    indent = " " * 11
    head = f"{label:<11}" if len(label) < 11 else f"{label}\n{indent}"
    lines = textwrap.wrap(text, width - len(indent), break_on_hyphens=False) or [""]
    return head + f"\n{indent}".join(lines)
