"""What the doctor says of planted faults, and of healthy runs.

    for seed in 0 1 2 3 4 5 6 7 8 9; do forethought train pets pets-cartpole --preset cartpole --steps 2000 \\
        --termination learned --eval-every 0 --final-episodes 2 --no-video --seed $seed --quiet \\
        --out reproductions/doctor/runs/seed-$seed; done
    for task in Pendulum-v1 CartPole-v1 point-mass; do for seed in 0 1 2; do forethought train pets $task \\
        --steps 1150 --eval-every 0 --final-episodes 2 --no-video --seed $seed --quiet \\
        --out reproductions/doctor/runs/$task-$seed; done; done
    python reproductions/doctor_faults.py measure     # writes reproductions/doctor/faults.json
    python reproductions/doctor_faults.py show        # the tables in docs/doctor.md, from this file

Every fault is planted in copies of two healthy runs: the stored data, the environment or the model are altered as the
bug would, a model is fitted from scratch to the altered data by the run's own learner, with as many updates as the run
made, and the doctor is asked. The same is done without a fault (`none`), to see what refitting alone does. The healthy
runs are looked at as they are; those of the other tasks end between two fits, so that their models have not seen the
last steps.
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from doctor_worlds import HEALTHY, Late, Motor, WithoutVelocity, Wrapped, replayed, wrapped
from writing import DOCS, HERE, put, table, write_raw

from forethought.api import load_run
from forethought.checkup import STREAM, Checkup, of_evaluation
from forethought.core import Clock
from forethought.replay.uniform import UniformReplay
from forethought.run.progress import strongly_typed
from forethought.setup import build
from forethought.types import Transition

RUNS = HERE / "doctor" / "runs"
RAW = HERE / "doctor" / "faults.json"
HEALTHY_SEEDS = range(10)
ELSEWHERE = [f"{task}-{seed}" for task in ("Pendulum-v1", "CartPole-v1", "point-mass") for seed in range(3)]
PLANTED_IN = (0, 1)  # seeds of the healthy runs that faults are planted in
EPISODES, HORIZON = 4, 15


@dataclasses.dataclass
class Case:
    """A run with something altered."""

    rows: Transition  # NumPy leaves [n, ...], as the run stored them
    env: Any = HEALTHY
    spoil: Callable[[Any, Transition], Any] = lambda model, rows: model  # the model after it is fitted
    refit: bool = True
    learned: bool = False  # the reward is learned instead of given


def measure(runs: pathlib.Path, parts: list[str]) -> None:
    """All cases that are not in the raw file yet, each written as soon as it is known."""
    if "faults" in parts:
        for seed, name in ((seed, name) for seed in PLANTED_IN for name in FAULTS):
            _once("faults", name, seed, lambda n=name, s=seed: _case(runs / f"seed-{s}", n))
    if "healthy" in parts:
        for seed in HEALTHY_SEEDS:
            _once("healthy", None, seed, lambda s=seed: _healthy(runs / f"seed-{s}"))
        for name in ELSEWHERE:
            _once("elsewhere", None, name, lambda n=name: load_run(runs / n).doctor(episodes=EPISODES, horizon=HORIZON))


def _once(part: str, name: str | None, seed: int | str, look: Callable[[], Checkup]) -> None:
    """Adds one case to the raw file, unless it is there."""
    inside = lambda raw: raw[part].setdefault(name, {}) if name else raw[part]
    if str(seed) in inside(_raw()):
        return
    found = said(look(), name or part, seed)
    raw = _raw()
    inside(raw)[str(seed)] = found
    raw["faults"] = {name: raw["faults"][name] for name in FAULTS if name in raw["faults"]}
    raw["healthy"] = dict(sorted(raw["healthy"].items(), key=lambda item: int(item[0])))
    write_raw(RAW, raw)


def _raw() -> dict[str, Any]:
    if RAW.is_file():
        return json.loads(RAW.read_text())
    return {"episodes": EPISODES, "horizon": HORIZON, "faults": {}, "healthy": {}, "elsewhere": {}}


def said(checkup: Checkup, what: str, seed: int | str) -> dict[str, Any]:
    """What is kept of a checkup."""
    kept = {f.name: {"severity": f.severity, "says": f.sentence, **f.as_dict()["numbers"]} for f in checkup.findings}
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what} {seed}: {', '.join(kept) or 'nothing'}\n")
    return {"findings": kept, "verdict": checkup.verdict}


def _healthy(path: pathlib.Path) -> Checkup:
    run = load_run(path)
    state, replay = run.trained()
    return _asked(_setup(path, HEALTHY, False), state, replay, run.setup.run.seed)


def _case(path: pathlib.Path, fault: str) -> Checkup:
    run = load_run(path)
    state, replay = run.trained()
    rows = jax.tree.map(np.asarray, replay.latest(int(replay.size)))
    case, seed, updates = FAULTS[fault](run.setup, state, rows), run.setup.run.seed, len(run.metrics("update"))
    setup = _setup(path, case.env, case.learned)
    replay = UniformReplay.empty(case.env.spec, setup.capacity).add(jax.tree.map(jnp.asarray, case.rows))
    if case.refit:
        what = (seed, "rows as they are" if case.rows is rows and not case.learned else fault)
        if what not in FITTED:
            FITTED[what] = _refitted(setup, replay, updates=updates, seed=seed)
        state = FITTED[what]
    model = case.spoil(setup.agent.model(state), case.rows)
    state = eqx.tree_at(lambda s: s.learner.model, state, model)
    return _asked(setup, state, replay, seed)


FITTED: dict[Any, Any] = {}  # several faults are planted in one and the same fit
SETUPS: dict[Any, Any] = {}  # all runs have the same settings, so that what is compiled serves them all


def _setup(path: pathlib.Path, env: Any, learned: bool) -> Any:
    """The runs' settings in `env`, the reward given or learned."""
    if (env, learned) not in SETUPS:
        there = load_run(path).setup
        config, options = there.config, there.run
        if learned:
            options = dataclasses.replace(options, reward="learned")
        setup = build("pets", env, config=config, run=options)
        call = {"round": "model", "clock": Clock.start(1)}
        learn = lambda state, replay, key: setup.agent.update(state, {"env": replay}, **call, key=key)[0]
        update = eqx.filter_jit(learn)
        SETUPS[env, learned] = setup, update, setup.evaluator(EPISODES)
    return SETUPS[env, learned][0]


