"""`forethought list`."""

import dataclasses
from typing import Annotated

import tyro

from ..cards import CARDS
from ..catalogue import AGENTS
from ..errors import UserError, nearest
from . import machine, tables
from .common import Switch
from .parse import option_names, parse

WHATS = ("agents", "envs", "presets", "cards")
NOTES = (
    "behind an id: -pixels[-SIZE][-grey]            seen as pictures (ours but catch, Gymnasium, dm_control)",
    "              -pixels[-SIZE][-grey]-velocity   pictures and, beside them, the velocities (ours but catch)",
    "              -no-velocity                     seen without the velocities (ours but catch)",
    "yours:        package.module:EnvClass",
)
HELP = """What there is: agents, envs, presets, cards; all of them if none is named.

Example:
  forethought list presets"""


@dataclasses.dataclass(frozen=True)
class List:
    """Options of `list`."""

    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WHAT")] = "all"
    """agents, envs, presets or cards."""
    debug: Switch = False
    """Show the traceback of an error."""


def option_list() -> list[str]:
    """Long options."""
    return option_names(List)


def run(argv: list[str]) -> int:
    """Prints a table of each kind."""
    what = parse(List, argv, command="list", help=HELP).what
    if what not in (*WHATS, "all"):
        raise UserError(f"there is no list of {what!r}; {nearest(what, list(WHATS))}")
    shown = {"agents": _agents, "envs": _envs, "presets": _presets, "cards": _cards}
    for i, name in enumerate(WHATS if what == "all" else [what]):
        if i:
            print()
        shown[name]()
    return 0


def _agents() -> None:
    tables.show(["agent", "what it is"], [[name, entry.summary] for name, entry in AGENTS.items()])


def _envs() -> None:
    machine.prepare()
    from ..envs.make import list_envs

    rows = [[family, name] for family, names in list_envs().items() for name in names]
    tables.show(["family", "environment"], rows)
    print("\n".join(NOTES))


def _presets() -> None:
    rows = [[agent, name, _settings(config)] for agent, e in AGENTS.items() for name, config in e.presets.items()]
    tables.show(["agent", "preset", "settings"], rows)


def _settings(config: object) -> str:
    """The sizes that tell presets apart."""
    model, planner = getattr(config, "model", None), getattr(config, "planner", None)
    if model is not None and hasattr(model, "deter"):
        return f"{model.deter} recurrent units, {model.latent} latent"
    network, simulations = getattr(config, "network", None), getattr(config, "simulations", None)
    if network is not None and simulations is not None:
        wide, deep = ("channels", "blocks") if network.kind == "resnet" else ("units", "layers")
        size = f"{network.kind} of {getattr(network, wide)} {wide} and {getattr(network, deep)} {deep}"
        return f"{simulations} simulations, {size}"
    if model is None or planner is None:
        return ""
    width = "x".join(map(str, model.hidden))
    return (
        f"{model.num_members} x {width} network{'s' * (model.num_members > 1)}, {model.particles} particles; "
        f"{planner.kind} {planner.population} x {planner.iterations}, horizon {planner.horizon}"
    )


def _cards() -> None:
    rows = []
    for card in CARDS.values():
        steps = f"{max(arm.run.steps for arm in card.arms):,}"
        first = card.marks[0]
        marks = f"{first.what} {first.bound:.1f}" if len(card.marks) == 1 else f"{len(card.marks)} marks"
        rows.append([card.name, card.agent, card.env, steps, str(card.seeds), marks])
    tables.show(["card", "agent", "environment", "steps", "seeds", "mark"], rows)
