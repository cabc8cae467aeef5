"""Environment steps per second of Dreamer v3 end to end, updates included: ours and sheeprl's main loop.

    python -m benchmarks.frames

Sizes and train ratio of our preset `tiny`: a gradient step on 16 sequences of 16 after every 4 steps. Runs alternate,
each a process of its own; steps are counted from the first episode that ends after step 800, when random actions and
compiling are over. Without `python -m benchmarks.peers.install` before it, add --no-peers.

arms:
  ours, pendulum        our own task, compiled together with the agent
  ours, catch           the same, with discrete actions
  ours, Pendulum-v1     Gymnasium's, stepped from Python
  sheeprl, Pendulum-v1  the same with sheeprl's main loop
"""

import argparse
import math
import pathlib
import sys
import tempfile
from typing import Any

from forethought.presets.dreamer_v3 import PRESETS

from . import options, work
from .peers import sheeprl_options
from .peers.install import python_of
from .record import Recorder, summary
from .time_to_oracle import follow
from .workers import thread_env

ARMS = ("ours, pendulum", "ours, catch", "ours, Pendulum-v1", "sheeprl, Pendulum-v1")
TINY = PRESETS["tiny"]
UPDATES_PER_STEP = TINY.train_ratio / (TINY.batch_size * TINY.batch_length)


def command(
    arm: str, seed: int, given: argparse.Namespace, folder: pathlib.Path
) -> tuple[list[str], dict[str, str], pathlib.Path]:
    """How an arm is run, with which environment variables, and the file to which it writes a row per episode."""
    library, env = arm.split(", ")
    if library == "ours":
        out = folder / "run"
        words = [sys.executable, "-m", "forethought", "train", "dreamer-v3", env, "--preset", "tiny"]
        words += ["--steps", str(given.steps), "--seed", str(seed), "--threads", str(given.threads), "--quiet"]
        words += ["--eval-every", "0", "--final-episodes", "1", "--no-video", "--out", str(out)]
        return words, {"XDG_CACHE_HOME": str(given.cache)}, out / "metrics.jsonl"
    rows = folder / "rows.jsonl"
    schedule = {"steps": given.steps, "random": TINY.random_steps, "ratio": UPDATES_PER_STEP}
    words = sheeprl_options.loop(work.DREAMING["tiny"], env, str(rows), str(folder), **schedule)
    words += [f"seed={seed}", f"num_threads={given.threads}"]
    return [python_of(given.venv), "-m", "sheeprl", *words], {}, rows


def counted(trials: list[dict[str, Any]], start: int) -> dict[str, Any]:
    """Steps, seconds and CPU seconds from the first episode that ended at or after `start` to the last one."""
    after = [trial for trial in trials if trial["env_steps"] >= start]
    if len(after) < 2:
        sys.exit(f"only {len(after)} episodes ended at or after step {start}, wanted 2: give more --steps")
    first, last = after[0], after[-1]
    found = {name: round(last[name] - first[name], 2) for name in ("env_steps", "wall_s", "cpu_s")}
    return {**found, "frames_per_s": round(found["env_steps"] / found["wall_s"], 2)}


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "frames"))
    parser.add_argument("--rounds", type=options.positive, default=3, help="runs of each arm (%(default)s)")
    parser.add_argument("--steps", type=options.positive, default=2000, help="environment steps of a run (%(default)s)")
    parser.add_argument("--start", type=options.positive, default=800, help="step to count from (%(default)s)")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="which (all)")
    given = parser.parse_args(argv)
    chosen = [arm for arm in given.arms if not (given.no_peers and arm.startswith("sheeprl"))]
    settings = {name: getattr(given, name) for name in ("threads", "rounds", "steps", "start")}
    settings["updates_per_step"] = UPDATES_PER_STEP
    recorder = Recorder(given.out, benchmark="frames", settings=settings, quiet=given.quiet)
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in chosen}
    with tempfile.TemporaryDirectory() as cache:
        given.cache = pathlib.Path(cache)
        for number in range(given.rounds):
            turn = number % len(chosen)
            for arm in chosen[turn:] + chosen[:turn]:
                found[arm].append(run(arm, number, given, recorder))
                recorder.say(f"{arm}, run {number + 1}: {found[arm][-1]['frames_per_s']:.1f} steps per second")
                recorder.save(arms={name: summarised(timings) for name, timings in found.items() if timings})
    recorder.say(f"wrote {given.out}; `python -m benchmarks.tables` brings docs/speed.md up to date")


def run(arm: str, seed: int, given: argparse.Namespace, recorder: Recorder) -> dict[str, Any]:
    """One run, and what was counted of it."""
    with tempfile.TemporaryDirectory() as folder:
        words, env, rows = command(arm, seed, given, pathlib.Path(folder))
        env = {**thread_env(given.threads), **env}
        limits = {"mark": math.inf, "max_minutes": 60.0}
        return counted(follow(words, env, rows, **limits, watch=recorder.watch)["trials"], given.start)


def summarised(timings: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of an arm, with their summaries before them."""
    values = {name: summary([timing[name] for timing in timings]) for name in ("wall_s", "frames_per_s")}
    return {**values, "timings": timings}


if __name__ == "__main__":
    main()
