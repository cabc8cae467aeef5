"""Runs of one seed, of several side by side, and of several one after another (a group)."""

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

from .. import api
from ..catalogue import AGENTS
from ..errors import UserError
from ..presets.run import RunConfig
from ..presets.values import from_dict
from ..refusals import check_run
from ..setup import build
from ..storage import records
from ..storage.run_folder import RunFolder, create_group, default_run_path, group_names
from . import tables


def train_seeds(
    agent: str,
    env: str,
    *,
    preset: str,
    config: Any,
    run: RunConfig,
    env_kwargs: dict[str, Any],
    out: Path | None,
    start_from: Path | None,
    quiet: bool,
    argv: list[str],
) -> int:
    """Trains one run, or a group of runs where several seeds cannot go side by side."""
    check_run(run)
    common = {"preset": preset, "config": config, "start_from": start_from, "quiet": quiet, "argv": argv}
    common["env_kwargs"] = env_kwargs
    if run.num_seeds == 1 or _side_by_side(agent, env, preset, config, run, env_kwargs):
        return finish(api.train(agent, env, run=run, out=out, **common), quiet=quiet)
    path = out or default_run_path("runs", agent, env, run.seed)
    seeds = range(run.seed, run.seed + run.num_seeds)
    create_group(path, [f"seed-{seed}" for seed in seeds])
    tables.note(f"{env} is stepped from Python: {run.num_seeds} seeds are trained one after another, in {path}")
    for seed in seeds:
        alone = dataclasses.replace(run, seed=seed, num_seeds=1)
        trained = api.train(agent, env, run=alone, out=path / f"seed-{seed}", **common)
        if code := finish(trained, quiet=quiet, group=path):
            return code
    return 0


def resume_group(path: Path, *, quiet: bool) -> int:
    """Finishes what is unfinished in a group; seeds that never began start with the settings of those that did."""
    names = group_names(path)
    begun = [path / name for name in names if (path / name / "run.json").is_file()]
    if not begun:
        raise UserError(f"{path} is a group of which no run has begun; start it again in a new folder")
    pattern = RunFolder.open(begun[0]).record
    for name in names:
        folder = path / name
        if folder in begun:
            trained = api.resume(folder, quiet=quiet)
        else:
            trained = _start_like(pattern, _seed_of(name, path), folder, quiet=quiet)
        if code := finish(trained, quiet=quiet, group=path):
            return code
    return 0


def _start_like(record: dict[str, Any], seed: int, folder: Path, *, quiet: bool) -> api.Run:
    """A new run with the settings of another of its group."""
    where = f"{folder.parent}: the record of another seed"
    records.check(record, records.RunRecord, where, required=("run", "preset", "command"))
    agent = record["agent"]
    known = agent in AGENTS
    options = from_dict(RunConfig, record["run"], "run")
    return api.train(
        agent,
        record["env"],
        preset=record["preset"] if known else "default",
        config=from_dict(AGENTS[agent].config_type, record["config"]) if known else None,
        run=dataclasses.replace(options, seed=seed),
        start_from=record.get("start_from"),
        out=folder,
        quiet=quiet,
        argv=record["command"].split(),
        env_kwargs=record.get("env_kwargs"),
    )


def _seed_of(name: str, path: Path) -> int:
    number = name.rpartition("-")[2]
    if not number.isdigit():
        raise UserError(f"{path / name} has not begun, and its seed is not known from its name; train it on its own")
    return int(number)


def _side_by_side(agent: str, env: str, preset: str, config: Any, run: RunConfig, kwargs: dict[str, Any]) -> bool:
    """Whether all seeds can be trained as one program."""
    alone = dataclasses.replace(run, num_seeds=1)
    return build(agent, env, preset=preset, config=config, run=alone, env_kwargs=kwargs).compiled


def stopped_code(run: api.Run) -> int:
    """The exit code of a command whose run was stopped by a signal, as shells have it; 0 if it was not stopped."""
    if run.outcome is None or run.status == "finished":
        return 0
    return 128 + (signal.SIGINT if "Ctrl-C" in run.outcome.message else signal.SIGTERM)


def finish(run: api.Run, *, quiet: bool, group: Path | None = None) -> int:
    """Prints how a run ended and where its results are."""
    if run.status != "finished":
        if quiet or group is not None:
            print(
                f"{run.status}; resume with: forethought resume {os.path.relpath(group or run.path)}", file=sys.stderr
            )
        return stopped_code(run)
    rows = run.metrics("eval")
    last = [row for row in rows if row["final"]][-run.setup.run.num_seeds :]
    for row in last:
        seed = f" (seed {row['seed']})" if len(last) > 1 or group is not None else ""
        counted = "1 episode" if len(row["returns"]) == 1 else f"{len(row['returns'])} episodes"
        print(f"final return {tables.number(row['mean_return'])} over {counted}{seed}")
    if run.shown is not None:
        tables.show_model(run.shown)
        for what, path in (("report", run.shown.report), ("curve", run.shown.curve), ("video", run.shown.video)):
            if path is not None:
                print(f"{what:<7} {path}")
    print(f"run     {run.path}")
    if run.shown is not None and run.shown.outcome:
        print(f"outcome {run.shown.outcome}")
    return 0
