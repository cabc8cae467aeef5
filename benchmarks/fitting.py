"""One pass of minibatches over the data of an ensemble of seven networks: ours against mbrl-lib's.

    python -m benchmarks.fitting

40 steps of batch 256 and 313 of batch 32 (about 10,000 rows). Arms alternate, each in a process of its own with the
same number of threads; matrix products run in the same rounds to find the machine's peak. About three minutes.
Without `python -m benchmarks.peers.install` before it, add --no-peers.
"""

import argparse
import dataclasses

from . import arms, options, work
from .record import Recorder


def all_arms(given: argparse.Namespace, tasks: dict[str, work.Fitting]) -> list[arms.Arm]:
    """Ours and the peer's at every batch size, and the peak's."""
    venv = None if given.no_peers else given.venv
    found = []
    for label, task in tasks.items():
        values = dataclasses.asdict(task)
        every = [arms.Arm("ours", arms.ours("ours"), "fitting", values, task.flop)]
        if venv is not None:
            every += arms.mbrl_lib(venv, "fitting", values, task.flop)
        found += [arms.labelled(arm, label) for arm in every]
    return found + arms.peak_arms(venv)


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "fitting"))
    parser.add_argument("--rounds", type=options.positive, default=9, help="timings of each arm (%(default)s)")
    parser.add_argument("--steps", type=options.positive, help="gradient steps, instead of those above")
    given = parser.parse_args(argv)
    tasks = work.FITTING
    if given.steps is not None:
        tasks = {label: dataclasses.replace(task, steps=given.steps) for label, task in tasks.items()}
    settings = {"threads": given.threads, "rounds": given.rounds}
    recorder = Recorder(given.out, benchmark="fitting", settings=settings, quiet=given.quiet)
    arms.alternate(recorder, all_arms(given, tasks), rounds=given.rounds, threads=given.threads)
    recorder.say(f"wrote {given.out}; `python -m benchmarks.tables` brings docs/speed.md up to date")


if __name__ == "__main__":
    main()
