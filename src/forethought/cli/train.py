"""`forethought train AGENT ENV`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from ..catalogue import AGENTS, Entry, find
from ..errors import UserError, nearest
from ..presets.run import RunConfig
from ..presets.steps import usual_steps
from ..presets.values import merged
from . import machine
from .common import EnvOptions
from .parse import flat, option_names, parse
from .settings_file import NONE, Settings, read_settings

USAGE = "forethought train AGENT ENV [options]"


def _kind(entry: Entry | None, preset: str, settings: Settings = NONE, agent: str | None = None) -> tuple[type, Any]:
    """The options of an agent, all in one, and their defaults: the preset with what a file of settings changes."""
    import tyro

    @dataclasses.dataclass(frozen=True)
    class TrainOptions:
        preset: str = "default"
        """Settings to start from; every option below changes one of them (`forethought list presets`)."""
        config: Path | None = None
        """File of settings, .json, .toml or .yaml, or the run.json of a run; options on the command line win."""
        out: Path | None = None
        """Folder of the run; default: runs/AGENT-ENV-DATE-TIME."""
        from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
        """Run whose agent is trained on (fine-tuning)."""
        quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
        """Show no progress."""
        debug: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
        """Show the traceback of an error."""

    parts: dict[str, tuple[type, Any]] = {
        "options": (TrainOptions, TrainOptions(preset=preset)),
        "env": (EnvOptions, EnvOptions()),
        "run": (RunConfig, merged(RunConfig(steps=usual_steps(agent or "", preset)), settings.run)),
    }
    if entry is not None:
        parts["config"] = (entry.config_type, merged(entry.preset(preset), settings.config))
    return flat("Train", parts)


def option_list() -> list[str]:
    """Long options of every agent."""
    names = {name: None for entry in AGENTS.values() for name in option_names(_kind(entry, "default")[0])}
    return list(names)


def run(argv: list[str]) -> int:
    """Trains; prints where the results are."""
    agent, env, rest = _names(argv)
    asks_help = bool({"-h", "--help"} & set(argv))
    entry = None if agent is None or ":" in agent else find(agent)
    file = _word_after("--config", rest)
    settings = NONE if file is None or asks_help else read_settings(file, agent, entry)
    preset = _preset(rest, entry, settings.preset or "default")
    kind, default = _kind(entry, preset, settings, agent)
    if asks_help:
        parse(kind, ["--help"], command=f"train {agent or 'AGENT'} {env or 'ENV'}", help=_help(agent), default=default)
    if agent is None or env is None:
        what = "AGENT and ENV are" if agent is None else "ENV is"
        raise UserError(f"{what} missing; {USAGE}; see `forethought list`")
    options = parse(kind, rest, command=f"train {agent} {env}", help=_help(agent), default=default)
    machine.prepare(options.run.threads, options.run.device)
    from .seeds import train_seeds

    return train_seeds(
        agent,
        env,
        preset=preset,
        config=None if entry is None else options.config,
        run=options.run,
        env_kwargs=options.env.arguments,
        out=options.options.out,
        start_from=options.options.from_,
        quiet=options.options.quiet,
        argv=["forethought", "train", *argv],
    )


def _names(argv: list[str]) -> tuple[str | None, str | None, list[str]]:
    """AGENT, ENV and what is left. They stand first, or together where the agent's name is found."""
    start = 0
    if argv[:1] and argv[0].startswith("-"):
        start = next((i for i, word in enumerate(argv) if word in AGENTS), len(argv))
    words: list[str] = []
    for word in argv[start : start + 2]:
        if word.startswith("-"):
            break
        words.append(word)
    rest = argv[:start] + argv[start + len(words) :]
    agent, env = (*words, None, None)[:2]
    return agent, env, rest


def _word_after(option: str, argv: list[str]) -> str | None:
    """The value of an option that must be known before the others are parsed, since it is where they come from."""
    found = None
    for word, following in zip(argv, [*argv[1:], ""]):
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def _preset(argv: list[str], entry: Entry | None, default: str) -> str:
    """The preset that is asked for, on the command line or in the file of settings."""
    asked = _word_after("--preset", argv)
    name = default if asked is None else asked
    if entry is not None:
        entry.preset(name)
    elif name != "default":
        raise UserError(f"--preset {name}: presets belong to the agents that have a name; {nearest(name, ['default'])}")
    return name


def _help(agent: str | None) -> str:
    if agent is None:
        names = "\n".join(f"  {name:<16} {entry.summary}" for name, entry in AGENTS.items())
        return (
            f"Train an agent in an environment.\n\n{USAGE}\n\nAgents (or your own, pkg.mod:fn):\n{names}\n\n"
            "`forethought train AGENT --help` also shows that agent's own options.\n\n"
            "Example:\n  forethought train pets pets-cartpole --preset cartpole --steps 2000 --seed 1"
        )
    presets = ", ".join(AGENTS[agent].presets) if agent in AGENTS else "none"
    return (
        f"Train {agent} in an environment: one of our tasks, a Gymnasium id, dm_control/..., gymnax/..., or your own "
        f"pkg.mod:EnvClass.\n\nPresets: {presets}.\n\n"
        f"Example:\n  forethought train {agent} {AGENTS[agent].example if agent in AGENTS else 'pendulum --steps 2000'}"
    )
