"""The `forethought` command. Nothing here imports JAX: a command's module is loaded when the command is chosen."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..errors import UserError, nearest
from .interrupts import INTERRUPTED, Interrupts

INTERNAL, PIPE_CLOSED = 70, 141


@dataclasses.dataclass(frozen=True)
class Command:
    """One sub-command: its module has `run(argv) -> exit code` and `options() -> list of long options`."""

    group: str
    usage: str
    summary: str
    module: str


COMMANDS: dict[str, Command] = {
    "train": Command("Learn", "AGENT ENV", "train an agent in an environment", "train"),
    "resume": Command("Learn", "RUN", "go on with a run that was stopped", "resume"),
    "fit": Command("Learn", "DATA", "fit a model to logged transitions, no environment needed", "fit"),
    "evaluate": Command("Look", "RUN", "play episodes with a trained policy", "evaluate"),
    "play": Command("Look", "RUN", "play a game against a trained agent, in the terminal", "play"),
    "ladder": Command("Look", "RUN", "rate an agent against its own earlier stages (games)", "ladder"),
    "doctor": Command("Look", "RUN|MODEL", "examine the model, and find what is wrong with it or its data", "doctor"),
    "plot": Command("Look", "RUN...", "draw and compare learning curves", "plot"),
    "report": Command("Look", "RUN", "write the run's HTML page again", "report"),
    "video": Command("Look", "RUN", "film an episode of the policy", "video"),
    "export": Command("Use", "RUN", "write the policy alone, with a loop that runs it", "export"),
    "check-env": Command("Check", "ENV", "play random steps and say what would hurt an agent", "check_env"),
    "reproduce": Command("Check", "CARD", "run a result card and say whether it passes", "reproduce"),
    "demo": Command("Find", "", "train PETS on the cart-pole and show what comes out", "demo"),
    "list": Command("Find", "[WHAT]", "agents, environments, presets and cards", "listing"),
    "completion": Command("Find", "SHELL", "print a completion script for bash, zsh or fish", "completion"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: this process's) and returns its exit code.

    0 done, 1 a check did not pass, 2 a mistake in what was asked for, 3 the environment broke, 4 the disk, 5 training
    diverged, 70 an error of ours, 130 interrupted. Mistakes are one line; `--debug` shows the traceback.
    """
    with Interrupts(for_good=argv is None):
        return _guarded(list(sys.argv[1:] if argv is None else argv))


def _guarded(argv: list[str]) -> int:
    """The exit code of a command line; whatever went wrong has been said in one line."""
    debug = "--debug" in argv
    try:
        code = _dispatch([word for word in argv if word != "--debug"])
        sys.stdout.flush()  # so that a closed pipe is met here
        return code
    except SystemExit as stop:  # --help, deep in a parser
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except Exception as error:
        if debug and not isinstance(error, BrokenPipeError):
            raise
        return _told(error)


def _told(error: Exception) -> int:
    """Says in one line what went wrong; the exit code."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if isinstance(error, UserError):
        return _say(f"error: {error}", error.exit_code)
    if isinstance(error, ValueError) and _is_ours(error):
        return _say(f"error: {error}", UserError.exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        return _say(f"error: {error.filename}: {error.strerror}; give another path", UserError.exit_code)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _say(f"internal error: {what[:500]}; run again with --debug for the traceback", INTERNAL)


def _dispatch(argv: list[str]) -> int:
    if argv[:1] in (["--version"], ["-V"]):
        print(f"forethought {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name = argv[0]
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        raise UserError(f"unknown {what} {name!r}; {nearest(name, list(COMMANDS))}")
    module = importlib.import_module(f".{COMMANDS[name].module}", __package__)
    return module.run(argv[1:])


def overview() -> str:
    """The text of `forethought --help`."""
    lines = [
        "Forethought: model-based reinforcement learning in JAX.",
        "",
        "usage: forethought COMMAND ...    (forethought COMMAND --help has its options and an example)",
    ]
    group = ""
    for name, command in COMMANDS.items():
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"]
        lines.append(f"  {f'{name} {command.usage}':<22}{command.summary}")
    return "\n".join(
        [
            *lines,
            "",
            "Examples:",
            "  forethought train pets pets-cartpole --preset cartpole --out runs/first",
            "  forethought evaluate runs/first --episodes 20",
            "",
            "  --version   print the version",
            "  --debug     (any command) show the traceback of an error",
        ]
    )


def _say(text: str, code: int) -> int:
    print("forethought: " + " ".join(text.split()), file=sys.stderr)
    return code


def _is_ours(error: BaseException) -> bool:
    """Whether our own code raised it: an invalid size, found where the part is built."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    home = str(Path(__file__).resolve().parent.parent) + os.sep
    return trace is not None and os.path.realpath(trace.tb_frame.f_code.co_filename).startswith(home)
