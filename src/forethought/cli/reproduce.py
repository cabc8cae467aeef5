"""`forethought reproduce CARD`."""

import contextlib
import dataclasses
import subprocess
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..cards import Arm, Card, find
from ..catalogue import AGENTS
from ..errors import UserError
from ..presets.bounds import Seed, Within, check_seeds
from ..presets.values import to_dict
from . import machine, tables
from .common import Anywhere, Machine, Switch
from .parse import option_names, parse

MOST_ROWS = 1000  # of episodes, and of updates, in a raw file

HELP = """Run a result card and say whether it passes: the card's preset on its environment, one seed after another,
or side by side where the card says so. Seeds that are finished in --out are not run again; one that was stopped goes
on. Exit code 0 passed, 1 not.

Example:
  forethought reproduce pets/cartpole --seed 3 --num-seeds 1 --out my-reproduction"""


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Options of `reproduce`."""

    card: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CARD")]
    """Name of a card (`forethought list cards`)."""
    seed: Seed = 0
    """The first seed."""
    num_seeds: Annotated[int, Within(1, 100_000)] | None = None
    """How many seeds of each arm; default: as many as the card has, or one if --seed is given."""
    out: Path | None = None
    """Folder for one JSON file of raw curves per seed, and the runs; default: reproduced/CARD."""
    quiet: Switch = False
    """Show no progress."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Reproduce)


def run(argv: list[str]) -> int:
    """Prints the final return of every run and the verdict; 0 passed, 1 not passed."""
    options = parse(Reproduce, argv, command="reproduce", help=HELP)
    card = find(options.card)
    count = options.num_seeds
    if count is None:
        count = 1 if any(word.partition("=")[0] == "--seed" for word in argv) else _all_seeds(card)
    check_seeds(options.seed, count)
    machine.prepare(options.machine.threads, options.machine.device)
    out = options.out or Path("reproduced") / card.name.replace("/", "-")
    results: dict[str, dict[int, dict[str, Any]]] = {arm.name: {} for arm in card.arms}
    # Seed by seed, so that a run that is stopped early has all arms of what it has.
    for seed, side_by_side in groups(card, options.seed, count):
        for arm in card.arms:
            arm = dataclasses.replace(arm, run=dataclasses.replace(arm.run, seed=seed, num_seeds=side_by_side))
            raw = _one(card, arm, out, options, argv)
            if isinstance(raw, int):
                tables.note(f"stopped; the same command goes on: forethought reproduce {' '.join(argv)}")
                return raw
            results[arm.name][seed] = raw
    return _verdict(card, results, out)


def groups(card: Card, first: int, count: int) -> list[tuple[int, int]]:
    """The runs of each arm for `count` seeds from `first` on: the first seed of each, and how many go side by side."""
    most = card.arms[0].run.num_seeds
    return [(seed, min(most, first + count - seed)) for seed in range(first, first + count, most)]


def _all_seeds(card: Card) -> int:
    """How many seeds of each arm the card has."""
    return card.seeds * card.arms[0].run.num_seeds


def _one(card: Card, arm: Arm, out: Path, options: Reproduce, argv: list[str]) -> dict[str, Any] | int:
    """The raw file of one run, which is run, resumed or found finished; the exit code if it was stopped."""
    from .. import api
    from .seeds import stopped_code

    seed = arm.run.seed
    path = out / "runs" / arm.name / f"seed-{seed}"
    wanted = dataclasses.replace(arm.run, threads=options.machine.threads, device=options.machine.device)
    agent = arm.agent or card.agent
    config, commit = AGENTS[agent].preset(arm.preset), _commit()
    if (path / "run.json").is_file():
        run = api.load_run(path)
        _check_same(card, agent, run, wanted, config)
        if run.status == "finished":
            commit = run.folder.record.get("commit")
        else:
            run = api.resume(path, quiet=options.quiet)
    else:
        command = ["forethought", "reproduce", *argv]
        run = api.train(agent, card.env, preset=arm.preset, run=wanted, out=path, quiet=options.quiet, argv=command)
    if run.status != "finished":
        return stopped_code(run)
    run.folder.update_record(commit=commit)
    return _raw(card, arm, run, out / arm.name / f"seed-{seed}.json")


def _check_same(card: Card, agent: str, run: Any, wanted: Any, config: Any) -> None:
    """Raises UserError if a run in the way has other settings than the card's."""
    ignored = ("threads", "device")
    same = lambda options: {k: v for k, v in to_dict(options).items() if k not in ignored}
    record = run.folder.record
    found = (record["agent"], record["env"], to_dict(run.setup.config), same(_recorded(record)))
    if found != (agent, card.env, to_dict(config), same(wanted)):
        raise UserError(f"{run.path} holds a run of other settings than card {card.name}; give another --out")


