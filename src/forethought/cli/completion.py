"""`forethought completion SHELL`: scripts made of names alone, so that pressing Tab imports nothing."""

import dataclasses
import importlib
import shlex
from typing import Annotated

import tyro

from ..cards import CARDS
from ..catalogue import AGENTS
from ..errors import UserError, nearest
from .common import Switch
from .listing import WHATS
from .main import COMMANDS
from .names import OWN_ENVS, newest
from .parse import option_names, parse

HELP = """Print a completion script: commands, agents, environments, presets, cards and options.

Example:
  source <(forethought completion bash)                                         # in ~/.bashrc
  source <(forethought completion zsh)                                          # in ~/.zshrc
  forethought completion fish > ~/.config/fish/completions/forethought.fish"""


@dataclasses.dataclass(frozen=True)
class Completion:
    """Options of `completion`."""

    shell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHELL")]
    """bash, zsh or fish."""
    debug: Switch = False
    """Show the traceback of an error."""


def option_list() -> list[str]:
    """Long options."""
    return option_names(Completion)


def run(argv: list[str]) -> int:
    """Prints the script."""
    shell = parse(Completion, argv, command="completion", help=HELP).shell
    scripts = {"bash": bash, "zsh": zsh, "fish": fish}
    if shell not in scripts:
        raise UserError(f"there is no completion for {shell!r}; {nearest(shell, list(scripts))}")
    print(scripts[shell](), end="")
    return 0


@dataclasses.dataclass(frozen=True)
class Words:
    """What can stand where."""

    first: dict[str, list[str]]  # by command: the first argument; empty: files
    second: dict[str, list[str]]  # by command: the second argument
    options: dict[str, list[str]]  # by command
    presets: dict[str, list[str]]  # by agent


def words() -> Words:
    """All names, without importing JAX."""
    envs = environments()
    first = {name: [] for name in COMMANDS}
    first |= {"train": list(AGENTS), "check-env": envs, "reproduce": list(CARDS), "list": list(WHATS)}
    first |= {"completion": ["bash", "zsh", "fish"]}
    options = {name: [*_options(name), "--help"] for name in COMMANDS}
    presets = {name: list(entry.presets) for name, entry in AGENTS.items()}
    return Words(first, {"train": envs}, options, presets)


def environments() -> list[str]:
    """Our own tasks and what Gymnasium has registered."""
    import gymnasium

    return [*OWN_ENVS, *newest(name for name in gymnasium.registry if "/" not in name)]


def _options(command: str) -> list[str]:
    return importlib.import_module(f".{COMMANDS[command].module}", __package__).option_list()


def bash() -> str:
    """The script for bash."""
    w = words()
    cases = []
    for name in COMMANDS:
        first, second = " ".join(w.first[name]), " ".join(w.second.get(name, []))
        options = " ".join(w.options[name])
        cases.append(f"    {name}) first={shlex.quote(first)}; second={shlex.quote(second)}; options={options!r} ;;")
    lines = "\n".join(cases)
    presets = "\n".join(f"    {agent}) presets='{' '.join(found)}' ;;" for agent, found in w.presets.items())
    return f"""# bash completion of forethought
_forethought() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" first="" second="" options=""
  local presets="default"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{lines}
  esac
  case "${{COMP_WORDS[2]}}" in
{presets}
  esac
  if [ "$before" = "--preset" ]; then
    COMPREPLY=($(compgen -W "$presets" -- "$current"))
  elif [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  elif [ "$COMP_CWORD" -eq 2 ] && [ -n "$first" ]; then
    COMPREPLY=($(compgen -W "$first" -- "$current"))
  elif [ "$COMP_CWORD" -eq 3 ] && [ -n "$second" ]; then
    COMPREPLY=($(compgen -W "$second" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _forethought forethought
"""


def zsh() -> str:
    """The script for zsh."""
    w = words()
    cases = []
    for name in COMMANDS:
        first, second = " ".join(w.first[name]), " ".join(w.second.get(name, []))
        cases.append(f"    {name}) first=({first}); second=({second}); options=({' '.join(w.options[name])}) ;;")
    lines = "\n".join(cases)
    presets = "\n".join(f"    {agent}) presets=({' '.join(found)}) ;;" for agent, found in w.presets.items())
    described = "\n".join(f"    {shlex.quote(f'{name}:{command.summary}')}" for name, command in COMMANDS.items())
    return f"""#compdef forethought
# zsh completion of forethought
_forethought() {{
  local -a commands first second options presets=(default)
  commands=(
{described}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case "$words[2]" in
{lines}
  esac
  case "$words[3]" in
{presets}
  esac
  if [[ "$words[CURRENT-1]" == --preset ]]; then
    compadd -- $presets
  elif [[ "$PREFIX" == -* ]]; then
    compadd -- $options
  elif (( CURRENT == 3 && $#first )); then
    compadd -- $first
  elif (( CURRENT == 4 && $#second )); then
    compadd -- $second
  else
    _files
  fi
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
compdef _forethought forethought
"""


def fish() -> str:
    """The script for fish."""
    w = words()
    known = " ".join(COMMANDS)
    lines = ["# fish completion of forethought"]
    for name, command in COMMANDS.items():
        text = shlex.quote(command.summary)
        lines.append(f"complete -c forethought -f -n 'not __fish_seen_subcommand_from {known}' -a {name} -d {text}")
    for name in COMMANDS:
        seen = f"__fish_seen_subcommand_from {name}"
        for place, found in ((2, w.first[name]), (3, w.second.get(name, []))):
            if found:
                where = f"{seen}; and test (count (commandline -opc)) -eq {place}"
                lines.append(f"complete -c forethought -f -n '{where}' -a '{' '.join(found)}'")
        for option in w.options[name]:
            if option != "--preset":
                lines.append(f"complete -c forethought -n '{seen}' -l {option[2:]}")
    for agent, found in w.presets.items():
        seen = f"__fish_seen_subcommand_from train; and __fish_seen_subcommand_from {agent}"
        lines.append(f"complete -c forethought -x -n '{seen}' -l preset -a '{' '.join(found)}'")
    return "\n".join(lines) + "\n"
