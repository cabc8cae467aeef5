"""Arms that alternate in one run: each round times every arm once, in an order that turns from round to round."""

import contextlib
import dataclasses
import pathlib
import tempfile
from typing import Any

from . import work
from .peers.install import python_of
from .record import Recorder, cpu_seconds, summary
from .workers import Worker, thread_env


@dataclasses.dataclass(frozen=True)
class Process:
    """A measuring process; several arms may share one."""

    name: str
    module: str = "benchmarks.ours"
    venv: pathlib.Path | None = None  # None: the interpreter that runs this
    root: pathlib.Path | None = None  # another checkout, whose benchmarks and package are used
    package: pathlib.Path | None = None  # another checkout, of which the package alone is used
    env: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Arm:
    """One thing that is timed."""

    name: str
    process: Process
    kind: str
    task: dict[str, Any]
    flop: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def ours(name: str, **env: str) -> Process:
    """A process of Forethought's."""
    return Process(name, env=tuple(env.items()))


def peer(name: str, venv: pathlib.Path, **env: str) -> Process:
    """A process of mbrl-lib's."""
    return Process(name, "benchmarks.peers.worker", venv, env=tuple(env.items()))


def sheeprl(name: str, venv: pathlib.Path) -> Process:
    """A process of sheeprl's."""
    return Process(name, "benchmarks.peers.sheeprl_worker", venv)


def sb3(name: str, venv: pathlib.Path) -> Process:
    """A process of stable-baselines3's."""
    return Process(name, "benchmarks.peers.sb3_worker", venv)


def mbrl_lib(venv: pathlib.Path, kind: str, task: dict[str, Any], flop: int) -> list[Arm]:
    """mbrl-lib as it is shipped, and with glibc's allocator set for it."""
    return [
        Arm("mbrl-lib", peer("mbrl-lib", venv), kind, task, flop),
        Arm("mbrl-lib, malloc tuned", peer("mbrl-lib tuned", venv, **work.MALLOC_TUNED), kind, task, flop),
    ]


def labelled(arm: Arm, label: str) -> Arm:
    """`arm` at one of several sizes, in a process of its own."""
    name = f"{arm.name}, {label}"
    return dataclasses.replace(arm, name=name, process=dataclasses.replace(arm.process, name=name))


def peak_arms(venv: pathlib.Path | None, sizes: tuple[int, ...] = (1024, 2048)) -> list[Arm]:
    """Float32 products of square matrices in every library there is."""
    processes = [("JAX", ours("peak JAX")), ("NumPy", Process("peak NumPy", "benchmarks.numpy_worker"))]
    if venv is not None:
        processes.append(("PyTorch", peer("peak PyTorch", venv)))
    found = []
    for library, process in processes:
        for size in sizes:
            repeats = max(1, round(2e10 / (2 * size**3)))  # about a tenth of a second on two cores
            task = {"size": size, "repeats": repeats}
            found.append(Arm(f"peak {library} {size}", process, "peak", task, 2 * size**3 * repeats))
    return found


def alternate(recorder: Recorder, arms: list[Arm], *, rounds: int, threads: int) -> dict[str, Any]:
    """Timings and their summaries per arm. The raw file is written after every round."""
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        workers: dict[Process, Worker] = {}
        for i, arm in enumerate(arms):
            if arm.process not in workers:
                python = {} if arm.process.venv is None else {"python": python_of(arm.process.venv)}
                # A cache of its own, so that what is called compiling is compiling.
                env = {**thread_env(threads), "JAX_COMPILATION_CACHE_DIR": f"{cache}/{i}", **dict(arm.process.env)}
                if arm.process.root is not None:
                    python = {**python, "cwd": arm.process.root}
                source = arm.process.root or arm.process.package
                if source is not None:
                    env["PYTHONPATH"] = str(source / "src")
                worker = Worker(arm.process.name, arm.process.module, env=env, **python)
                workers[arm.process] = stack.enter_context(worker)
                recorder.watch.workers.add(worker.pid)
            recorder.say(f"preparing {arm.name}")
            said = workers[arm.process].call(
                "prepare", name=arm.name, kind=arm.kind, task=arm.task, options=arm.options
            )
            settings = {"task": arm.task, "options": arm.options, "env": dict(arm.process.env)}
            found[arm.name] = {"flop": arm.flop, **settings, **said, "timings": []}
        for number in range(rounds):
            turn = number % len(arms)
            for arm in arms[turn:] + arms[:turn]:
                idle = [worker.pid for process, worker in workers.items() if process != arm.process]
                before = sum(map(cpu_seconds, idle))
                timing = workers[arm.process].call("time", name=arm.name)
                timing["idle_cpu_s"] = round(sum(map(cpu_seconds, idle)) - before, 3)  # the others should sleep
                found[arm.name]["timings"].append(timing)
            recorder.say(f"round {number + 1} of {rounds}: {_line(arms, found)}")
            recorder.save(arms={name: summarised(arm) for name, arm in found.items()})
    recorder.save()
    return recorder.data["arms"]


def summarised(arm: dict[str, Any]) -> dict[str, Any]:
    """`arm` with the summaries of its timings before them."""
    walls = [t["wall_s"] for t in arm["timings"]]
    speeds = summary([arm["flop"] / wall / 1e9 for wall in walls])
    rest = {k: v for k, v in arm.items() if k not in ("timings", "wall_s", "gflops")}
    return {
        **rest,
        "wall_s": summary(walls),
        "gflops": {k: v if k == "n" else round(v, 2) for k, v in speeds.items()},
        "timings": arm["timings"],
    }


def best_peak(arms: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """The name and GFLOP/s of the fastest matrix product, by its median."""
    peaks = {name: arm["gflops"] for name, arm in arms.items() if name.startswith("peak ")}
    name = max(peaks, key=lambda n: peaks[n]["median"])
    return name, peaks[name]


def _line(arms: list[Arm], found: dict[str, Any]) -> str:
    last = {arm.name: arm.flop / found[arm.name]["timings"][-1]["wall_s"] / 1e9 for arm in arms}
    return ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in last.items())