def _parts(setup: Any) -> tuple[Any, Any]:
    """The compiled update and evaluator of a setup."""
    return next((update, evaluator) for known, update, evaluator in SETUPS.values() if known is setup)


def _refitted(setup: Any, replay: Any, *, updates: int, seed: int) -> Any:
    """The agent's state after so many updates on all the data."""
    state = strongly_typed(setup.agent.init(key=jr.key(seed)))
    for i in range(updates):
        state = _parts(setup)[0](state, replay, jr.fold_in(jr.key(seed), i))
    return state


def _asked(setup: Any, state: Any, replay: Any, seed: int) -> Checkup:
    key = jr.fold_in(jr.key(seed), STREAM)
    evaluation = _parts(setup)[1](state, key=key)
    more = {"source": f"seed {seed}", "key": key, "horizon": HORIZON}
    return of_evaluation(setup, state, replay, evaluation, **more)


# ---- the faults, each as a function of the setup, the agent's state and the rows of a healthy run


def _ends(rows: Transition) -> np.ndarray:
    return np.flatnonzero(rows.terminated | rows.truncated)


def none(setup: Any, state: Any, rows: Transition) -> Case:
    """Nothing is altered; the model is fitted again."""
    return Case(rows)


def reward_shifted(setup: Any, state: Any, rows: Transition) -> Case:
    """In the data every reward is that of the step before."""
    late = np.concatenate([[0.0], rows.reward[:-1]]).astype(np.float32)
    late[_ends(rows)[:-1] + 1] = 0.0
    return Case(dataclasses.replace(rows, reward=late))


def reward_learned(setup: Any, state: Any, rows: Transition) -> Case:
    """Nothing is altered, but the reward is learned."""
    return Case(rows, learned=True)


def reward_learned_shifted(setup: Any, state: Any, rows: Transition) -> Case:
    """In the data every reward is that of the step before, and the model learns it."""
    return dataclasses.replace(reward_shifted(setup, state, rows), learned=True)


