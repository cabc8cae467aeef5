"""`forethought reproduce CARD`."""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..cards import Card, find
from ..catalogue import AGENTS
from ..errors import UserError
from ..presets.values import to_dict
from . import machine, tables
from .common import Anywhere, Machine, Switch
from .parse import option_names, parse

HELP = """Run a result card and say whether it passes: the card's preset on its environment, one seed after another.
Seeds that are finished in --out are not run again; one that was stopped goes on. Exit code 0 passed, 1 not.

Example:
  forethought reproduce pets/cartpole --seed 3 --num-seeds 1 --out my-reproduction"""


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Options of `reproduce`."""

    card: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CARD")]
    """Name of a card (`forethought list cards`)."""
    seed: int = 0
    """The first seed."""
    num_seeds: int | None = None
    """How many seeds; default: as many as the card has, or one if --seed is given."""
    out: Path | None = None
    """Folder for one JSON file of raw curves per seed, and the runs; default: reproduced/CARD."""
    quiet: Switch = False
    """Show no progress."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Reproduce)


def run(argv: list[str]) -> int:
    """Prints the final return of every seed and the verdict; 0 passed, 1 not passed."""
    options = parse(Reproduce, argv, command="reproduce", help=HELP)
    card = find(options.card)
    count = options.num_seeds
    if count is None:
        count = 1 if any(word.partition("=")[0] == "--seed" for word in argv) else card.seeds
    if count < 1 or options.seed < 0:
        raise UserError(f"seed={options.seed} must be at least 0 and num-seeds={count} at least 1")
    machine.prepare(options.machine.threads, options.machine.device)
    out = options.out or Path("reproduced") / card.name.replace("/", "-")
    finals: dict[int, float] = {}
    for seed in range(options.seed, options.seed + count):
        final = _one(card, seed, out, options, argv)
        if final is None:
            tables.note(f"stopped; the same command goes on: forethought reproduce {' '.join(argv)}")
            return 0
        finals[seed] = final
    return _verdict(card, finals, out)


def _one(card: Card, seed: int, out: Path, options: Reproduce, argv: list[str]) -> float | None:
    """The final return of one seed, run, resumed or found finished; None if it was stopped."""
    from .. import api

    path = out / "runs" / f"seed-{seed}"
    wanted = dataclasses.replace(card.run, seed=seed, threads=options.machine.threads, device=options.machine.device)
    config = AGENTS[card.agent].preset(card.preset)
    if (path / "run.json").is_file():
        run = api.load_run(path)
        _check_same(card, run, wanted, config)
        if run.status != "finished":
            run = api.resume(path, quiet=options.quiet)
    else:
        command = ["forethought", "reproduce", *argv]
        run = api.train(
            card.agent, card.env, preset=card.preset, run=wanted, out=path, quiet=options.quiet, argv=command
        )
    if run.status != "finished":
        return None
    _write_raw(card, run, out / f"seed-{seed}.json")
    return run.final_return


def _check_same(card: Card, run: Any, wanted: Any, config: Any) -> None:
    """Raises UserError if a run in the way has other settings than the card's."""
    ignored = ("threads", "device")
    same = lambda options: {k: v for k, v in to_dict(options).items() if k not in ignored}
    record = run.folder.record
    found = (record["agent"], record["env"], to_dict(run.setup.config), same(_recorded(record)))
    if found != (card.agent, card.env, to_dict(config), same(wanted)):
        raise UserError(f"{run.path} holds a run of other settings than card {card.name}; give another --out")


def _recorded(record: dict[str, Any]) -> Any:
    from ..presets.run import RunConfig
    from ..presets.values import from_dict

    return from_dict(RunConfig, record["run"], "run")


def _write_raw(card: Card, run: Any, path: Path) -> None:
    """The raw curves of one seed, with all that is needed to judge them."""
    from ..storage.files import replacing
    from ..storage.records import plain

    record = run.folder.record
    rows = run.metrics()
    kept = {
        "card": card.name,
        **{name: record[name] for name in ("agent", "env", "preset", "seed", "given", "config", "run", "total_steps")},
        "final_return": run.final_return,
        "wall_s": rows[-1]["wall_s"],
        "hardware": record["hardware"],
        "versions": record["versions"],
        "created": record["created"],
        "command": record["command"],
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(value, default=plain)}" for name, value in kept.items()]
    listed = [f"    {json.dumps(row, default=plain)}" for row in rows if row["kind"] in ("episode", "update", "eval")]
    text = "{\n" + ",\n".join(lines) + ',\n  "rows": [\n' + ",\n".join(listed) + "\n  ]\n}\n"
    with replacing(path) as file:
        file.write(text.encode())


def _verdict(card: Card, finals: dict[int, float], out: Path) -> int:
    median = statistics.median(finals.values())
    passed = median >= card.mark
    tables.show(["seed", "final return"], [[str(seed), f"{value:.1f}"] for seed, value in finals.items()])
    print(f"median {median:.1f}, mark {card.mark:.1f} ({card.mark_reason})")
    seeds = f"over {len(finals)} seed{'s' * (len(finals) > 1)}"
    if len(finals) < card.seeds:
        seeds += f", fewer than the card's {card.seeds}"
    print(f"card {card.name}: {'passed' if passed else 'not passed'} {seeds}")
    print(f"raw curves in {out}")
    return 0 if passed else 1
