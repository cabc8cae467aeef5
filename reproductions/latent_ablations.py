"""RSSM, SSM and RNN, with and without latent overshooting, on a task that needs memory and chance.

    python reproductions/latent_ablations.py measure 0 1 2   # seeds; writes latent-ablations/<arm>/seed-N.json
    python reproductions/latent_ablations.py show            # tables in docs/models.md, from these files

Every seed has its own episodes; all arms learn from the same ones, with as many gradient steps and the same planner.
A file that is there is not measured again, so `measure` can be stopped and taken up. After Hafner et al. 2019, Sec. 4.
"""

import dataclasses
import json
import sys
import time
from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from latent_futures import (
    ENV,
    collected,
    futures,
    judged,
    nothing_changes,
    replay_of,
    states_after_context,
    true_futures,
    windows,
)
from writing import DOCS, HERE, put, table, write_raw

from forethought.agents.planet import PlaNet
from forethought.agents.uniform import Uniform
from forethought.cli import machine
from forethought.diagnostics.statistics import bootstrap_interval, paired_difference
from forethought.presets.planet import PRESETS
from forethought.presets.values import to_dict
from forethought.replay.sequence import SequenceReplay
from forethought.run.evaluate import JitEvaluator

TRAINING, HELD_OUT = 200, 20  # episodes; from 40 the models learn by heart
ROUNDS, UPDATES = 5, 500  # gradient steps: their product
SHOWN = (1, 5, 15, 30)  # steps ahead in the table
PLAYED = 5  # episodes of the planner
RAW = HERE / "latent-ablations"
SMALL = PRESETS["default"]
CONFIG = dataclasses.replace(
    SMALL,
    updates=UPDATES,
    model=dataclasses.replace(
        SMALL.model,
        deter=64,
        hidden=64,
        units=64,
        latents=16,
        observation_weight=10.0,
        reward_scale=1.0,
        free_nats=0.0,
    ),
)
NAMES = {"rssm": "RSSM", "ssm": "SSM, no memory", "rnn": "RNN, no chance"}
CHANGES: dict[str, dict[str, Any]] = {"rssm": {}, "ssm": {"cell": "none"}, "rnn": {"latent": "point"}}
OVERSHOOTING = 8
ARMS = {
    name + suffix: dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, **change, **more))
    for name, change in CHANGES.items()
    for suffix, more in (("", {}), ("-overshooting", {"overshooting": OVERSHOOTING}))
}
BASELINES = {"persistence": "nothing changes", "simulator": "true dynamics, true state"}


# ---- one seed


def learned(config: Any, replay: SequenceReplay, *, key: PRNGKeyArray) -> tuple[PlaNet, Any, dict[str, float]]:
    """PlaNet after ROUNDS x UPDATES gradient steps on `replay`, and the means of its metrics over the last round."""
    init_key, key = jr.split(key)
    agent = PlaNet(ENV.spec, config)
    state, metrics = agent.init(key=init_key), {}
    update = eqx.filter_jit(agent.update)
    for round_key in jr.split(key, ROUNDS):
        state, metrics = update(state, replay, key=round_key)
    return agent, state, {name: round(float(x), 5) for name, x in metrics.items()}


def measure(seed: int) -> None:
    """Writes what is missing of one seed."""
    keys = jr.split(jr.key(seed), 6)
    missing = [arm for arm in (*BASELINES, *ARMS) if not file_of(arm, seed).is_file()]
    if not missing:
        return
    training, fresh = (collected(n, key=k) for n, k in zip((TRAINING, HELD_OUT), keys))
    replay, steps = replay_of(training.rows), windows(fresh.rows)
    scale = (training.rows.next_obs.std((0, 1)), training.rows.reward.std())
    play = lambda agent, state: JitEvaluator(agent, ENV, num_episodes=PLAYED)(state, key=keys[2]).returns
    for arm in missing:
        begun, found = time.process_time(), {}
        if arm == "persistence":
            said = nothing_changes(steps)
            found["random_returns"] = rounded(play(Uniform(ENV.spec), None))
        elif arm == "simulator":
            said = true_futures(steps, states_after_context(fresh.states), key=keys[3])
        else:
            agent, state, metrics = learned(ARMS[arm], replay, key=keys[4])
            found |= {"metrics": metrics, "training_cpu_s": round(time.process_time() - begun, 1)}
            said = futures(state.model, steps, key=keys[5])
            found["returns"] = rounded(play(agent, state))
        found = {name: rounded(x) for name, x in judged(*said, steps, scale).items()} | found
        config = {"config": json.dumps(to_dict(ARMS[arm]))} if arm in ARMS else {}
        head = {"arm": arm, "seed": seed, "gradient_steps": ROUNDS * UPDATES if arm in ARMS else 0, **config}
        seconds = round(time.process_time() - begun, 1)
        write_raw(file_of(arm, seed), head | found | {"cpu_s": seconds})
        error, score = (found[name][SHOWN[2] - 1] for name in ("error", "energy_score"))
        sys.stderr.write(f"{arm} {seed}: error {error:.3f}, energy score {score:.3f}, {seconds} s of CPU\n")


def rounded(values: Any) -> list[float]:
    """Numbers for a raw file."""
    return [round(float(x), 5) for x in values]