def reward_late_learned(setup: Any, state: Any, rows: Transition) -> Case:
    """The environment itself hands every reward out one step late, and the model learns it."""
    return dataclasses.replace(reward_late(setup, state, rows), learned=True)


def reward_late(setup: Any, state: Any, rows: Transition) -> Case:
    """The environment itself hands every reward out one step late."""
    return Case(reward_shifted(setup, state, rows).rows, env=Late())


def truncation_terminates(setup: Any, state: Any, rows: Transition) -> Case:
    """The time limit is stored as termination."""
    return Case(dataclasses.replace(rows, terminated=rows.truncated, truncated=np.zeros_like(rows.truncated)))


def reset_stored(setup: Any, state: Any, rows: Transition) -> Case:
    """At an episode's end next_obs is the first observation of the next episode."""
    next_obs, ends = rows.next_obs.copy(), _ends(rows)
    ends = ends[ends + 1 < len(next_obs)]
    next_obs[ends] = rows.obs[ends + 1]
    return Case(dataclasses.replace(rows, next_obs=next_obs))


def actions_clipped(setup: Any, state: Any, rows: Transition) -> Case:
    """The environment clips actions to half their bounds; the run's policy collects its data again in it."""
    return Case(_collected(setup, state, rows, Motor(bound=1.5)), env=Motor(bound=1.5))


def angle_wraps(setup: Any, state: Any, rows: Transition) -> Case:
    """The angle is reported within one turn and not declared to be an angle."""
    there = lambda obs: np.asarray(wrapped(jnp.asarray(obs)))
    return Case(dataclasses.replace(rows, obs=there(rows.obs), next_obs=there(rows.next_obs)), env=Wrapped())


def variance_frozen(setup: Any, state: Any, rows: Transition) -> Case:
    """The outputs that say the log-variance stay at zero."""

    def spoil(model: Any, rows: Transition) -> Any:
        n = model.min_logvar.shape[0]
        silent = lambda net: (net.weights[-1].at[:, n : 2 * n].set(0.0), net.biases[-1].at[n : 2 * n].set(0.0))
        last = lambda net: (net.weights[-1], net.biases[-1])
        networks = [eqx.tree_at(last, net, silent(net)) for net in model.networks]
        return eqx.tree_at(lambda m: m.networks, model, networks)

    return Case(rows, spoil=spoil)


def normaliser_off(setup: Any, state: Any, rows: Transition) -> Case:
    """The networks are saved with the statistics of the random phase alone."""

    def spoil(model: Any, rows: Transition) -> Any:
        early = jnp.arange(len(rows.reward)) < setup.agent.schedule.random_steps
        return model.normalised(jax.tree.map(jnp.asarray, rows), early)

    return Case(rows, spoil=spoil)


def members_copied(setup: Any, state: Any, rows: Transition) -> Case:
    """All members of the ensemble are the first one."""

    def spoil(model: Any, rows: Transition) -> Any:
        return eqx.tree_at(lambda m: m.networks, model, [model.networks[0]] * model.num_members)

    return Case(rows, spoil=spoil)


def dimension_zeroed(setup: Any, state: Any, rows: Transition) -> Case:
    """The pole's angular velocity is stored as 0."""
    zeroed = lambda obs: obs * np.array([1, 1, 1, 0], np.float32)
    return Case(dataclasses.replace(rows, obs=zeroed(rows.obs), next_obs=zeroed(rows.next_obs)))


def velocity_hidden(setup: Any, state: Any, rows: Transition) -> Case:
    """The pole's angular velocity is left out of the observation, in data and environment."""
    return Case(dataclasses.replace(rows, obs=rows.obs[:, :3], next_obs=rows.next_obs[:, :3]), env=WithoutVelocity())


def other_version(setup: Any, state: Any, rows: Transition) -> Case:
    """The environment's motor has become weaker since the data were collected; the model is the run's own."""
    return Case(rows, env=Motor(strength=0.7), refit=False)


