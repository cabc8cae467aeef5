"""`forethought ladder RUN`."""

import dataclasses
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..presets.bounds import Natural, Pair, Seed
from . import machine, tables
from .common import Anywhere, Machine, RunPath, Switch
from .parse import option_names, parse

HELP = """Let an agent play against what it was at earlier evaluations, against random moves and against the run's
standard opponent, everybody against everybody, and rate them all (Elo; random play is 0).

Example:
  forethought ladder runs/connect-four --stages 6 --games 40"""


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Options of `ladder`."""

    run: RunPath
    """Folder of a run of a game of two."""
    stages: Pair = 8
    """How many of its stages take part, evenly spread over the run."""
    games: Pair = 40
    """Games of each pair, half of them on each side."""
    simulations: Natural | None = None
    """Simulations of each search; 0: the networks alone; default: as in training."""
    opponent: str = "uct-200"
    """Who takes part besides: uct-N, or `random` for nobody else."""
    seed: Seed | None = None
    """Which seed of a run that has several; default: the first."""
    out: Path | None = None
    """The .json to write; default: ladder.json in the run's folder, with a picture among its figures."""
    machine: Anywhere = Machine()
    quiet: Switch = False
    """Print the table only."""


def option_list() -> list[str]:
    """Long options."""
    return option_names(Ladder)


def run(argv: list[str]) -> int:
    """Plays, prints the ratings, writes them and draws them."""
    options = parse(Ladder, argv, command="ladder", help=HELP)
    if options.games % 2:
        raise UserError(f"games={options.games} must be even, half for each side")
    if options.out is not None and options.out.suffix != ".json":
        raise UserError(f"--out {options.out} must end in .json")
    machine.prepare(options.machine.threads, options.machine.device)
    import jax.random as jr

    from .. import api
    from ..core import AbstractGame
    from ..diagnostics.elo import ratings
    from ..diagnostics.ladder_figure import plot_ladder
    from ..room import check_search_room
    from ..run.ladder import climb, spread
    from ..run.matches import AgentPlayer, RandomPlayer
    from ..setup import opponent, searching
    from ..storage.records import write_json

    run = api.load_run(options.run)
    game = run.setup.env
    if not isinstance(game, AbstractGame) or game.num_players != 2:
        raise UserError(f"{options.run} was trained on {run.setup.env_name}, which is no game of two players")
    stages = run.folder.stages()
    if len(stages) < 2:
        raise UserError(
            f"{options.run} has {len(stages)} stages, a ladder needs 2; let it train to its first evaluation "
            "(`--eval-every` above 0)"
        )
    check_search_room(game.spec.action, options.games, name="games", count=run.setup.env.spec.obs_dim)
    setup = run.setup if options.simulations is None else searching(run.setup, options.simulations)
    players: dict[str, Any] = {"random": RandomPlayer(game)}
    if options.opponent != "random":
        players[options.opponent] = opponent(game, options.opponent)
    steps = {f"step {s}": s for s in spread(stages, options.stages)}
    players |= {name: AgentPlayer(setup.agent, run.stage(s, seed=options.seed)) for name, s in steps.items()}
    pairs = len(players) * (len(players) - 1) // 2
    results = []
    for result in climb(game, players, num_games=options.games, key=jr.key(run.setup.run.seed)):
        results.append(result)
        if not options.quiet:
            score = f"{result.wins}-{result.draws}-{result.losses}"
            tables.note(f"{len(results)} of {pairs}: {result.one} against {result.other} {score}")
    found = ratings(results)
    rows = [[r.name, f"{r.elo:.0f}", f"{r.low:.0f} to {r.high:.0f}", str(r.games)] for r in found]
    tables.show(["player", "Elo", "95 % interval", "games"], rows)
    path = options.out or run.path / "ladder.json"
    record = {
        "run": str(options.run),
        "simulations": options.simulations,  # None: as many as it plays with
        "games": options.games,
        "stages": steps,
        "ratings": [r._asdict() for r in found],
        "results": [list(r) for r in results],
    }
    write_json(path, record)
    print(f"ladder  {path}")
    if options.out is None:
        figure = plot_ladder(record, run.folder.figures / "ladder.png")
        run.report()
        print(f"curve   {figure}")
    return 0