def _recorded(record: dict[str, Any]) -> Any:
    from ..presets.run import RunConfig
    from ..presets.values import from_dict

    return from_dict(RunConfig, record["run"], "run")


def _raw(card: Card, arm: Arm, run: Any, path: Path) -> dict[str, Any]:
    """The raw curves of one run with all that is needed to judge them, as written to `path`."""
    from ..storage.files import replacing
    from ..storage.records import dumps, loads

    record = run.folder.record
    if path.is_file():
        with contextlib.suppress(ValueError):  # damaged: written again
            written = loads(path.read_bytes())
            if isinstance(written, dict) and written.get("created") == record["created"]:
                return written
    rows = run.metrics()
    kept = {
        "card": card.name,
        "arm": arm.name,
        **{name: record[name] for name in ("agent", "env", "preset", "seed", "given", "config", "run", "total_steps")},
        "final_return": run.final_return,
    }
    if card.model_errors and not arm.run.oracle:
        from .model_errors import model_errors

        kept |= model_errors(run, episodes=arm.run.final_episodes)
    if card.ends:
        from .end_points import end_points

        kept |= end_points(run, episodes=arm.run.final_episodes)
    if card.play:
        from .measured_play import measured_play

        kept |= measured_play(run, card.play, games=arm.run.final_episodes)
    most = MOST_ROWS
    if card.counted_episodes is not None:
        from .training_curves import training_curves

        kept |= training_curves(run, card.counted_episodes)
        most = arm.run.num_seeds  # the rows of single episodes say nothing more
    if card.balanced_steps:
        from .measured_trials import measured_trials

        kept |= measured_trials(run, card.balanced_steps, episodes=arm.run.final_episodes)
    kept |= {
        "wall_s": rows[-1]["wall_s"],
        **{name: record[name] for name in ("hardware", "versions", "commit", "created", "command")},
    }
    lines = [f"  {dumps(name)}: {dumps(value)}" for name, value in kept.items()]
    listed = [dumps(row) for row in thinned(rows, most)]
    text = "{\n" + ",\n".join(lines) + ',\n  "rows": [\n    ' + ",\n    ".join(listed) + "\n  ]\n}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())
    return loads(text)


def thinned(rows: list[dict[str, Any]], most: int = MOST_ROWS) -> list[dict[str, Any]]:
    """All evaluations, and of the episodes and updates every so-manieth, the last one included: `most` of each."""
    every = {kind: -(-sum(row["kind"] == kind for row in rows) // most) or 1 for kind in ("episode", "update")}
    kept, seen = [], dict.fromkeys(every, 0)
    for row in reversed(rows):
        kind = row["kind"]
        if kind == "eval" or (kind in every and seen[kind] % every[kind] == 0):
            kept.append(row)
        if kind in every:
            seen[kind] += 1
    return kept[::-1]


def _commit() -> str | None:
    """The commit of the code that runs, and whether its files differ from it; None outside its repository."""
    here = Path(__file__).parents[1]

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True)

    try:
        if git("ls-files", "--error-unmatch", "version.py").returncode:
            return None
        changed = git("diff", "--quiet", "HEAD", "--", ".").returncode
        return git("rev-parse", "HEAD").stdout.strip() + (" with changes" if changed else "")
    except OSError:  # no git here
        return None


def _verdict(card: Card, results: dict[str, dict[int, dict[str, Any]]], out: Path) -> int:
    several, measured = len(card.arms) > 1, card.model_errors
    header = [*(["arm"] if several else []), "seed", "final return"]
    header += ["held-out error", "error where it goes"] if measured else []
    rows = []
    for arm, runs in results.items():
        for seed, raw in runs.items():
            row = [*([arm] if several else []), str(seed), f"{raw['final_return']:.1f}"]
            errors = [f"{raw[name]:.4f}" if name in raw else "" for name in ("holdout_error", "visited_error")]
            rows.append(row + errors if measured else row)
    tables.show(header, rows)
    passed = True
    for mark in card.marks:
        value = mark.measure(results)
        passed &= mark.passed(value)
        bound = f"{'at most ' if mark.at_most else ''}{tables.number(mark.bound)}"
        sign = "" if mark.passed(value) else ": missed"
        print(f"{mark.what} {tables.number(value)}, mark {bound} ({mark.reason}){sign}")
    count = sum(raw["run"]["num_seeds"] for raw in results[card.arms[0].name].values())
    seeds = f"over {count} seed{'s' * (count > 1)}"
    if count < _all_seeds(card):
        seeds += f", fewer than the card's {_all_seeds(card)}"
    print(f"card {card.name}: {'passed' if passed else 'not passed'} {seeds}")
    print(f"raw curves in {out}")
    return 0 if passed else 1