FAULTS: dict[str, Callable[[Any, Any, Transition], Case]] = {
    "none": none,
    "none, reward learned": reward_learned,
    "reward shifted by one step": reward_shifted,
    "reward shifted by one step, reward learned": reward_learned_shifted,
    "reward one step late in the environment, reward learned": reward_late_learned,
    "truncation stored as termination": truncation_terminates,
    "reset observation stored as next_obs": reset_stored,
    "actions clipped silently": actions_clipped,
    "an angle that wraps": angle_wraps,
    "log-variance frozen": variance_frozen,
    "normaliser fitted on other data": normaliser_off,
    "ensemble members are copies": members_copied,
    "a dimension stored as zero": dimension_zeroed,
    "a dimension left out": velocity_hidden,
    "data from another environment version": other_version,
}


def _collected(setup: Any, state: Any, rows: Transition, env: Any) -> Transition:
    """As many rows as the run has, from `env`: its random actions again, then episodes of its policy."""
    there = build("pets", env, config=setup.config, run=setup.run)
    first = setup.agent.schedule.random_steps
    random = jax.jit(lambda obs, actions: replayed(env, obs, actions, jr.key(0)))(rows.obs[0], rows.action[:first])
    steps = env.spec.max_episode_steps
    evaluator, key = there.evaluator(len(rows.reward) // steps - 1), jr.fold_in(jr.key(setup.run.seed), 1)
    played = evaluator(state, key=key).trajectories
    flat = lambda x: np.asarray(x)[:, :steps].reshape(-1, *x.shape[2:])
    later = [flat(getattr(played, name)) for name in NAMES]
    return Transition(*(np.concatenate([np.asarray(a), b]) for a, b in zip(random, later)))


NAMES = ("obs", "action", "reward", "next_obs", "terminated", "truncated")


# ---- the tables

NAMED = {
    "none": None,
    "none, reward learned": None,
    "reward shifted by one step": "reward-shifted",
    "reward shifted by one step, reward learned": "reward-shifted",
    "reward one step late in the environment, reward learned": "reward-shifted",
    "truncation stored as termination": "truncation-as-termination",
    "reset observation stored as next_obs": "reset-as-next-obs",
    "actions clipped silently": "action-clipped",
    "an angle that wraps": "angle-wraps",
    "log-variance frozen": "variance-frozen",
    "normaliser fitted on other data": "normaliser-off",
    "ensemble members are copies": "members-are-copies",
    "a dimension stored as zero": "dimension-dropped",
    "a dimension left out": "hidden-state",
    "data from another environment version": "another-environment",
}


def alarms(findings: dict[str, Any]) -> list[str]:
    """Names of the findings that are errors or warnings."""
    return [name for name, f in findings.items() if f["severity"] != "note"]


def fault_rows(raw: dict[str, Any]) -> list[list[str]]:
    """Planted fault; how often its own finding fired; what else did; what the doctor says of it the first time."""
    rows = []
    for fault, seeds in raw["faults"].items():
        fired = [alarms(s["findings"]) for s in seeds.values()]
        name = NAMED[fault]
        others = sorted({f for names in fired for f in names if f != name})
        count = f"{sum(name in names for names in fired)} of {len(fired)}" if name else "–"
        says = next((s["findings"][name]["says"] for s in seeds.values() if name in s["findings"]), "nothing")
        rows.append([fault, f"`{name}`" if name else "–", count, ", ".join(f"`{o}`" for o in others) or "–", says])
    return rows


def healthy_rows(runs: dict[str, Any]) -> list[list[str]]:
    """Seed (or task and seed), findings and verdict of each healthy run."""
    return [
        [name, ", ".join(f"`{name}`" for name in alarms(s["findings"])) or "none", s["verdict"]]
        for name, s in runs.items()
    ]


def show(raw: dict[str, Any]) -> None:
    """Both tables, into the page."""
    head = ["planted fault", "finding", "found", "also found", "the doctor says"]
    put(DOCS / "doctor.md", "faults", table(head, fault_rows(raw)))
    put(DOCS / "doctor.md", "healthy", table(["seed", "findings", "verdict"], healthy_rows(raw["healthy"])))
    put(DOCS / "doctor.md", "elsewhere", table(["run", "findings", "verdict"], healthy_rows(raw["elsewhere"])))


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(RUNS, sys.argv[2:] or ["faults", "healthy"])
    else:
        show(json.loads(RAW.read_text()))
