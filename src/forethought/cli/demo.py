"""`forethought demo`: the main job in one command, sized for two cores."""

import dataclasses
import os
from pathlib import Path

from ..cards import ORACLES, find
from ..presets.bounds import Seed
from ..presets.run import RunConfig
from ..text import percent
from . import machine, tables
from .common import Anywhere, Machine, Switch
from .parse import option_names, parse

CARD = "pets/cartpole"
SETTINGS = RunConfig(steps=2000, seed=0, eval_every=500, eval_episodes=1, final_episodes=5)
HELP = """Train PETS on the cart-pole and show what comes out: final score, report, learning curve, video.
Takes a few minutes.

Example:
  forethought demo"""


@dataclasses.dataclass(frozen=True)
class Demo:
    """Options of `demo`."""

    steps: int = SETTINGS.steps
    """Environment steps to train for."""
    seed: Seed = SETTINGS.seed
    """Seed of everything random."""
    out: Path | None = None
    """Folder of the run; default: runs/pets-pets-cartpole-DATE-TIME."""
    quiet: Switch = False
    """Show no progress."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Demo)


def run(argv: list[str]) -> int:
    """Trains; prints the score beside the oracle's, the paths, and how to go on."""
    options = parse(Demo, argv, command="demo", help=HELP)
    machine.prepare(options.machine.threads, options.machine.device)
    from .. import api
    from .seeds import stopped_code

    card = find(CARD)
    settings = dataclasses.replace(
        SETTINGS,
        steps=options.steps,
        seed=options.seed,
        threads=options.machine.threads,
        device=options.machine.device,
    )
    command = ["forethought", "demo", *argv]
    trained = api.train(
        card.agent,
        card.env,
        preset=card.arms[0].preset,
        run=settings,
        out=options.out,
        quiet=options.quiet,
        argv=command,
    )
    if trained.status == "finished":
        _show(trained)
    return stopped_code(trained)


def _show(run) -> None:
    card, oracle = find(CARD), ORACLES[find(CARD).env].mean_return
    score = run.final_return
    path = os.path.relpath(run.path)
    print()
    print(
        f"final return {score:.1f}, oracle {oracle:.1f} (a planner that knows the true dynamics): "
        f"{percent(score / oracle)}"
    )
    episodes = card.arms[0].run.final_episodes
    print(
        f"(mean of {SETTINGS.final_episodes} episodes, one seed; the card {card.name} takes {episodes} episodes and "
        f"the median of {card.seeds} seeds)"
    )
    shown = run.shown
    if shown is not None:
        tables.show_model(shown)
        for what, found in (("report", shown.report), ("curve", shown.curve), ("video", shown.video)):
            if found is not None:
                print(f"{what:<7} {os.path.relpath(found)}")
    print(f"run     {path}")
    if shown is not None and shown.outcome:
        print(f"outcome {shown.outcome}")
    print()
    print("Go on with:")
    print(f"  forethought evaluate {path} --episodes 20")
    print("  forethought train pets Pendulum-v1 --steps 4000")
    print(f"  forethought reproduce {card.name} --seed 1")
