"""Gradient steps of soft actor-critic (actor, two critics, temperature): ours, stable-baselines3's and mbrl-lib's.

    python -m benchmarks.sac_updates

At HalfCheetah's sizes with batch 256, for networks of 2 x 256 and of 2 x 512: the same number of weights on every side,
which is checked. Arms alternate, each in a process of its own with the same number of threads; matrix products run in
the same rounds to find the machine's peak. `python -m benchmarks.peers.install` before it.
"""

import argparse
import dataclasses

from . import arms, options, work
from .dreaming import check_weights
from .record import Recorder


def all_arms(given: argparse.Namespace, tasks: dict[str, work.SacUpdates]) -> list[arms.Arm]:
    """Ours and the peers' at every size, and the peak's."""
    venv = None if given.no_peers else given.venv
    found = []
    for label, task in tasks.items():
        wanted = ("sac_updates", dataclasses.asdict(task), task.flop)
        every = [arms.Arm("ours", arms.ours("ours"), *wanted)]
        if venv is not None:
            every.append(arms.Arm("stable-baselines3", arms.sb3("stable-baselines3", venv), *wanted))
            every += arms.mbrl_lib(venv, *wanted)
        found += [arms.labelled(arm, label) for arm in every]
    return found + arms.peak_arms(venv)


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "sac_updates"))
    parser.add_argument("--rounds", type=options.positive, default=9, help="timings of each arm (%(default)s)")
    parser.add_argument("--steps", type=options.positive, help="gradient steps of a timing, instead of 50")
    given = parser.parse_args(argv)
    tasks = work.SAC_UPDATES
    if given.steps is not None:
        tasks = {label: dataclasses.replace(task, steps=given.steps) for label, task in tasks.items()}
    settings = {"threads": given.threads, "rounds": given.rounds}
    recorder = Recorder(given.out, benchmark="sac_updates", settings=settings, quiet=given.quiet)
    found = arms.alternate(recorder, all_arms(given, tasks), rounds=given.rounds, threads=given.threads)
    check_weights(found)
    recorder.say(f"wrote {given.out}")


if __name__ == "__main__":
    main()
