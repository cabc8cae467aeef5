"""Options that all benchmarks share."""

import argparse
import pathlib

from .peers.install import VENV
from .record import RESULTS


def parser(doc: str | None, name: str) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring; raw figures go to `benchmarks/results/NAME.json`."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", type=pathlib.Path, default=RESULTS / f"{name}.json", help="raw file (%(default)s)")
    made.add_argument("--threads", type=positive, default=2, help="CPU threads of every arm (%(default)s)")
    made.add_argument("--quiet", action="store_true", help="show no progress")
    return made


def with_peers(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the options of benchmarks against other libraries."""
    made.add_argument("--venv", type=pathlib.Path, default=VENV, help="environment of the peers (%(default)s)")
    made.add_argument("--no-peers", action="store_true", help="measure Forethought alone")
    return made


def with_skipping(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the options of long benchmarks, which skip what is in their raw file already."""
    made.add_argument("--again", action="store_true", help="measure also what is in the raw file already")
    made.add_argument("--redo-busy", action="store_true", help="measure again what was taken on a busy machine")
    return made


def skips(given: argparse.Namespace, kept: dict) -> bool:
    """Whether `kept`, from the raw file, need not be measured again."""
    return not given.again and not (given.redo_busy and kept["machine"]["busy"])


def positive(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value
