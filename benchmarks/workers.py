"""Measuring processes that wait for commands: arms alternate in one run, one active at a time, the others asleep.

Imports neither JAX nor Forethought: peers use the other end of the line in environments of their own.
"""

import gc
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]


class WorkerDied(RuntimeError):
    """A measuring process that ended or failed; the message says why."""


class Worker:
    """A process that answers each line of JSON with a line of JSON. Use as a context manager."""

    def __init__(
        self,
        name: str,
        module: str,
        *,
        python: str = sys.executable,
        cwd: pathlib.Path = ROOT,
        env: dict[str, str] | None = None,
    ):
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the worker
        self._process = subprocess.Popen(
            [python, "-m", module],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def call(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What the process answers. Raises WorkerDied, with the end of what it said, if it cannot."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().strip().splitlines()[-12:]
            raise WorkerDied(f"{self.name} stopped with code {self._process.returncode}:\n" + "\n".join(said))
        return json.loads(line)


def serve(commands: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Answers commands until the line closes. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = commands[request.pop("do")](**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


LONG_S = 2.0  # what takes longer is its own warming up


class Jobs:
    """What is timed, by name."""

    def __init__(self, make: Callable[[str, dict, dict], tuple[Callable[[], Any], dict[str, Any]]]):
        """`make(kind, task, options)` returns a job and notes on it for the raw file."""
        self.make, self.jobs = make, {}

    def prepare(self, name: str, kind: str, task: dict, options: dict) -> dict[str, Any]:
        """Makes a job and runs it once; says how long that first run took."""
        self.jobs[name], notes = self.make(kind, task, options)
        return {"first_s": timed(self.jobs[name])["wall_s"], **notes}

    def time(self, name: str) -> dict[str, float]:
        """One timing."""
        gc.collect()
        return warm(self.jobs[name])

    def serve(self) -> None:
        """Answers until there are no more requests."""
        serve({"prepare": self.prepare, "time": self.time})


def warm(work: Callable[[], Any]) -> dict[str, float]:
    """`timed`, after an untimed repetition: memory and caches of a process that has slept have gone cold."""
    first = timed(work)
    return first if first["wall_s"] > LONG_S else timed(work)


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Wall-clock and CPU seconds of `work`, and pages that had to be fetched from the system for it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - usage.ru_minflt
    return {"wall_s": round(wall, 6), "cpu_s": round(cpu, 6), "page_faults": faults}


def thread_env(threads: int) -> dict[str, str]:
    """Environment that gives every library `threads` threads."""
    names = ("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: str(threads) for name in names}