def file_of(arm: str, seed: int) -> Any:
    """Where the raw numbers of one arm and seed are."""
    return RAW / arm / f"seed-{seed}.json"


# ---- what the documentation shows


def load() -> dict[str, dict[int, dict[str, Any]]]:
    """The raw files by arm and seed."""
    found = {arm: {} for arm in (*BASELINES, *ARMS)}
    for file in sorted(RAW.glob("*/seed-*.json")):
        raw = json.loads(file.read_text())
        found[raw["arm"]][raw["seed"]] = raw
    return found


def complete(found: dict[str, dict[int, Any]]) -> list[int]:
    """The seeds of which every arm is measured."""
    return sorted(set.intersection(*(set(runs) for runs in found.values())))


def values(runs: dict[int, Any], seeds: list[int], name: str, ahead: int | None = None) -> list[float]:
    """One number of each seed: what is `ahead` steps from the context, or the mean over episodes."""
    return [runs[seed][name][ahead - 1] if ahead else float(np.mean(runs[seed][name])) for seed in seeds]


def cell(of_seeds: list[float], digits: int) -> str:
    """Mean over seeds, with its 95 % bootstrap interval if there is more than one."""
    found = bootstrap_interval(of_seeds, np.mean)
    ends = f" ({found.low:.{digits}f}, {found.high:.{digits}f})" if len(of_seeds) > 1 else ""
    return f"{found.estimate:.{digits}f}{ends}"


def futures_table(found: dict[str, dict[int, Any]]) -> str:
    """Errors of imagined observations and rewards, and the energy score, by arm."""
    seeds, rows = complete(found), []
    labels = BASELINES | {arm: f"{label}{extra}" for arm, label, extra in named()}
    for arm in (*ARMS, *BASELINES):
        runs = found[arm]
        cells = [cell(values(runs, seeds, "error", ahead), 3 if ahead == 1 else 2) for ahead in SHOWN]
        cells += [cell(values(runs, seeds, "energy_score", ahead), 2) for ahead in SHOWN[2:]]
        rows.append([labels[arm], *cells, cell(values(runs, seeds, "reward_error", SHOWN[2]), 2)])
    ahead = [f"error, {n} step{'s' * (n > 1)}" for n in SHOWN]
    header = ["", *ahead, *(f"energy score, {n}" for n in SHOWN[2:]), f"reward error, {SHOWN[2]}"]
    many = f"Means over {len(seeds)} seeds, with 95 % bootstrap intervals over seeds."
    return table(header, rows) + "\n\n" + (many if len(seeds) > 1 else "One seed only, so without intervals.")


def returns_table(found: dict[str, dict[int, Any]]) -> str:
    """Mean return of CEM in each model, and how much it is above uniform actions in the same episodes."""
    seeds, rows = complete(found), []
    uniform = values(found["persistence"], seeds, "random_returns")
    for arm, label, extra in named():
        returns = values(found[arm], seeds, "returns")
        rows.append([label + extra, cell(returns, 0), difference(returns, uniform, 0)])
    return table(["", "return", "minus uniform actions"], [*rows, ["uniform actions", cell(uniform, 0), ""]])


def overshooting_table(found: dict[str, dict[int, Any]]) -> str:
    """What latent overshooting changes, paired by seed."""
    seeds = complete(found)
    measured = [(what, ahead, 2) for what in ("error", "energy_score") for ahead in SHOWN[2:]] + [("returns", None, 0)]

    def changes(name: str) -> list[str]:
        of = lambda arm, what, ahead: values(found[arm], seeds, what, ahead)
        return [
            difference(of(f"{name}-overshooting", what, ahead), of(name, what, ahead), digits)
            for what, ahead, digits in measured
        ]

    columns = [f"{what}, {ahead}" for what in ("error", "energy score") for ahead in SHOWN[2:]]
    rows = [[label, *changes(name)] for name, label in NAMES.items()]
    return table(["with minus without", *columns, "return"], rows)


def difference(x: list[float], y: list[float], digits: int) -> str:
    """Mean of the paired differences over seeds, with its interval if there is more than one."""
    found = paired_difference(x, y, np.mean)
    ends = f" ({found.low:+.{digits}f}, {found.high:+.{digits}f})" if len(x) > 1 else ""
    return f"{found.estimate:+.{digits}f}{ends}"


def named() -> list[tuple[str, str, str]]:
    """Arm, what it is called, and what it has besides."""
    return [
        (name + suffix, label, extra)
        for name, label in NAMES.items()
        for suffix, extra in (("", ""), ("-overshooting", ", overshooting"))
    ]


def shown(block: str, found: dict[str, dict[int, Any]]) -> str:
    """What the page holds in one of its blocks."""
    return BLOCKS[block](found) if complete(found) else "Not measured yet."


BLOCKS = {"latent futures": futures_table, "latent overshooting": overshooting_table, "latent returns": returns_table}

if __name__ == "__main__":
    machine.prepare(threads=1)
    if sys.argv[1:2] == ["measure"] and sys.argv[2:] and all(seed.isdigit() for seed in sys.argv[2:]):
        for seed in sys.argv[2:]:
            measure(int(seed))
    elif sys.argv[1:] == ["show"]:
        for block in BLOCKS:
            put(DOCS / "models.md", block, shown(block, load()))
    else:
        sys.exit(__doc__)
