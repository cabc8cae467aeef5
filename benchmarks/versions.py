"""This checkout beside another one, in one run: planning, fitting, Dreamer's gradient step, Dyna-Q, host steps.

    git worktree add ../before 8c92ba6 && python -m benchmarks.versions ../before

Each arm has its own process, with the same number of threads and the same libraries, and the arms take turns. Planning,
fitting and the gradient step are timed by each checkout's own `benchmarks.ours`; Dyna-Q and host steps by this
checkout's `benchmarks.runs_worker`, on either package. About ten minutes.
"""

import dataclasses
import pathlib

from . import arms, options, work
from .record import Recorder, commit_of

RUNS = {
    "Dyna-Q, 1 run": ("dyna", {"runs": 1, "steps": 20_000}),
    "Dyna-Q, 30 runs": ("dyna", {"runs": 30, "steps": 3000}),
    "host steps, 1 environment": ("host_steps", {"num_envs": 1, "steps": 500}),
    "host steps, 4 environments": ("host_steps", {"num_envs": 4, "steps": 2000}),
}


def all_arms(other: pathlib.Path) -> list[arms.Arm]:
    """Every piece of work, by both checkouts."""
    tasks = {"planning": work.Planning(), "fitting": work.FITTING["batch 256"], "dreaming": work.DREAMING["tiny"]}
    chosen, found = {"planning": {"propagation": "TSinf", "common_noise": True}}, []
    for kind, task in tasks.items():
        for name, root in (("before", other), ("now", None)):
            process = arms.Process(f"{kind} {name}", root=root)
            found.append(
                arms.Arm(f"{kind}, {name}", process, kind, dataclasses.asdict(task), task.flop, chosen.get(kind, {}))
            )
    for label, (kind, task) in RUNS.items():
        for name, package in (("before", other), ("now", None)):
            process = arms.Process(f"{label} {name}", "benchmarks.runs_worker", package=package)
            found.append(arms.Arm(f"{label}, {name}", process, kind, task, 0))
    return found


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.parser(__doc__, "versions")
    parser.add_argument("other", type=pathlib.Path, help="folder of the other checkout")
    parser.add_argument("--rounds", type=options.positive, default=11, help="timings of each arm (%(default)s)")
    given = parser.parse_args(argv)
    if not (given.other / "benchmarks" / "ours.py").exists():
        parser.error(f"other: {given.other} holds no benchmarks/ours.py; give the folder of a checkout")
    settings = {"threads": given.threads, "rounds": given.rounds, "before": commit_of(given.other)}
    recorder = Recorder(given.out, benchmark="versions", settings=settings, quiet=given.quiet)
    arms.alternate(recorder, all_arms(given.other.resolve()), rounds=given.rounds, threads=given.threads)
    recorder.say(f"wrote {given.out}; `python -m benchmarks.tables` brings docs/speed.md up to date")


if __name__ == "__main__":
    main()
