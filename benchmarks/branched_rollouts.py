"""Steps of branched rollouts through an ensemble, as MBPO makes them on HalfCheetah: ours and mbrl-lib's.

    python -m benchmarks.branched_rollouts

From 100,000 states of a replay, one step each by a policy of 2 x 512 through seven networks of 4 x 200 (five elites)
that predict reward too, and into the replay that SAC learns from. Arms alternate, each in a process of its own with the
same number of threads; matrix products run in the same rounds to find the machine's peak.
`python -m benchmarks.peers.install` before it.
"""

import argparse
import dataclasses

from . import arms, options, work
from .record import Recorder


def all_arms(given: argparse.Namespace, task: work.BranchedRollouts) -> list[arms.Arm]:
    """Ours, the peer's and the peak's."""
    venv = None if given.no_peers else given.venv
    wanted = ("branched_rollouts", dataclasses.asdict(task), task.flop)
    ours = arms.Arm("ours", arms.ours("ours"), *wanted)
    peers = [] if venv is None else arms.mbrl_lib(venv, *wanted)
    return [ours, *peers, *arms.peak_arms(venv)]


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    default = work.BranchedRollouts()
    parser = options.with_peers(options.parser(__doc__, "branched_rollouts"))
    parser.add_argument("--rounds", type=options.positive, default=9, help="timings of each arm (%(default)s)")
    parser.add_argument("--starts", type=options.positive, default=default.starts, help="rollouts (%(default)s)")
    parser.add_argument("--horizon", type=options.positive, default=default.horizon, help="their steps (%(default)s)")
    given = parser.parse_args(argv)
    task = dataclasses.replace(default, starts=given.starts, horizon=given.horizon)
    settings = {"threads": given.threads, "rounds": given.rounds, "task": dataclasses.asdict(task)}
    recorder = Recorder(given.out, benchmark="branched_rollouts", settings=settings, quiet=given.quiet)
    arms.alternate(recorder, all_arms(given, task), rounds=given.rounds, threads=given.threads)
    recorder.say(f"wrote {given.out}")


if __name__ == "__main__":
    main()
