"""One gradient step of Dreamer v3 (world model, imagination, actor and critic): ours against sheeprl's.

    python -m benchmarks.dreaming

At the sizes of our preset `tiny` and of the published 1m on vectors, and of 1m on 64 x 64 pictures: the same networks,
batch and length on both sides, down to the number of weights. Arms alternate, each in a process of its own with the
same number of threads; matrix products run in the same rounds to find the machine's peak. Without
`python -m benchmarks.peers.install` before it, add --no-peers.
"""

import argparse
import dataclasses
import sys
from typing import Any

from . import arms, options, work
from .record import Recorder


def all_arms(given: argparse.Namespace, tasks: dict[str, work.Dreaming]) -> list[arms.Arm]:
    """Ours and the peer's at every size, and the peak's."""
    venv = None if given.no_peers else given.venv
    found = []
    for label, task in tasks.items():
        arm = lambda name, process, task=task, **chosen: arms.Arm(
            name, process, "dreaming", dataclasses.asdict(task), task.flop, chosen
        )
        found.append(arm(f"ours, {label}", arms.ours(f"ours, {label}")))
        if venv is None:
            continue
        for name, chosen in (("sheeprl", {}), ("sheeprl, compiled", {"compiled": True})):
            process = arms.sheeprl(f"{name}, {label}", venv)
            if not chosen or label in given.compiled:
                found.append(arm(f"{name}, {label}", process, **chosen))
    return found + arms.peak_arms(venv)


def check_weights(found: dict[str, Any]) -> None:
    """Exits if two arms that are counted as the same work do not have the same number of weights."""
    networks: dict[int, tuple[str, int]] = {}
    for name, arm in found.items():
        if "parameters" in arm:
            other, weights = networks.setdefault(arm["flop"], (name, arm["parameters"]))
            if weights != arm["parameters"]:
                sys.exit(f"not the same networks: {other} has {weights} weights, {name} {arm['parameters']}")


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "dreaming"))
    parser.add_argument("--rounds", type=options.positive, default=9, help="timings of each arm (%(default)s)")
    names = list(work.DREAMING)
    parser.add_argument("--sizes", nargs="+", choices=names, default=names, help="which (%(default)s)")
    parser.add_argument(
        "--compiled",
        nargs="+",
        choices=names,
        default=[],
        help="sizes at which sheeprl also runs with its algo.compile",
    )
    given = parser.parse_args(argv)
    tasks = {name: work.DREAMING[name] for name in given.sizes}
    settings = {"threads": given.threads, "rounds": given.rounds}
    recorder = Recorder(given.out, benchmark="dreaming", settings=settings, quiet=given.quiet)
    found = arms.alternate(recorder, all_arms(given, tasks), rounds=given.rounds, threads=given.threads)
    check_weights(found)
    recorder.say(f"wrote {given.out}; `python -m benchmarks.tables` brings docs/speed.md up to date")


if __name__ == "__main__":
    main()
