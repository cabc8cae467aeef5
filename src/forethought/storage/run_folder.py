"""The folder that holds all of one run, and groups of them. Opening one needs no JAX."""

import contextlib
import datetime
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from ..errors import UserError, checked_path
from ..presets.bounds import MOST_SEEDS
from . import lock, records
from .archive import DamagedCheckpoint
from .files import append, faults, open_own, own, read_own, remove_leftovers, replacing
from .records import dumps, loads, make_folder, read_json, safe_name, write_json

FORMAT = 2  # 1: checkpoints of one replay without a name
STATUSES = ("running", "finished", "interrupted", "failed")
REQUIRED = ("format", "status", "agent", "env", "seed", "num_seeds", "config", "total_steps")
KEPT_CHECKPOINTS = 2

Tree = TypeVar("Tree")
Row = dict[str, Any]
MetaCheck = Callable[[str, dict[str, Any]], None]


class Loaded(NamedTuple):
    """A checkpoint that was read, and what the user should be told about it."""

    tree: Any
    meta: dict[str, Any]
    notes: list[str]


class RunFolder:
    """One run on disk: its record `run.json`, its metrics, and its checkpoints."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record

    @classmethod
    def create(cls, path: Path | str, record: dict[str, Any]) -> Self:
        """A new run folder; `record` is completed with its format, status and time of creation.

        Raises UserError if the folder exists and is not empty or may not be written, StorageFault if the disk
        is full, and ValueError if `record` lacks a required field.
        """
        path = checked_path(path)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = {"format": FORMAT, "status": "running", "created": now, "message": "", **record}
        missing = [field for field in REQUIRED if field not in record]
        if missing:
            raise ValueError(f"record lacks {', '.join(missing)}; a run is recorded with all of {REQUIRED}")
        make_folder(path)
        run = cls(path, record)
        write_json(path / "run.json", record)
        with faults(path):
            for folder in (run.path / "checkpoints", run.figures, run.videos):
                folder.mkdir(exist_ok=True)
        return run

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The run at `path`. Raises UserError if it is none, a group, damaged or of a newer format."""
        path = checked_path(path)
        if (path / "group.json").is_file():
            names = ", ".join(str(path / name) for name in group_names(path))
            raise UserError(f"{path} is a group of runs; name one of them: {names}")
        if not (path / "run.json").is_file():
            what = "holds no run.json" if path.is_dir() else "is a file" if path.exists() else "does not exist"
            raise UserError(f"{path} is not a run folder: it {what}; give the folder that a run printed")
        record = read_json(path / "run.json", FORMAT)
        remedy = "mend it or start the run again"
        records.check(record, records.RunRecord, str(path / "run.json"), remedy=remedy)
        if not 1 <= record["num_seeds"] <= MOST_SEEDS:
            raise UserError(
                f"{path / 'run.json'} is damaged: num_seeds={record['num_seeds']}, wanted 1 to {MOST_SEEDS}; {remedy}"
            )
        return cls(path, record)

    def update_record(self, **fields: Any) -> None:
        """Change fields of the record. Raises StorageFault, and ValueError for an unknown status."""
        if fields.get("status", "running") not in STATUSES:
            raise ValueError(f"status={fields['status']!r} must be one of {', '.join(STATUSES)}")
        record = {**self.record, **fields}
        write_json(self.path / "run.json", record)
        self.record = record

    @property
    def status(self) -> str:
        """`running` only while a process trains into the run: one that was killed counts as `interrupted`."""
        status = self.record["status"]
        return "interrupted" if status == "running" and not self.is_locked else status

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into this run. Raises UserError if one is already."""
        with lock.exclusive(self.path / ".lock"):
            yield

    @property
    def is_locked(self) -> bool:
        """True while a living process trains into this run."""
        return lock.is_held(self.path / ".lock")

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return own(self.path, "figures")

    @property
    def videos(self) -> Path:
        """Folder of videos."""
        return own(self.path, "videos")

    @property
    def replay(self) -> Path:
        """Folder of the replay, where it is kept on disk; it is made when the first step is stored."""
        return own(self.path, "replay")

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard event files, one sub-folder per seed."""
        return own(self.path, "tensorboard")

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    @property
    def metrics_path(self) -> Path:
        """The metrics, one JSON object a line."""
        return self.path / "metrics.jsonl"

    def log(self, rows: list[Row]) -> None:
        """Append rows to the metrics, all or none. Arrays of NumPy and JAX are written as numbers and lists, and
        numbers that are not finite as null.

        Raises StorageFault.
        """
        if rows:
            text = "".join(dumps(row) + "\n" for row in rows)
            append(self.metrics_path, text.encode())

    def metrics(self, kind: str | None = None, seed: int | None = None, *, whole: bool = False) -> list[Row]:
        """The rows logged so far, optionally of one kind or seed; a half-written last line is left out.

        Raises UserError, naming the line, if another line is damaged: no row, a field of the wrong type or, if `whole`,
        one that lacks a field of its kind.
        """
        rows = [records.numbered(row) for _, row in self._lines(whole)]
        return [
            row
            for row in rows
            if (kind is None or row.get("kind") == kind) and (seed is None or row.get("seed") == seed)
        ]

    def truncate_metrics(self, env_steps: int, metrics_bytes: int | None = None) -> int:
        """Forget what was logged after a checkpoint, so that a resumed run ends with the same rows.

        Keeps the first `metrics_bytes` bytes (a checkpoint's meta has them) if they are there and end a line;
        otherwise the rows with `env_steps` no larger than given. Returns the number of rows forgotten.
        """
        if not self.metrics_path.is_file():
            return 0
        data = read_own(self.metrics_path)
        if metrics_bytes is not None and _is_boundary(data, metrics_bytes):
            kept = data[:metrics_bytes]
        else:
            kept = b"".join(line for line, row in self._lines() if row.get("env_steps", 0) <= env_steps)
        if kept != data:
            with replacing(self.metrics_path) as file:
                file.write(kept)
        return len(data.splitlines()) - len(kept.splitlines())

    def metrics_lost(self, metrics_bytes: int | None) -> str | None:
        """A note where the metrics are not those that a checkpoint was saved with, `metrics_bytes` long; None if so."""
        data = read_own(self.metrics_path) if self.metrics_path.is_file() else b""
        if metrics_bytes is None or _is_boundary(data, metrics_bytes):
            return None
        what = f"has {len(data):,} bytes, fewer than the" if len(data) < metrics_bytes else "was changed within the"
        return (
            f"{self.metrics_path} {what} {metrics_bytes:,} that it had at the checkpoint; rows are missing or altered, "
            "and curves and report show what is left"
        )

    def checkpoints(self) -> dict[int, Path]:
        """The periodic checkpoints by environment steps, newest first."""
        found = {}
        for path in own(self.path, "checkpoints").glob("step-*.npz"):
            match = re.fullmatch(r"step-(\d+)\.npz", path.name)
            if match:
                found[int(match[1])] = path
        return dict(sorted(found.items(), reverse=True))

    @property
    def best_path(self) -> Path:
        """The checkpoint with the best evaluation, where there has been one."""
        return own(self.path, "checkpoints") / "best.npz"

    def stages(self) -> dict[int, Path]:
        """What the agent was at each evaluation of a game, by environment steps, oldest first; empty for others."""
        found = {}
        for path in own(self.path, "stages").glob("step-*.npz"):
            match = re.fullmatch(r"step-(\d+)\.npz", path.name)
            if match:
                found[int(match[1])] = path
        return dict(sorted(found.items()))

    def save_stage(self, agent_state: Any, *, env_steps: int) -> None:
        """Keeps what the agent is now, for the run's ladder. Raises StorageFault."""
        from . import checkpoint

        folder = own(self.path, "stages")
        with faults(folder):
            folder.mkdir(exist_ok=True)
            remove_leftovers(folder)
        checkpoint.save(folder / f"step-{env_steps:09d}.npz", agent_state, {"env_steps": env_steps})

    def load_stage(self, like: Any, env_steps: int) -> Any:
        """The agent's state at a stage. Raises UserError if there is none, it is damaged, or it does not fit `like`."""
        from . import checkpoint

        self._check_loadable()
        stages = self.stages()
        if env_steps not in stages:
            raise UserError(
                f"{self.path} has no stage of {env_steps} steps; it has: {', '.join(map(str, stages)) or 'none'}"
            )
        return checkpoint.load(own(self.path, "stages", stages[env_steps].name), like)[0]

    def save_checkpoint(self, tree: Any, *, env_steps: int, meta: dict[str, Any], best: bool = False) -> Path:
        """Write a checkpoint and keep the newest two, or replace the best one. Returns its path.

        `env_steps` and the size of the metrics file, `metrics_bytes`, are added to the meta data. Checkpoints
        of more steps than `env_steps` are removed: training went on from before them. Raises StorageFault;
        the older checkpoints are then as they were.
        """
        from . import checkpoint  # imports JAX, which reading a run's record and curves does not need

        folder = own(self.path, "checkpoints")
        path = self.best_path if best else folder / f"step-{env_steps:09d}.npz"
        with faults(folder):
            folder.mkdir(exist_ok=True)
            remove_leftovers(folder)
            metrics_bytes = self._sync_metrics()
            if not best:
                for steps, later in self.checkpoints().items():
                    if steps > env_steps:
                        later.unlink()
        checkpoint.save(path, tree, {**meta, "env_steps": env_steps, "metrics_bytes": metrics_bytes})
        if not best:
            with faults(folder):
                for old in list(self.checkpoints().values())[KEPT_CHECKPOINTS:]:
                    old.unlink()
        return path

    def load_checkpoint(self, like: Any, which: str | int = "last", *, check: MetaCheck | None = None) -> Loaded:
        """The newest whole checkpoint (`last`), the best one (`best`), or that of so many environment steps.

        Where `last` or `best` is damaged or missing the next newest is taken, and the notes say so, one line
        each. `check(name, meta)` may refuse meta data by a UserError, which counts as damage. Raises UserError if there
        is none, if none is whole, or if it does not fit `like`.
        """
        from . import checkpoint  # imports JAX, which reading a run's record and curves does not need

        self._check_loadable()
        candidates, notes, damaged = self._candidates(which), [], []
        if which == "best" and candidates[0] != self.best_path:
            notes.append(f"{self.path} has no best checkpoint yet; using the last")
        for path in candidates:
            try:
                if path.is_symlink() or not path.is_file():
                    raise DamagedCheckpoint(f"checkpoint {path} is damaged: it is a link, or no file")
                fits = lambda meta, path=path: self._check_meta(path, meta, check)
                tree, meta = checkpoint.load(path, like, check=fits)
            except DamagedCheckpoint as error:
                damaged.append(str(error))
                continue
            return Loaded(tree, meta, notes + [f"{each}; using {path.name} instead" for each in damaged])
        best = which == "last" and self.best_path.is_file()
        remedy = "start it again" + (", or take the best one (--best), which is not among these" if best else "")
        raise DamagedCheckpoint(f"{self.path} has no whole checkpoint: {'; '.join(damaged)}; {remedy}")

    def _check_loadable(self) -> None:
        """Raises UserError for a run whose checkpoints are of an earlier layout."""
        if self.record["format"] < FORMAT:
            version = self.record.get("versions", {}).get("forethought", "an earlier version")
            raise UserError(
                f"{self.path} was written by Forethought {version}, whose checkpoints this one cannot load (it can "
                "still report and plot the run); train it again, or load it with that version"
            )

    def _check_meta(self, path: Path, meta: dict[str, Any], check: MetaCheck | None) -> None:
        """Raises DamagedCheckpoint for meta data that cannot be those of the checkpoint at `path`."""
        name = f"checkpoint {path}"
        try:
            records.check(meta, records.CheckpointRecord, name, remedy="take an older one")
            if path != self.best_path and path.name != f"step-{meta['env_steps']:09d}.npz":
                raise UserError(f"{name} is damaged: env_steps={meta['env_steps']} is not the step in its name")
            if check is not None:
                check(name, meta)
        except UserError as error:
            raise DamagedCheckpoint(str(error)) from None

    def _candidates(self, which: str | int) -> list[Path]:
        by_steps = self.checkpoints()
        if isinstance(which, int):
            if which not in by_steps:
                known = ", ".join(map(str, by_steps)) or "none"
                raise UserError(f"{self.path} has no checkpoint of {which} steps; it has: {known}")
            return [by_steps[which]]
        if which not in ("last", "best"):
            raise UserError(f"checkpoint {which!r} is unknown; give last, best or a number of steps")
        paths = list(by_steps.values())
        if which == "best" and self.best_path.is_file():
            paths.insert(0, self.best_path)
        if not paths:
            raise UserError(f"{self.path} has no checkpoint yet; it was stopped too early, start it again")
        return paths

    def _sync_metrics(self) -> int:
        """Size of the metrics in bytes, once they are as durable as the checkpoint that names it will be."""
        if not self.metrics_path.is_file():
            return 0
        with os.fdopen(open_own(self.metrics_path, os.O_RDONLY), "rb") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    def _lines(self, whole: bool = False) -> Iterator[tuple[bytes, Row]]:
        """Every whole line of the metrics with the row it holds."""
        if not self.metrics_path.is_file():
            return
        for number, line in enumerate(read_own(self.metrics_path).split(b"\n")[:-1], 1):
            try:
                row = loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise UserError(f"{self.metrics_path} is damaged in line {number}; remove that line")
            records.check_row(row, f"line {number} of {self.metrics_path}", whole)
            yield line + b"\n", row


