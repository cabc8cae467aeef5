"""Latency of PETS planning at our preset's sizes and at the paper's, and the return that a deadline buys.

    python -m benchmarks.latency

Three parts, kept in one raw file as they are done and skipped when they are in it already (--again makes them anew):

  actions   time of every single action with a fixed number of iterations, at both sizes
  deadline  time of every single action with --plan-ms, at both sizes
  returns   a run is trained once (kept in --run), then evaluated under several deadlines

The paper's sizes take seconds per action on a CPU: fewer of them are timed, and how many is in the raw file. About
half an hour on two cores, most of it the paper's sizes.
"""

import argparse
import dataclasses
import datetime
import pathlib
import time
from typing import Any

from forethought.cli import machine
from forethought.presets.pets import PRESETS
from forethought.presets.run import RunConfig
from forethought.presets.values import to_dict

from . import options
from .record import ROOT, Recorder, Watch, read, summary

ENV = "pets-cartpole"
PRESET = {"cartpole": "our preset", "paper-cartpole": "the paper's sizes"}
PARTS = ("actions", "deadline", "returns")


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed, by the nearest rank."""
    ranked = sorted(values)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)]


def described(milliseconds: list[float], **more: Any) -> dict[str, Any]:
    """Single times with their summary."""
    times = [round(ms, 3) for ms in milliseconds]
    spread = {"p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99)}
    mean = sum(times) / len(times)
    return {**more, **spread, "actions_per_s": round(1e3 / mean, 3), "ms": summary(times), "milliseconds": times}


def time_actions(preset: str, *, count: int, plan_ms: float | None) -> dict[str, Any]:
    """Times `count` actions, one observation after another, as the step driver takes them."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr

    from forethought.run.actor import Actor
    from forethought.run.progress import broadcast
    from forethought.setup import build

    setup = build("pets", ENV, preset=preset, run=RunConfig(plan_ms=plan_ms))
    agent, env = setup.agent, setup.env
    state = agent.init(key=jr.key(0))  # untrained: planning costs the same whatever the weights are
    actor = Actor(agent, explore=True, plan_ms=plan_ms)
    reset = jax.jit(lambda key: env.reset(key=key))
    step = eqx.filter_jit(lambda state, action, key: env.step(state, action, key=key)[:2])
    begun = time.perf_counter()
    world, obs = reset(jr.key(1))
    memory = broadcast(agent.init_memory(state), 1)
    keys = jr.split(jr.key(2), count + 1)
    if plan_ms is None:
        jax.block_until_ready(actor(state, memory, obs[None], keys[:1]))
    else:
        actor.warm_up(state, memory, obs[None], keys[:1])
    compile_s = time.perf_counter() - begun
    times = []
    for i in range(count):
        if i % 200 == 0:
            world, obs = reset(jr.fold_in(jr.key(1), i))
            memory = broadcast(agent.init_memory(state), 1)
        obs_now, key = obs[None], keys[i + 1 : i + 2]
        jax.block_until_ready((obs_now, key))
        begun = time.perf_counter()
        action, memory, _ = actor(state, memory, obs_now, key)
        jax.block_until_ready((action, memory))
        times.append(1e3 * (time.perf_counter() - begun))
        world, obs = step(world, jnp.clip(action[0], -3.0, 3.0), key[0])
    more: dict[str, Any] = {"config": to_dict(PRESETS[preset]), "plan_ms": plan_ms, "actions": count}
    more["compile_s"] = round(compile_s, 3)
    if plan_ms is not None:
        more["late"] = sum(ms > plan_ms for ms in times)
    return described(times, **more)


def trained(path: pathlib.Path, preset: str, steps: int) -> Any:
    """The run in `path`; trained first if there is none."""
    import forethought

    if not (path / "run.json").is_file():
        run = RunConfig(steps=steps, seed=0, eval_every=0, final_episodes=1, video=False)
        return forethought.train("pets", ENV, preset=preset, run=run, out=path, quiet=True)
    found = forethought.load_run(path)
    return found if found.status == "finished" else forethought.resume(path, quiet=True)


