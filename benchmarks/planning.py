"""One iteration of the cross-entropy method as PETS plans on mbrl-lib's cart-pole: ours against mbrl-lib's.

    python -m benchmarks.planning

Arms alternate, each in a process of its own with the same number of threads; matrix products run in the same
rounds to find the machine's peak. About two minutes. Without `python -m benchmarks.peers.install` before it, add
--no-peers.
"""

import argparse
import dataclasses

from . import arms, options, work
from .record import Recorder

PROPAGATION = {"TS-infinity": "TSinf", "TS1": "TS1"}


def own_arms(task: work.Planning) -> list[arms.Arm]:
    """TS-infinity and TS1, with the default common noise and without it."""
    found = []
    for label, propagation in PROPAGATION.items():
        for common in (True, False):
            name = f"ours, {label}" + ("" if common else ", own noise per candidate")
            chosen = {"propagation": propagation, "common_noise": common}
            found.append(arms.Arm(name, arms.ours(name), "planning", dataclasses.asdict(task), task.flop, chosen))
    first = found[0]
    tuned = arms.ours("ours tuned", **work.MALLOC_TUNED)
    return [*found, dataclasses.replace(first, name=f"{first.name}, malloc tuned", process=tuned)]


def all_arms(given: argparse.Namespace, task: work.Planning) -> list[arms.Arm]:
    """Ours, the peer's and the peak's."""
    venv = None if given.no_peers else given.venv
    peers = [] if venv is None else arms.mbrl_lib(venv, "planning", dataclasses.asdict(task), task.flop)
    return [*own_arms(task), *peers, *arms.peak_arms(venv)]


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "planning"))
    parser.add_argument("--rounds", type=options.positive, default=9, help="timings of each arm (%(default)s)")
    parser.add_argument("--population", type=options.positive, default=350, help="candidates (%(default)s)")
    parser.add_argument("--horizon", type=options.positive, default=15, help="imagined steps (%(default)s)")
    given = parser.parse_args(argv)
    task = work.Planning(population=given.population, horizon=given.horizon)
    settings = {"threads": given.threads, "rounds": given.rounds, "task": dataclasses.asdict(task)}
    recorder = Recorder(given.out, benchmark="planning", settings=settings, quiet=given.quiet)
    arms.alternate(recorder, all_arms(given, task), rounds=given.rounds, threads=given.threads)
    recorder.say(f"wrote {given.out}; `python -m benchmarks.tables` brings docs/speed.md up to date")


if __name__ == "__main__":
    main()
