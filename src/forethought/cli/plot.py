"""`forethought plot RUN...`: learning curves; seeds of the same settings make one curve with an interval."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..cards import oracle_return
from ..errors import UserError
from ..storage.files import own
from ..storage.run_folder import RunFolder, open_runs
from . import machine, tables
from .common import Switch
from .parse import option_names, parse

HELP = """Draw return against environment steps: interquartile mean over seeds and its 95 % bootstrap interval. Runs of
the same agent, environment and settings with different seeds are pooled into one curve; the others are compared.

Example:
  forethought plot runs/pets-a runs/pets-b runs/ladder --out comparison.png"""

NOT_SETTINGS = ("seed", "num_seeds", "threads", "device", "video", "max_minutes", "checkpoint_seconds")
"""Options of a run that do not keep its curve from being pooled with another's."""


@dataclasses.dataclass(frozen=True)
class Plot:
    """Options of `plot`."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Folders of runs, or of groups of them."""
    out: Path | None = None
    """The .png or .svg to write; default: in the run's own folder, or learning-curves.png here for several."""
    metric: Literal["eval", "episode"] = "eval"
    """Evaluations without exploration, or the training episodes."""
    debug: Switch = False
    """Show the traceback of an error."""


def option_list() -> list[str]:
    """Long options."""
    return option_names(Plot)


def run(argv: list[str]) -> int:
    """Draws; prints where, and the last value of each curve."""
    options = parse(Plot, argv, command="plot", help=HELP)
    if not options.runs:
        raise UserError("RUN is missing; see forethought plot --help")
    machine.prepare()
    folders = [folder for path in options.runs for folder in open_runs(path)]
    pools = pool(folders)
    out = options.out or _default_out(options.runs)
    if out.suffix not in (".png", ".svg"):
        raise UserError(f"--out {out} must end in .png or .svg")
    _draw(pools, out, options.metric)
    print(f"curve   {out}")
    return 0


def pool(folders: list[RunFolder]) -> dict[str, list[RunFolder]]:
    """Runs that differ only in their seeds together, by a label that tells the pools apart."""
    pools: list[list[RunFolder]] = []
    for folder in folders:
        for members in pools:
            if _settings(members[0]) == _settings(folder) and not _seeds(folder) & set().union(*map(_seeds, members)):
                members.append(folder)
                break
        else:
            pools.append([folder])
    return dict(zip(_labels([members[0] for members in pools]), pools))


def _draw(pools: dict[str, list[RunFolder]], out: Path, metric: Literal["eval", "episode"]) -> None:
    from ..diagnostics.curves import learning_curves, plot_learning_curves
    from ..diagnostics.statistics import bootstrap_band

    rows = {
        label: [row for folder in folders for row in folder.metrics(whole=True)] for label, folders in pools.items()
    }
    envs = {folder.record["env"] for folders in pools.values() for folder in folders}
    oracle = oracle_return(next(iter(envs))) if len(envs) == 1 else None
    plot_learning_curves(rows, out, metric=metric, oracle=oracle)
    table = []
    for label, found in rows.items():
        curves = learning_curves(found, metric)
        if curves is None:
            continue
        middle, low, high = (float(band[-1]) for band in bootstrap_band(curves.values))
        interval = f"{tables.number(low)} to {tables.number(high)}" if len(curves.seeds) > 1 else "one seed"
        count = str(len(curves.seeds))
        table.append([label, count, f"{curves.env_steps[-1]:,.0f}", tables.number(middle), interval])
    tables.show(["run", "seeds", "steps", "last return", "95 % interval"], table)


def _default_out(paths: Sequence[Path]) -> Path:
    if len(paths) != 1:
        return Path("learning-curves.png")
    if (paths[0] / "run.json").is_file():
        return own(paths[0], "figures") / "learning_curve.png"
    return paths[0] / "learning_curve.png"


def _settings(folder: RunFolder) -> str:
    """Everything that two runs must share to be seeds of one experiment."""
    record = folder.record
    run = {name: value for name, value in record.get("run", {}).items() if name not in NOT_SETTINGS}
    return json.dumps([record["agent"], record["env"], record.get("given"), record["config"], run], sort_keys=True)


def _seeds(folder: RunFolder) -> set[int]:
    first = folder.record["seed"]
    return set(range(first, first + folder.record["num_seeds"]))


def _labels(folders: list[RunFolder]) -> list[str]:
    """Short labels, all different: the agent, then the environment or the settings that differ, then the folder."""
    parts: list[list[str]] = [[folder.record["agent"]] for folder in folders]
    if len({folder.record["env"] for folder in folders}) > 1:
        parts = [[*part, "on", folder.record["env"]] for part, folder in zip(parts, folders)]
    labels = [" ".join(part) for part in parts]
    for alike in {label for label in labels if labels.count(label) > 1}:
        members = [i for i, label in enumerate(labels) if label == alike]
        flats = [_flat({**folders[i].record["config"], **folders[i].record.get("run", {})}) for i in members]
        differing = [name for name in flats[0] if name not in NOT_SETTINGS and len({f.get(name) for f in flats}) > 1]
        for i, flat in zip(members, flats):
            if 0 < len(differing) <= 2:
                labels[i] += " " + " ".join(f"{name}={flat.get(name)}" for name in differing)
            if not differing or len(differing) > 2:
                labels[i] += f" {folders[i].path.name}"
    return [label if labels.count(label) == 1 else str(f.path) for label, f in zip(labels, folders)]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = str(value)
    return found
