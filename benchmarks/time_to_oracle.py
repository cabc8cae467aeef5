"""Time to 95 % of the oracle on the cart-pole of PETS, end to end: `forethought train` against mbrl-lib's PETS.

    python -m benchmarks.time_to_oracle --arms ours ours-again ours-evaluated --seeds 0 1 2 3 4
    nohup python -m benchmarks.time_to_oracle --arms mbrl-lib-tuned --max-minutes 120 &

Both act on the same equations of motion and rewards, start alike, and are scored alike: the return of the episodes
they act in, against 95 % of a planner's on the true dynamics. The clock starts when the process does. Every trial is
written to the raw file as it ends. Runs that are in the raw file already are skipped; one that was interrupted is
made again. Ours takes about a minute a seed; an episode of mbrl-lib at its configuration for this task takes half an
hour on two cores.

arms:
  ours            first run on a machine: nothing compiled yet, no evaluation during training
  ours-again      a later run: compiled programs are kept on disk
  ours-evaluated  as ours, with an evaluation of one episode after every trial
  mbrl-lib        cartpole_pets_version with pets_cartpole_paper_version.yaml, as shipped
  mbrl-lib-tuned  the same with glibc's allocator set for it
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from forethought.cards import oracle_return

from . import options, work
from .peers.install import python_of
from .record import ROOT, Recorder, Watch, cpu_seconds, read
from .workers import thread_env

TRIAL = 200  # environment steps
ENV = "pets-cartpole"
ARMS = ("ours", "ours-again", "ours-evaluated", "mbrl-lib", "mbrl-lib-tuned")
MARK = 0.95


def command(
    arm: str, seed: int, given: argparse.Namespace, folder: pathlib.Path
) -> tuple[list[str], dict, pathlib.Path]:
    """How an arm is run, with which environment variables, and the file to which it writes a row per episode."""
    steps = TRIAL * given.max_trials
    if arm.startswith("ours"):
        out = folder / "run"
        words = [sys.executable, "-m", "forethought", "train", "pets", ENV, "--preset", "cartpole"]
        words += ["--steps", str(steps), "--seed", str(seed), "--threads", str(given.threads), "--quiet"]
        words += ["--eval-every", str(TRIAL if arm == "ours-evaluated" else 0), "--final-episodes", "1", "--no-video"]
        cache = folder if arm != "ours-again" else given.cache
        return [*words, "--out", str(out)], {"XDG_CACHE_HOME": str(cache)}, out / "metrics.jsonl"
    rows = folder / "rows.jsonl"
    words = [python_of(given.venv), "-m", "benchmarks.peers.train", "--rows", str(rows)]
    words += ["--seed", str(seed), "--max-trials", str(given.max_trials)]
    return words, work.MALLOC_TUNED if arm == "mbrl-lib-tuned" else {}, rows


class Rows:
    """Episodes in a file that another process writes, as they come."""

    def __init__(self, path: pathlib.Path):
        self.path, self.place = path, 0

    def fresh(self) -> list[dict[str, Any]]:
        """Whole lines since the last call that are of episodes."""
        if not self.path.is_file():
            return []
        with open(self.path) as file:
            file.seek(self.place)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self.place += len(whole.encode())
        return [row for row in map(json.loads, whole.splitlines()) if row["kind"] == "episode"]


def follow(
    words: list[str],
    env: dict[str, str],
    path: pathlib.Path,
    *,
    mark: float,
    max_minutes: float,
    note: Callable[[dict, dict], None] | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Runs a process until an episode reaches `mark`, it ends, or time is up; `note` is told of every episode.

    Wall-clock and CPU seconds are the process's own, seen from outside, from its start to the end of the episode.
    """
    found: dict[str, Any] = {"trials": [], "reached": None, "stopped": "interrupted"}
    rows = Rows(path)
    with tempfile.TemporaryFile("w+") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=log)
        if watch is not None:
            watch.workers.add(process.pid)
        try:
            while found["stopped"] == "interrupted":
                ended = process.poll() is not None
                wall, cpu = time.perf_counter() - begun, cpu_seconds(process.pid)
                for row in rows.fresh():
                    trial = {"env_steps": row["env_steps"], "return": round(row["return"], 3)}
                    trial |= {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}
                    found["trials"].append(trial)
                    if found["reached"] is None and row["return"] >= mark:
                        found |= {"reached": trial, "stopped": "reached"}
                    if note is not None:
                        note(found, trial)
                if found["stopped"] == "interrupted" and ended:
                    found["stopped"] = "ended" if process.returncode == 0 else "failed"
                elif found["stopped"] == "interrupted" and wall > 60 * max_minutes:
                    found |= {"stopped": "out of time", "wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}
                time.sleep(0.02)
        finally:
            _end(process)
        if found["stopped"] == "failed":
            log.seek(0)
            sys.exit("\n".join([f"{' '.join(words)} failed:", *log.read().splitlines()[-15:]]))
    return found


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def one(arm: str, seed: int, given: argparse.Namespace, recorder: Recorder, mark: float) -> None:
    """Runs an arm on a seed and keeps its trials in the raw file as they come."""
    name, watch = f"{arm}, seed {seed}", Watch()
    header = {"arm": arm, "seed": seed, "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    header |= {"commit": recorder.data["commit"], "threads": given.threads}

    def note(found: dict, trial: dict) -> None:
        keep(recorder, name, {**header, "machine": watch.reading(), **found})
        number = len(found["trials"])
        recorder.say(f"{name}: trial {number}, return {trial['return']:.1f}, {trial['wall_s']:.0f} s")

    with tempfile.TemporaryDirectory() as folder:
        words, env, rows = command(arm, seed, given, pathlib.Path(folder))
        env = {**thread_env(given.threads), **env}
        found = follow(words, env, rows, mark=mark, max_minutes=given.max_minutes, note=note, watch=watch)
    keep(recorder, name, {**header, "machine": watch.reading(), **found})
    recorder.say(f"{name}: {found['stopped']}")


def keep(recorder: Recorder, name: str, run: dict[str, Any]) -> None:
    """Adds a run to the raw file, which another process may have added runs to meanwhile."""
    recorder.save(runs={**kept(recorder.path), name: run})


def kept(path: pathlib.Path) -> dict[str, Any]:
    """The runs in a raw file."""
    return (read(path) or {}).get("runs", {})


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing in the raw file."""
    parser = options.with_skipping(options.with_peers(options.parser(__doc__, "time_to_oracle")))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS[:3], help="which to run (the three of ours)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="%(default)s")
    parser.add_argument("--max-trials", type=options.positive, default=10, help="of 200 steps (%(default)s)")
    parser.add_argument("--max-minutes", type=float, default=240.0, help="per run (%(default)s)")
    given = parser.parse_args(argv)
    oracle = oracle_return(ENV)
    mark = MARK * oracle
    settings = {"oracle": oracle, "mark": mark, "max_trials": given.max_trials, "max_minutes": given.max_minutes}
    recorder = Recorder(given.out, benchmark="time_to_oracle", settings=settings, quiet=given.quiet)
    with tempfile.TemporaryDirectory() as cache:
        given.cache = pathlib.Path(cache)
        for seed in given.seeds:
            for arm in given.arms:
                done = kept(given.out).get(f"{arm}, seed {seed}", {"stopped": "interrupted"})
                if done["stopped"] != "interrupted" and options.skips(given, done):
                    recorder.say(f"{arm}, seed {seed}: in {given.out} already ({done['stopped']})")
                    continue
                if arm == "ours-again" and not any(given.cache.iterdir()):
                    recorder.say("a run that fills the cache of compiled programs")
                    _fill_cache(given, mark)
                one(arm, seed, given, recorder, mark)
    recorder.say("`python -m benchmarks.tables` brings docs/speed.md up to date")


def _fill_cache(given: argparse.Namespace, mark: float) -> None:
    """A whole run, so that later ones find every compiled program."""
    with tempfile.TemporaryDirectory() as folder:
        words, env, rows = command("ours-again", 0, given, pathlib.Path(folder))
        env = {**thread_env(given.threads), **env}
        follow(words, env, rows, mark=mark, max_minutes=given.max_minutes)


if __name__ == "__main__":
    main()
