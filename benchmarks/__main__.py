"""All benchmarks one after another, then the page that shows them.

    python -m benchmarks

About an hour on two cores that have nothing else to do; what is in the raw files of `time_to_oracle` and `latency`
already is skipped, unless it was measured on a busy machine. mbrl-lib's end-to-end run takes hours and is made by its
own command (see `python -m benchmarks.time_to_oracle --help`).
"""

import argparse
import subprocess
import sys

from .record import ROOT

AGAINST_PEERS = (
    *("matmul_peak", "planning", "fitting", "time_per_action", "dreaming", "frames", "optimal_control"),
    *("sac_updates", "branched_rollouts"),
)
ALONE = ("search", "dyna", "many_runs", "core")
LONG = ("time_to_oracle", "latency")


def commands(*, no_peers: bool) -> list[list[str]]:
    """What is run, in order."""
    rest = ["--no-peers"] if no_peers else []
    run = lambda name, words: [sys.executable, "-m", f"benchmarks.{name}", *words]
    return [
        *(run(name, rest) for name in AGAINST_PEERS),
        *(run(name, []) for name in ALONE),
        *(run(name, ["--redo-busy"]) for name in LONG),
        run("tables", []),
    ]


def main() -> None:
    """Ends with the first command that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-peers", action="store_true", help="measure Forethought alone")
    for words in commands(no_peers=parser.parse_args().no_peers):
        print(" ".join(words[1:]), flush=True)
        subprocess.run(words, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
