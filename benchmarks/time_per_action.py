"""Time per action of PETS on its cart-pole: our preset, mbrl-lib at its configuration for that task, ours at its sizes.

    python -m benchmarks.time_per_action

Arms alternate, each in a process of its own with the same number of threads. About three minutes. Without
`python -m benchmarks.peers.install` before it, add --no-peers.
"""

import argparse
import dataclasses

from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PRESETS, PETSConfig
from forethought.presets.values import to_dict

from . import arms, options, work
from .record import Recorder

# `cartpole_pets_version` with pets_cartpole_paper_version.yaml, as the package holds it.
THEIRS = PETSConfig(
    model=EnsembleConfig(num_members=7, num_elites=5, hidden=(200,) * 4, particles=20, propagation="TS1"),
    planner=PlannerConfig(horizon=30, population=500, elites=50, iterations=5),
)


def work_of(config: PETSConfig) -> work.Action:
    """How much is imagined for one action; the angle is seen as sine and cosine."""
    model, planner = config.model, config.planner
    members, elites = model.num_members, model.num_elites or model.num_members
    networks = work.Networks(4, 2, model.hidden, members, elites)  # four changes; cosine and action beside the input
    return work.Action(networks, model.particles, planner.population, planner.horizon, planner.iterations)


def all_arms(given: argparse.Namespace, configs: dict[str, PETSConfig]) -> list[arms.Arm]:
    """Ours and the peer's."""
    found = []
    for name, config in configs.items():
        task = work_of(config)
        chosen = {"config": to_dict(config)}
        found.append(arms.Arm(name, arms.ours(name), "action", dataclasses.asdict(task), task.flop, chosen))
    if given.no_peers:
        return found
    task = work_of(THEIRS)
    return found + arms.mbrl_lib(given.venv, "action", dataclasses.asdict(task), task.flop)


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "time_per_action"))
    parser.add_argument("--rounds", type=options.positive, default=5, help="timings of each arm (%(default)s)")
    given = parser.parse_args(argv)
    settings = {"threads": given.threads, "rounds": given.rounds}
    recorder = Recorder(given.out, benchmark="time_per_action", settings=settings, quiet=given.quiet)
    configs = {"ours, preset cartpole": PRESETS["cartpole"], "ours, mbrl-lib's sizes": THEIRS}
    arms.alternate(recorder, all_arms(given, configs), rounds=given.rounds, threads=given.threads)
    recorder.say(f"wrote {given.out}; `python -m benchmarks.tables` brings docs/speed.md up to date")


if __name__ == "__main__":
    main()
