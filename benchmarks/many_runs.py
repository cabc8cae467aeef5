"""Seconds, compilations and memory of one run after another in one process, of equal agents and tasks.

    python -m benchmarks.many_runs

Each run uses a different seed and does everything a run does: training, evaluations, the model check, curves, report.
Only the first should compile, and the memory of the process (resident, after a garbage collection) should stay within
10 % of that after the second run. The compilation cache on disk is off.
"""

import gc
import os
import pathlib
import tempfile
import time
from typing import Any

from forethought.cards import find
from forethought.cli import machine

from . import options
from .record import Recorder

DRIVER = ("collecting", "update")  # the programs of collecting and learning, as JAX names them
GROWTH = 0.1  # of memory since the second run, that counts as flat


def resident_mb() -> float:
    """Memory that this process holds, in MB."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def mapped() -> int:
    """Memory maps of this process, of which Linux grants 65,530."""
    return len(pathlib.Path("/proc/self/maps").read_text().splitlines())


class Compilations:
    """Counts what XLA compiles in this process from now on: all programs, and those of the driver."""

    def __init__(self) -> None:
        import jax

        self.programs = self.driver = 0
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, seconds: float, **more: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.programs += 1
            self.driver += any(name in str(more.get("fun_name", "")) for name in DRIVER)


def run_once(card: str, steps: int | None, seed: int, folder: pathlib.Path) -> float:
    """One run of a card's first arm with another seed; its final return."""
    import dataclasses

    from forethought import api

    found = find(card)
    arm = found.arms[0]
    run = dataclasses.replace(arm.run, seed=seed, steps=steps or arm.run.steps)
    made = api.train(found.agent, found.env, preset=arm.preset, run=run, out=folder / f"seed-{seed}", quiet=True)
    return made.final_return or 0.0


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.parser(__doc__, "many_runs")
    parser.add_argument("--card", default="pets/cartpole", help="(%(default)s)")
    parser.add_argument("--runs", type=options.positive, default=10, help="(%(default)s)")
    parser.add_argument("--steps", type=options.positive, help="of each run; default: the card's")
    given = parser.parse_args(argv)
    machine.prepare(given.threads)
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    settings = {name: getattr(given, name) for name in ("threads", "card", "runs", "steps")}
    recorder = Recorder(given.out, benchmark="many_runs", settings=settings, quiet=given.quiet)
    counted, found = Compilations(), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.runs):
            before, begun = counted.programs, time.perf_counter()
            driver = counted.driver
            final = run_once(given.card, given.steps, seed, pathlib.Path(folder))
            row = {"seed": seed, "wall_s": round(time.perf_counter() - begun, 2), "final_return": round(final, 3)}
            gc.collect()
            row |= {"programs": counted.programs - before, "driver_programs": counted.driver - driver}
            found.append(row | {"resident_mb": resident_mb(), "maps": mapped()})
            recorder.save(runs=found, **summary(found))
            recorder.say(
                f"seed {seed}: {row['wall_s']:7.1f} s, {row['programs']:4} programs compiled, "
                f"{found[-1]['resident_mb']:7.0f} MB, {found[-1]['maps']} memory maps"
            )
    recorder.say(f"wrote {given.out}")


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether only the first run compiled, and how much memory has grown since the second."""
    later = [row["resident_mb"] for row in runs[1:]]
    growth = max(later) / later[0] - 1 if later else 0.0
    return {
        "compiled_after_the_first_run": sum(row["programs"] for row in runs[1:]),
        "memory_growth_since_the_second_run": round(growth, 4),
        "flat": growth <= GROWTH,
    }


if __name__ == "__main__":
    main()
