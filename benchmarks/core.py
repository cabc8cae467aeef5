"""What the core promises to agents that learn inside a model: cheap appending to pools, and seeds side by side.

    python -m benchmarks.core

1,000 rows of HalfCheetah's sizes into pools of several capacities, as the driver appends what a round returns (the
pool's buffers are used again), and as an agent would inside of its update (the pool is copied). Whole runs of MBPO on
the pendulum: one seed alone, and eight seeds as one program; compiling is not timed. Each arm has its own process, and
the arms take turns. About half an hour.
"""

from . import arms, options
from .record import Recorder

CAPACITIES = (4000, 40_000, 400_000)
SEEDS = {"1 seed": None, "8 seeds": 8}


def all_arms(steps: int) -> list[arms.Arm]:
    """Both ways of appending at every capacity, and MBPO with one seed and with eight."""
    arm = lambda name, kind, task: arms.Arm(name, arms.Process(name, "benchmarks.runs_worker"), kind, task, 0)
    found = []
    for capacity in CAPACITIES:
        for how in ("driver", "update"):
            task = {"how": how, "capacity": capacity, "rows": 1000, "times": 20}
            found.append(arm(f"appending to {capacity}, {how}", "appending", task))
    for label, seeds in SEEDS.items():
        found.append(arm(f"mbpo, {label}", "mbpo", {"seeds": seeds, "steps": steps}))
    return found


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.parser(__doc__, "core")
    parser.add_argument("--rounds", type=options.positive, default=5, help="timings of each arm (%(default)s)")
    parser.add_argument("--steps", type=options.positive, default=1500, help="of each run of MBPO (%(default)s)")
    given = parser.parse_args(argv)
    settings = {"threads": given.threads, "rounds": given.rounds, "steps": given.steps}
    recorder = Recorder(given.out, benchmark="core", settings=settings, quiet=given.quiet)
    arms.alternate(recorder, all_arms(given.steps), rounds=given.rounds, threads=given.threads)
    recorder.say(f"wrote {given.out}; `python -m benchmarks.tables` brings docs/speed.md up to date")


if __name__ == "__main__":
    main()
