"""`forethought fit DATA`."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated

import tyro

from ..presets.fit import FitConfig
from ..text import percent
from . import machine, tables
from .common import Anywhere, Machine, Switch
from .parse import option_names, parse

HELP = """Fit a model to logged transitions, a .npz or minari:NAME; no environment is needed. Whole episodes are
held out, and the model's predictions are compared with what happened there.

Example:
  forethought fit log.npz --model.hidden 200 200 --horizon 10 --out my-model"""


@dataclasses.dataclass(frozen=True)
class Fit:
    """Options of `fit`."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A .npz with obs, action, reward, terminated, truncated (and next_obs), or minari:NAME."""
    out: Path | None = None
    """Folder to write to; default: runs/fit-DATA-DATE-TIME."""
    quiet: Switch = False
    """Show no progress."""
    fit: Annotated[FitConfig, tyro.conf.arg(name="")] = FitConfig()
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Fit)


def run(argv: list[str]) -> int:
    """Prints the verdict and the paths."""
    options = parse(Fit, argv, command="fit", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import fitting
    from ..storage.records import make_folder
    from ..storage.run_folder import default_run_path

    out = options.out or default_run_path("runs", "fit", Path(options.data).stem, options.fit.seed)
    make_folder(out)  # before the work, so that it is not lost for want of a place
    try:
        fitted = fitting.fit(options.data, config=options.fit, progress=None if options.quiet else Meter())
    except BaseException:
        out.rmdir()
        raise
    for text in fitted.notes:
        tables.note(text)
    paths = fitted.save(out)
    print(f"{fitted.num_train:,} transitions to train on, {fitted.num_holdout:,} held out; {fitted.seconds:.0f} s")
    print(fitted.verdict)
    for what in ("report", "figure", "model", "summary"):
        print(f"{what:<7} {paths[what]}")
    return 0


class Meter:
    """Progress of a fit on standard error: a line that is redrawn in a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first: tuple[float, float] | None = None  # part done and time once the first part, with compiling, is over

    def __call__(self, part: float, loss: float | None) -> None:
        from ..display import clock

        elapsed = time.monotonic() - self.began
        text = f"fit {percent(part):>5}"
        if loss is None:
            text += "  compiling"
        else:
            self.first = self.first or (part, elapsed)
            done, since = part - self.first[0], elapsed - self.first[1]
            left = clock(since * (1 - part) / done) if done else "?"
            text += f"  loss {loss:.3f}  elapsed {clock(elapsed)}  left {left}"
        redrawn = sys.stderr.isatty()
        sys.stderr.write(f"\r\x1b[K{text}" if redrawn else f"{text}\n")
        if redrawn and part >= 1:
            sys.stderr.write("\n")
        sys.stderr.flush()
