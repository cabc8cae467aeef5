"""`forethought evaluate RUN`."""

import dataclasses

from ..errors import UserError
from ..presets.bounds import Natural, Positive, Seed
from ..storage.files import own
from . import machine, tables
from .common import Anywhere, Machine, RunPath, Switch
from .parse import option_names, parse

HELP = """Play episodes with the policy of a run, without exploration. They start where the run's own evaluations do;
other starts are drawn with --start-seed.

Example:
  forethought evaluate runs/first --episodes 20 --best"""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Options of `evaluate`."""

    run: RunPath
    """Folder of a run, or of a group of them."""
    episodes: int = 10
    """Episodes per seed."""
    best: Switch = False
    """The checkpoint with the best evaluation instead of the last one."""
    seed: Seed | None = None
    """Which seed of a run that has several; default: all."""
    start_seed: Seed | None = None
    """Draw other first states than those of the run's own evaluations."""
    recalibrated: Switch = False
    """Plan in the model as `forethought doctor RUN` has recalibrated it."""
    plan_ms: Positive | None = None
    """Milliseconds of wall-clock per action: plan until the time is up."""
    simulations: Natural | None = None
    """[alphazero, expert-iteration] Simulations of each search; 0: the network alone."""
    opponent: str | None = None
    """[Games of two] Whom to play against: random, or uct-N; default: as in training."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Evaluate)


def run(argv: list[str]) -> int:
    """Prints one row per seed, and their mean."""
    options = parse(Evaluate, argv, command="evaluate", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from ..storage.run_folder import open_runs

    rows, means = [], []
    for folder in open_runs(options.run):
        seeds = range(folder.record["seed"], folder.record["seed"] + folder.record["num_seeds"])
        chosen = seeds if options.seed is None else [s for s in seeds if s == options.seed]
        for seed in chosen:
            row, mean = _one(folder.path, seed, options)
            rows.append(row)
            means.append(mean)
    if not rows:
        raise UserError(f"seed={options.seed} is not in {options.run}; leave out --seed to evaluate all it has")
    tables.show(["seed", "episodes", "mean return", "std", "lowest", "highest", "mean length"], rows)
    if len(means) > 1:
        print(f"mean over {len(means)} seeds: {tables.number(sum(means) / len(means))}")
    return 0


def _one(path, seed: int, options: Evaluate) -> tuple[list[str], float]:
    """The table's row of one seed, and its mean return."""
    import jax.random as jr
    import numpy as np

    from .. import api
    from ..checkup import plan_recalibrated
    from ..display import Display
    from ..refusals import check_opponent
    from ..run.host_evaluate import HostEvaluator
    from ..setup import searching

    run = api.load_run(path)
    state = run.agent_state(which="best" if options.best else "last", seed=seed)
    for text in run.notes:
        tables.note(text)
    setup = run.setup
    if options.plan_ms is not None:
        setup = dataclasses.replace(setup, run=dataclasses.replace(setup.run, plan_ms=options.plan_ms))
    if options.simulations is not None:
        setup = searching(setup, options.simulations)
    if options.opponent is not None:
        check_opponent(setup.env, options.opponent, asked=True)
        setup = dataclasses.replace(setup, run=dataclasses.replace(setup.run, opponent=options.opponent))
    if options.recalibrated:
        words = ["forethought doctor", str(path), *(["--best"] if options.best else [])]
        words += ["--seed", str(seed)] if setup.run.num_seeds > 1 else []
        file = own(path, "doctor", "recalibration.npz")
        setup, state = plan_recalibrated(setup, state, file, source=str(path), seed=seed, again=" ".join(words))
    evaluator = setup.evaluator(options.episodes)
    key = jr.key(seed if options.start_seed is None else options.start_seed)
    with Display() as display:
        found = display.watched(evaluator.steps(state, key=key), f"playing {options.episodes} episodes of seed {seed}")
    if isinstance(evaluator, HostEvaluator) and evaluator.actor.plan_ms is not None:
        tables.note(evaluator.actor.latency.sentence())
    returns = np.asarray(found.returns, np.float64)
    spread = returns.std(ddof=1) if len(returns) > 1 else np.nan  # as in the report
    values = (returns.mean(), spread, returns.min(), returns.max(), np.mean(found.lengths))
    return [str(seed), str(len(returns)), *(tables.number(float(v)) for v in values)], float(returns.mean())
