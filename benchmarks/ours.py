"""Forethought at work, on command: one iteration of planning, one pass of fitting, one action, one matrix product."""

import os
import time
from collections.abc import Callable
from typing import Any

from forethought.cli import machine

if __name__ == "__main__":  # before JAX is imported, which reads its settings then
    machine.prepare(threads=int(os.environ["NPROC"]))

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from forethought.agents.pets import PETS
from forethought.envs.pets_cartpole import PetsCartPole
from forethought.fit import GradientLearner
from forethought.models.ensemble import Ensemble
from forethought.planners.cem import CEM
from forethought.presets.pets import PETSConfig
from forethought.presets.values import from_dict
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, EnvSpec, Given, Transition, never_terminates

from . import work
from .workers import serve, timed, warm

RAIL, TILT = 2.4, 12 * 2 * jnp.pi / 360


def _ended(obs, action, next_obs):
    """As mbrl-lib's `cartpole`: off the rail, or fallen over."""
    return (jnp.abs(next_obs[0]) > RAIL) | (jnp.abs(next_obs[2]) > TILT)


def _reward(obs, action, next_obs):
    """As mbrl-lib's `cartpole`: 1 for every step that does not end the episode."""
    return 1.0 - _ended(obs, action, next_obs)


class Compiled:
    """A compiled function and its arguments; compiling is timed apart."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.arguments = arguments
        begun = time.perf_counter()
        self.program = eqx.filter_jit(function).lower(*arguments).compile()
        self.compile_s = time.perf_counter() - begun
        begun = time.perf_counter()  # what a later process pays, once the compiled program is kept on disk
        jax.clear_caches()
        self.program = eqx.filter_jit(function).lower(*arguments).compile()
        self.cached_compile_s = time.perf_counter() - begun

    def __call__(self) -> Any:
        return jax.block_until_ready(self.program(*self.arguments))


def ensemble(networks: work.Networks, **options: Any) -> Ensemble:
    """An untrained ensemble of that size; reward and termination are given."""
    spec = EnvSpec("cartpole", networks.obs, Box((-1.0,) * networks.action, (1.0,) * networks.action))
    options = {"particles": networks.elites, **options}
    return Ensemble(
        spec,
        given=Given(_reward, _ended),
        num_members=networks.members,
        num_elites=networks.elites,
        hidden=networks.hidden,
        key=jr.key(0),
        **options,
    )


def planning(task: dict, arm: dict) -> Compiled:
    """One CEM iteration through the ensemble; `arm` are options of the ensemble."""
    wanted = work.from_dict(work.Planning, task)
    model = ensemble(wanted.networks, particles=wanted.particles, **arm)
    elites = -(-wanted.population // 10)
    planner = CEM(model.spec.action, wanted.horizon, wanted.population, elites, iterations=1)

    def plan(model, plan, obs, key):
        init_key, plan_key = jr.split(key)
        return planner(model, model.init(obs, key=init_key), plan, key=plan_key)

    return Compiled(plan, model, planner.init(), jnp.zeros(wanted.networks.obs), jr.key(1))


def fitting(task: dict, arm: dict) -> Compiled:
    """One pass of the learner over the rows, its statistics, resampling and shuffling included."""
    wanted = work.from_dict(work.Fitting, task)
    model = ensemble(wanted.networks, weight_decay=3e-5)
    learner = GradientLearner(model, learning_rate=7.5e-4, epochs=1, batch_size=wanted.batch, **arm)
    replay = UniformReplay.empty(model.spec, wanted.rows)
    keys = jr.split(jr.key(2), 3)
    obs, change = (jr.normal(k, (wanted.rows, wanted.networks.obs)) for k in keys[:2])
    action = model.spec.action.sample((wanted.rows,), key=keys[2])
    no = jnp.zeros(wanted.rows, bool)
    replay = replay.add(Transition(obs, action, jnp.zeros(wanted.rows), obs + 0.1 * change, no, no))
    return Compiled(lambda learner, replay, key: learner.fit(replay, key=key), learner, replay, jr.key(3))


def action(task: dict, arm: dict) -> Compiled:
    """One action of PETS on its cart-pole, untrained, at the config in `arm`."""
    env = PetsCartPole()
    config = from_dict(PETSConfig, arm["config"])
    agent = PETS(env.spec, config, given=Given(env.reward_function, never_terminates))
    state = agent.init(key=jr.key(0))
    act = lambda state, memory, obs, key: agent.act(state, memory, obs, key=key, explore=True)[:2]
    return Compiled(act, state, agent.init_memory(state), jnp.zeros(4), jr.key(1))


def peak(task: dict, arm: dict) -> Compiled:
    """Products of two square matrices, one after another."""
    left, right = (jr.uniform(k, (task["size"], task["size"])) for k in jr.split(jr.key(0)))
    product = lambda left, right: jax.lax.fori_loop(0, task["repeats"], lambda i, x: left @ x * 1e-3, right)
    return Compiled(product, left, right)


KINDS = {"planning": planning, "fitting": fitting, "action": action, "peak": peak}


class Jobs:
    """What is timed, by name."""

    def __init__(self) -> None:
        self.jobs: dict[str, Callable[[], Any]] = {}

    def prepare(self, name: str, kind: str, task: dict, options: dict) -> dict:
        """Compiles a job and runs it once; says how long compiling took, the first time and from the disk."""
        job = KINDS[kind](task, options)
        self.jobs[name] = job
        times = {"compile_s": round(job.compile_s, 3), "cached_compile_s": round(job.cached_compile_s, 3)}
        return {**times, "first_s": timed(job)["wall_s"], "devices": [device.device_kind for device in jax.devices()]}

    def time(self, name: str) -> dict:
        """One timing."""
        return warm(self.jobs[name])


if __name__ == "__main__":
    jobs = Jobs()
    serve({"prepare": jobs.prepare, "time": jobs.time})