def default_run_path(root: Path | str, agent: str, env: str, seed: int) -> Path:
    """A path for a new run, `ROOT/AGENT-ENV-YYYYmmdd-HHMMSS`, with seed and count where that is taken."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(root) / f"{safe_name(agent)}-{safe_name(env)}-{now}"
    stem, count = f"{path.name}-seed{seed}", 1
    while path.exists():
        path = path.with_name(stem if count == 1 else f"{stem}-{count}")
        count += 1
    return path


def create_group(path: Path | str, names: list[str]) -> Path:
    """A folder for runs that belong together; each goes to `path / name`. Raises as `RunFolder.create`."""
    path = checked_path(path)
    if not _not_begun(path, names):
        make_folder(path)
    write_json(path / "group.json", {"format": FORMAT, "runs": names})
    return path


def _not_begun(path: Path, names: list[str]) -> bool:
    """Whether `path` is a group of these runs whose process was stopped before any of them began."""
    found = {inside.name for inside in path.iterdir()} if path.is_dir() else set()
    return (
        "group.json" in found
        and found <= {"group.json", *names}
        and group_names(path) == names
        and not any((path / name / "run.json").is_file() for name in names)
    )


def group_names(path: Path | str) -> list[str]:
    """The names of a group's runs, begun or not. Raises UserError if the group is damaged or newer."""
    file = Path(path) / "group.json"
    names = read_json(file, FORMAT).get("runs")
    # a name is one folder of this group: anything else could lead out of it
    if not isinstance(names, list) or not all(isinstance(n, str) and n == safe_name(n) for n in names):
        raise UserError(f"{file} is damaged: `runs` must be a list of folder names, got {names!r}")
    for name in names:
        own(Path(path), name)
    return names


def open_runs(path: Path | str) -> list[RunFolder]:
    """The run at `path`, or those of a group's runs that have begun. Raises UserError if none has."""
    path = checked_path(path)
    if not (path / "group.json").is_file():
        return [RunFolder.open(path)]
    begun = [path / name for name in group_names(path) if (path / name / "run.json").is_file()]
    if not begun:
        raise UserError(f"{path} is a group of which no run has begun; start it again")
    return [RunFolder.open(run) for run in begun]


def _is_boundary(data: bytes, size: int) -> bool:
    return 0 <= size <= len(data) and (size == 0 or data[size - 1 : size] == b"\n")
