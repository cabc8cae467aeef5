"""`forethought list`."""

import dataclasses
from typing import Annotated

import tyro

from ..cards import CARDS
from ..catalogue import AGENTS
from ..errors import UserError, nearest
from . import machine, tables
from .common import Switch
from .names import GYMNASIUM, OWN_ENVS, newest
from .parse import option_names, parse

WHATS = ("agents", "envs", "presets", "cards")
NOTES = (
    "behind an id: -pixels[-SIZE][-grey]            seen as pictures (ours but catch, Gymnasium, dm_control)",
    "              -pixels[-SIZE][-grey]-velocity   pictures and, beside them, the velocities (ours but catch)",
    "              -no-velocity                     seen without the velocities, as pendulum-no-velocity",
    "others:       dm_control/<domain>-<task>-v0, gymnax/<id>, minatar-<game>, pgx/<game> (`list envs --all-envs`)",
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
    all_envs: Switch = False
    """Also name the tasks of dm_control, gymnax and pgx, which have to be imported for that."""
    debug: Switch = False
    """Show the traceback of an error."""


def option_list() -> list[str]:
    """Long options."""
    return option_names(List)


def run(argv: list[str]) -> int:
    """Prints a table of each kind."""
    options = parse(List, argv, command="list", help=HELP)
    what = options.what
    if what not in (*WHATS, "all"):
        raise UserError(f"there is no list of {what!r}; {nearest(what, list(WHATS))}")
    shown = {"agents": _agents, "envs": _envs, "presets": _presets, "cards": _cards}
    for i, name in enumerate(WHATS if what == "all" else [what]):
        if i:
            print()
        shown[name]()
    if options.all_envs:
        _other_envs()
    return 0


def _agents() -> None:
    tables.show(["agent", "what it is"], [[name, entry.summary] for name, entry in AGENTS.items()])


def _envs() -> None:
    import gymnasium

    rows = [["forethought", name, *spaces] for name, spaces in OWN_ENVS.items()]
    rows += [["gymnasium", name, *GYMNASIUM.get(name, ("", ""))] for name in newest(gymnasium.registry)]
    tables.show(["family", "environment", "observation", "action"], rows)
    print("\n".join(NOTES))


def _other_envs() -> None:
    """Families that take seconds to import."""
    machine.prepare()
    from ..envs.make import list_envs

    found = list_envs()
    rows = [[family, name] for family in found if family not in ("forethought", "gymnasium") for name in found[family]]
    tables.show(["family", "environment"], rows)


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
    counted = lambda count, what: f"{count} {what}{'s' * (count > 1)}"
    return (
        f"{counted(model.num_members, f'x {width} network')}, {counted(model.particles, 'particle')}; "
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
