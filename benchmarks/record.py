"""Raw files: every single timing, with what is needed to judge it. No JAX is imported here."""

import datetime
import json
import os
import pathlib
import statistics
import subprocess
import time
from typing import Any

from forethought.storage import provenance
from forethought.storage.files import replacing

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = pathlib.Path(__file__).resolve().parent / "results"
BUSY = 0.05  # share of the machine that others may use before a measurement is marked as taken on a busy one
_TICKS = os.sysconf("SC_CLK_TCK")


def summary(values: list[float]) -> dict[str, float]:
    """Median and spread of timings."""
    low, high = (min(values), max(values))
    quarters = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [low, low, high]
    return {
        "n": len(values),
        "median": statistics.median(values),
        "q25": quarters[0],
        "q75": quarters[2],
        "min": low,
        "max": high,
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 once it is gone, or where there is no /proc."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _machine_seconds() -> float | None:
    """Seconds that all cores together were busy since the machine started; None where there is no /proc."""
    try:
        fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / _TICKS


class Recorder:
    """Holds what a benchmark has measured so far, and writes it whole each time something is added."""

    def __init__(self, path: pathlib.Path, *, benchmark: str, settings: dict[str, Any], quiet: bool = False):
        self.path, self.quiet = path, quiet
        self.data: dict[str, Any] = {
            "benchmark": benchmark,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": commit_of(ROOT),
            "settings": settings,
            "hardware": provenance.hardware(),
            "versions": provenance.versions(),
        }
        self.watch = Watch()

    def save(self, **sections: Any) -> None:
        """Adds or replaces `sections`, and writes the file."""
        self.data |= sections
        self.data["machine"] = self.watch.reading()
        write(self.path, self.data)

    def say(self, text: str) -> None:
        """Shows progress."""
        if not self.quiet:
            print(text, flush=True)


class Watch:
    """How much of the machine others used while it ran."""

    def __init__(self) -> None:
        self.begun, self.load = time.monotonic(), list(os.getloadavg())
        self.busy, self.own = _machine_seconds(), self._own()
        self.workers: set[int] = set()

    def _own(self) -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    def reading(self) -> dict[str, Any]:
        """Load averages, the share of all cores that other processes used, and whether that makes it busy."""
        wall = time.monotonic() - self.begun
        now = _machine_seconds()
        others = None
        if now is not None and self.busy is not None and wall > 0:
            own = self._own() - self.own + sum(cpu_seconds(pid) for pid in self.workers)
            others = max(now - self.busy - own, 0.0) / (wall * (os.cpu_count() or 1))
        return {
            "loadavg_before": self.load,
            "loadavg_after": list(os.getloadavg()),
            "used_by_others": None if others is None else round(others, 4),
            "busy": others is None or others > BUSY,
            "wall_s": round(wall, 3),
        }


def write(path: pathlib.Path, data: dict[str, Any]) -> None:
    """A raw file, whole or not at all; lists of numbers stay on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write((_layout(data) + "\n").encode())


def read(path: pathlib.Path) -> dict[str, Any] | None:
    """A raw file; None if there is none yet."""
    return json.loads(path.read_text()) if path.is_file() else None


def _layout(value: Any, indent: int = 0) -> str:
    flat = json.dumps(value)
    nested = isinstance(value, dict | list) and any(isinstance(x, dict | list) for x in _items(value))
    if not nested or (indent > 1 and len(flat) < 110):
        return flat
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [f"{pad}{json.dumps(k)}: {_layout(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(pad + _layout(v, indent + 1) for v in value) + "\n" + " " * indent + "]"


def _items(value: dict | list) -> list:
    return list(value.values()) if isinstance(value, dict) else value


def commit_of(root: pathlib.Path) -> str | None:
    """The commit of a checkout, with a plus where its sources differ from it; None outside one."""
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "--", "src"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
