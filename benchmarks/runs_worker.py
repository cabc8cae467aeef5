"""Forethought's drivers at work, on command: Dyna-Q, host steps, MBPO with several seeds, rows appended to a pool.

`dyna` and `host_steps` also run on the interface of version 0.1, for `benchmarks.versions`.
"""

import os
from collections.abc import Callable

from forethought.cli import machine

if __name__ == "__main__":  # before JAX is imported, which reads its settings then
    machine.prepare(threads=int(os.environ["NPROC"]))

import jax
import jax.numpy as jnp

from forethought.replay.uniform import UniformReplay
from forethought.types import Transition

from .dyna import ours as dyna_q
from .dyna import started
from .workers import Jobs


def dyna(task: dict) -> Callable[[], None]:
    """Real steps of Dyna-Q in the Dyna maze, in several runs side by side."""
    go = dyna_q(50, task["runs"])
    return lambda: go(task["steps"])


def host_steps(task: dict) -> Callable[[], None]:
    """Steps of Pendulum-v1 with random actions, the driver's bookkeeping and the replay included."""
    from forethought.agents.uniform import Uniform
    from forethought.envs.make import make
    from forethought.run.steps import StepDriver

    num_envs = task["num_envs"]
    env = make("Pendulum-v1", num_envs=num_envs)
    agent = Uniform(env.spec)
    driver = StepDriver(agent, env)
    progress = started(driver, agent, lambda *n: UniformReplay.empty(env.spec, 10_000, *n), num_envs)
    parts = driver.train(progress, total_steps=10**8)

    def go() -> None:
        for _ in range(task["steps"] // num_envs):
            next(parts)

    return go


def mbpo(task: dict) -> Callable[[], None]:
    """A whole run of MBPO on the pendulum, its compiled programs at hand; with `seeds` None, of one seed alone."""
    from forethought.agents.mbpo import MBPO
    from forethought.envs.pendulum import Pendulum
    from forethought.presets.mbpo import PRESETS
    from forethought.run.jit import JitDriver
    from forethought.types import Given

    env = Pendulum()
    agent = MBPO(env.spec, PRESETS["pendulum"], given=Given(env.reward_function, env.termination_function))
    driver = JitDriver(agent, env, num_seeds=task["seeds"])

    def go() -> None:
        parts = driver.train(driver.start(agent.data(task["steps"], 1), seed=0), total_steps=task["steps"])
        jax.block_until_ready(list(parts)[-1])

    return go


def appending(task: dict) -> Callable[[], None]:
    """Rows into a pool, again and again: as the driver does it (donated), or inside of an agent's update (copied)."""
    from forethought.core import Addition
    from forethought.run.progress import append, appended
    from forethought.types import Box, EnvSpec

    spec = EnvSpec("pool", 17, Box((-1.0,) * 6, (1.0,) * 6))  # HalfCheetah's sizes
    rows = jax.tree.map(lambda x: jnp.zeros((task["rows"], *x.shape), x.dtype), Transition.example(spec))
    data = {"model": UniformReplay.empty(spec, task["capacity"])}
    addition = {"model": Addition(rows, jnp.ones(task["rows"], bool), jnp.int32(task["capacity"]))}
    add = append if task["how"] == "driver" else jax.jit(lambda _, data, addition: appended(data, addition))

    def go() -> None:
        nonlocal data
        for _ in range(task["times"]):
            data = add(None, data, addition)
        jax.block_until_ready(data)

    return go


KINDS = {"dyna": dyna, "host_steps": host_steps, "mbpo": mbpo, "appending": appending}


if __name__ == "__main__":
    Jobs(lambda kind, task, options: (KINDS[kind](task), {})).serve()