def evaluated(run: Any, plan_ms: float | None, episodes: int) -> dict[str, Any]:
    """Returns of the policy under a deadline (None: the preset's iterations), and what its actions took."""
    import jax.random as jr

    deadline = dataclasses.replace(run.setup.run, plan_ms=plan_ms)
    evaluator = dataclasses.replace(run.setup, run=deadline).evaluator(episodes)
    begun = time.perf_counter()
    returns = [round(float(r), 3) for r in evaluator(run.agent_state(), key=jr.key(1000)).returns]
    of = {"config": to_dict(run.setup.config), "steps": run.setup.run.steps, "seed": run.setup.run.seed}
    found = {"plan_ms": plan_ms, "run": of, "returns": returns, "return": summary(returns)}
    found["wall_s"] = round(time.perf_counter() - begun, 2)
    if plan_ms is not None:
        taken = evaluator.actor.latency.taken
        found["latency"] = described(taken, actions=len(taken), late=sum(ms > plan_ms for ms in taken))
    return found


def jobs(given: argparse.Namespace) -> dict[str, Any]:
    """What there is to do, by the name under which it is kept."""
    found: dict[str, Any] = {}
    counts = {"cartpole": given.actions, "paper-cartpole": given.paper_actions}
    deadlines = {"cartpole": given.plan_ms, "paper-cartpole": given.paper_plan_ms}
    for preset, label in PRESET.items():
        timing = {"count": counts[preset]}
        if "actions" in given.parts:
            found[f"actions, {label}"] = lambda p=preset, t=timing: time_actions(p, plan_ms=None, **t)
        if "deadline" in given.parts:
            found[f"deadline, {label}"] = lambda p=preset, t=timing: time_actions(p, plan_ms=deadlines[p], **t)
    if "returns" in given.parts:
        for budget in given.budgets:
            found[f"returns, {budget:g} ms"] = lambda b=budget: evaluated(
                trained(given.run, given.preset, given.steps), b, given.episodes
            )
    return found


def main(argv: list[str] | None = None) -> None:
    """Does what is missing in the raw file."""
    parser = options.with_skipping(options.parser(__doc__, "latency"))
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="which parts (all)")
    add("--actions", type=options.positive, default=2000, help="actions at our preset's sizes (%(default)s)")
    add("--paper-actions", type=options.positive, default=100, help="actions at the paper's sizes (%(default)s)")
    add("--plan-ms", type=float, default=20.0, help="deadline at our preset's sizes (%(default)s)")
    add("--paper-plan-ms", type=float, default=3000.0, help="deadline at the paper's sizes (%(default)s)")
    add("--budgets", type=float, nargs="+", default=[2, 4, 8, 16, 32, 64, 128], help="deadlines, ms (%(default)s)")
    add("--episodes", type=options.positive, default=10, help="per deadline (%(default)s)")
    add("--run", type=pathlib.Path, default=ROOT / "runs" / "benchmark-latency", help="run folder (%(default)s)")
    add("--preset", default="cartpole", choices=tuple(PRESETS), help="of the trained run (%(default)s)")
    add("--steps", type=options.positive, default=2000, help="of the trained run (%(default)s)")
    given = parser.parse_args(argv)
    machine.prepare(threads=given.threads)
    recorder = Recorder(given.out, benchmark="latency", settings={"threads": given.threads}, quiet=given.quiet)
    parts = recorder.data["parts"] = (read(given.out) or {}).get("parts", {})
    for name, job in jobs(given).items():
        if name in parts and options.skips(given, parts[name]):
            recorder.say(f"{name}: in {given.out} already")
            continue
        if name.startswith("returns"):
            trained(given.run, given.preset, given.steps)  # not part of what is watched
        watch = Watch()
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        found = job()
        parts[name] = {"date": date, "commit": recorder.data["commit"], "machine": watch.reading(), **found}
        recorder.save()
        recorder.say(f"{name}: {_line(parts[name])}")
    recorder.say("`python -m benchmarks.tables` brings docs/speed.md up to date")


def _line(part: dict[str, Any]) -> str:
    if "return" in part:
        return f"median return {part['return']['median']:.1f}"
    return f"p50 {part['p50_ms']:.1f} ms, p99 {part['p99_ms']:.1f} ms, {part['actions_per_s']:.2f} actions/s"


if __name__ == "__main__":
    main()
