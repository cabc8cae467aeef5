"""Real and imagined steps per second of Dyna-Q in the 6x9 Dyna maze, beside the same algorithm in plain NumPy.

    python -m benchmarks.dyna

Both walk the same maze from the start, with 50 planning steps after each real one. The NumPy arm is the loop of the
book, one run, with an array for the values and dictionaries for the model. Ours is the driver that training uses, with
one run and with several side by side; the first call of the loop, which compiles, is left out. About two minutes on two
cores.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from forethought.cli import machine

from . import options
from .record import Recorder, summary

ALPHA, GAMMA, EPSILON = 0.1, 0.95, 0.1


def numpy_dyna(next_state: np.ndarray, start: int, goal: int, planning_steps: int, seed: int) -> Callable[[int], None]:
    """A function that goes on for so many real steps; `next_state` is `[states, actions]`."""
    rng = np.random.default_rng(seed)
    states, actions = next_state.shape
    q = np.zeros((states, actions))
    model: dict[int, dict[int, tuple[float, int]]] = {}
    visited: list[int] = []
    at = start

    def learn(state: int, action: int, reward: float, after: int) -> None:
        future = 0.0 if after == goal else q[after].max()
        q[state, action] += ALPHA * (reward + GAMMA * future - q[state, action])

    def go(steps: int) -> None:
        nonlocal at
        for _ in range(steps):
            if rng.random() < EPSILON:
                action = int(rng.integers(actions))
            else:
                action = int(rng.choice(np.flatnonzero(q[at] == q[at].max())))
            after = int(next_state[at, action])
            reward = float(after == goal)
            learn(at, action, reward, after)
            if at not in model:
                model[at] = {}
                visited.append(at)
            model[at][action] = (reward, after)
            for place, choice in rng.random((planning_steps, 2)):
                state = visited[int(place * len(visited))]
                tried = model[state]
                imagined = list(tried)[int(choice * len(tried))]
                learn(state, imagined, *tried[imagined])
            at = start if after == goal else after

    return go


def started(driver: Any, agent: Any, replay: Callable[..., Any], num_envs: int = 1) -> Any:
    """The driver's first progress, with one replay for what is met."""
    if hasattr(agent, "data"):
        return driver.start({"env": replay(num_envs)}, seed=0)
    return driver.start(replay(), seed=0)  # version 0.1, for `benchmarks.versions`


def ours(planning_steps: int, runs: int) -> Callable[[int], None]:
    """A function that goes on for so many real steps in each of `runs` runs side by side, and waits for the end."""
    import jax

    from forethought.agents.dyna_q import DynaQ
    from forethought.envs.tabular import TABULAR
    from forethought.presets.dyna_q import DynaQConfig
    from forethought.replay.uniform import UniformReplay
    from forethought.run.jit import JitDriver

    env = TABULAR["dyna-maze"]()
    config = DynaQConfig(planning_steps=planning_steps, step_size=ALPHA, discount=GAMMA, epsilon=EPSILON)
    agent = DynaQ(env.spec, config)
    driver = JitDriver(agent, env, num_seeds=runs)
    progress = started(driver, agent, lambda *_: UniformReplay.empty(env.spec, 1))

    def go(steps: int) -> None:
        nonlocal progress
        fresh = dataclasses.replace(progress, metrics={})  # as the driver hands it on
        progress = jax.block_until_ready(driver.collect(fresh, steps, random=False))

    return go


def maze() -> tuple[np.ndarray, int, int]:
    """Where each move leads, the start and the goal."""
    from forethought.envs.tabular import TABULAR

    env = TABULAR["dyna-maze"]()
    following = np.asarray(env.cumulative[0]).argmax(-1)
    return following, int(np.asarray(env.start).argmax()), int(np.asarray(env.terminal).argmax())


def timed(go: Callable[[int], None], steps: int, seconds: float, least: int = 3) -> list[float]:
    """Seconds of single calls, the first (compiling) left out: `least` of them, and more until `seconds` are over."""
    go(steps)
    taken: list[float] = []
    while len(taken) < least or sum(taken) < seconds:
        begun = time.perf_counter()
        go(steps)
        taken.append(time.perf_counter() - begun)
    return taken


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.parser(__doc__, "dyna")
    parser.add_argument("--runs", type=options.positive, nargs="+", default=[1, 30, 256], help="of ours (%(default)s)")
    parser.add_argument("--planning-steps", type=options.positive, default=50, help="(%(default)s)")
    parser.add_argument("--steps", type=options.positive, default=1000, help="real steps of a call (%(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each arm at least (%(default)s)")
    given = parser.parse_args(argv)
    machine.prepare(given.threads)
    settings = {name: getattr(given, name) for name in ("threads", "planning_steps", "steps", "seconds")}
    recorder = Recorder(given.out, benchmark="dyna", settings=settings, quiet=given.quiet)
    arms = [("numpy", 1, lambda: numpy_dyna(*maze(), given.planning_steps, 0))]
    arms += [("forethought", runs, lambda runs=runs: ours(given.planning_steps, runs)) for runs in given.runs]
    found: list[dict[str, Any]] = []
    for name, runs, make in arms:
        each = runs * given.steps * (1 + given.planning_steps)
        rates = [float(f"{each / taken:.4g}") for taken in timed(make(), given.steps, given.seconds)]
        found.append({"arm": name, "runs": runs, "steps_per_s": summary(rates), "all": rates})
        recorder.save(arms=found)
        recorder.say(f"{name:>12}, {runs:3} runs: {found[-1]['steps_per_s']['median']:14,.0f} steps per second")
    recorder.say(f"wrote {given.out}")


if __name__ == "__main__":
    main()
