"""Forethought at work, on command: planning, fitting, acting, gradient steps, branched rollouts, matrix products."""

import dataclasses
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

from forethought.agents.dreamer_v3 import DreamerV3
from forethought.agents.mbpo import MBPO
from forethought.agents.planning import PlanningAgent
from forethought.core import Clock
from forethought.envs.pets_cartpole import PetsCartPole
from forethought.fit import GradientLearner
from forethought.learners.sac import SAC
from forethought.models.ensemble import Ensemble
from forethought.planners.cem import CEM
from forethought.presets.dreamer_v3 import DreamerV3Config
from forethought.presets.mbpo import MBPOConfig
from forethought.presets.pets import PETSConfig
from forethought.presets.sac import SACConfig
from forethought.presets.values import from_dict
from forethought.presets.world_model import WorldModelConfig
from forethought.replay.sequence import SequenceReplay
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, EnvSpec, Given, Transition, never_terminates

from . import work
from .workers import Jobs

RAIL, TILT = 2.4, 12 * 2 * jnp.pi / 360


def _ended(obs, action, next_obs):
    """As mbrl-lib's `cartpole`: off the rail, or fallen over."""
    return (jnp.abs(next_obs[0]) > RAIL) | (jnp.abs(next_obs[2]) > TILT)


def _reward(obs, action, next_obs):
    """As mbrl-lib's `cartpole`: 1 for every step that does not end the episode."""
    return 1.0 - _ended(obs, action, next_obs)


class Compiled:
    """A compiled function and its arguments; compiling is timed apart."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, notes: dict[str, Any] | None = None):
        self.arguments, self.notes = arguments, notes or {}  # notes: what the raw file should say of it
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
    """One CEM iteration through the ensemble; `arm` says how uncertainty travels, and whether noise is common."""
    wanted = work.from_dict(work.Planning, task)
    model = ensemble(wanted.networks, particles=wanted.particles, propagation=arm["propagation"])
    sizes = (wanted.horizon, wanted.population, -(-wanted.population // 10))
    planner = CEM(model.spec.action, *sizes, iterations=1, common_noise=arm["common_noise"])

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
    agent = PlanningAgent(env.spec, config, given=Given(env.reward_function, never_terminates))
    state = agent.init(key=jr.key(0))
    act = lambda state, memory, obs, key: agent.act(state, memory, obs, key=key, explore=True)[:2]
    return Compiled(act, state, agent.init_memory(state), jnp.zeros(4), jr.key(1))


def dreamer(sizes: work.Dreaming) -> DreamerV3:
    """An agent of those sizes, which takes one gradient step per update."""
    c = sizes
    spec = EnvSpec("benchmark", c.obs + 3 * c.image**2, Box((-1.0,) * c.action, (1.0,) * c.action))
    spec = dataclasses.replace(spec, image=(c.image, c.image, 3) if c.image else None)
    model = WorldModelConfig(
        deter=c.deter,
        hidden=c.hidden,
        latents=c.latents,
        classes=c.classes,
        blocks=c.blocks,
        prior_layers=c.prior_layers,
        units=c.units,
        layers=c.layers,
        depth=c.depth,
    )
    config = DreamerV3Config(
        train_ratio=1,
        batch_size=c.batch,
        batch_length=c.length,
        imagination=c.imagination,
        actor_layers=c.behaviour_layers,
        critic_layers=c.behaviour_layers,
        model=model,
    )
    return DreamerV3(spec, config)


def dreaming(task: dict, arm: dict) -> Compiled:
    """One update of Dreamer v3 from a replay of random steps, drawing the batch included."""
    sizes = work.Dreaming(**task)
    agent = dreamer(sizes)
    state, spec = agent.init(key=jr.key(0)), agent.spec
    steps = 4 * sizes.length
    keys = jr.split(jr.key(1), 3)
    obs = jr.normal(keys[0], (1 + steps, 1, spec.obs_dim))
    if sizes.image:
        obs = jr.randint(keys[0], obs.shape, 0, 256).astype(jnp.float32)
    action, reward = spec.action.sample((steps, 1), key=keys[1]), jr.normal(keys[2], (steps, 1))
    no = jnp.zeros((steps, 1), bool)
    rows = Transition(obs[:-1], action, reward, obs[1:], no, no)
    add = lambda replay, row: (replay.add(row), None)
    replay, _ = jax.lax.scan(add, SequenceReplay.empty(spec, steps + 1), rows)
    weights = sum(x.size for x in jax.tree.leaves(eqx.filter(state.learned, eqx.is_inexact_array)))
    clock = Clock.start(1)
    update = lambda state, data, key: agent.update(state, data, round="model", clock=clock, key=key)
    return Compiled(update, state, {"env": replay}, jr.key(2), notes={"parameters": weights})


def rows_of(spec: EnvSpec, count: int) -> Transition:
    """Transitions of random numbers."""
    keys = jr.split(jr.key(1), 4)
    obs, next_obs = (jr.normal(k, (count, spec.obs_dim)) for k in keys[:2])
    no = jnp.zeros(count, bool)
    return Transition(obs, spec.action.sample((count,), key=keys[2]), jr.normal(keys[3], (count,)), next_obs, no, no)


def control_spec(obs: int, action: int) -> EnvSpec:
    """A task of those sizes."""
    return EnvSpec("benchmark", obs, Box((-1.0,) * action, (1.0,) * action))


def sac_updates(task: dict, arm: dict) -> Compiled:
    """Gradient steps of SAC, each on a batch drawn for it."""
    sizes = work.SacUpdates(**{**task, "hidden": tuple(task["hidden"])})
    spec = control_spec(sizes.obs, sizes.action)
    learner = SAC(spec, SACConfig(hidden=sizes.hidden, batch_size=sizes.batch))
    state, replay = learner.init(key=jr.key(0)), UniformReplay.of(rows_of(spec, sizes.rows))
    weights = sum(x.size for x in jax.tree.leaves(eqx.filter((state.actor, state.critics), eqx.is_inexact_array)))
    draw = lambda replay: lambda key: replay.sample(sizes.batch, key=key)
    update = lambda state, replay, key: learner.updates(state, draw(replay), sizes.steps, key=key)
    return Compiled(update, state, replay, jr.key(2), notes={"parameters": weights})


def branched_rollouts(task: dict, arm: dict) -> Compiled:
    """Rollouts of MBPO after a fit, from a replay into the pool."""
    wanted = work.from_dict(work.BranchedRollouts, task)
    n, spec = wanted.networks, control_spec(wanted.networks.obs, wanted.networks.action)
    config = MBPOConfig(
        sac=SACConfig(hidden=tuple(wanted.policy)),
        rollouts=wanted.starts,
        rollout_length=(0, 1, wanted.horizon, wanted.horizon),
    )
    agent = MBPO(spec, config, given=Given(None, never_terminates))
    options = {"num_members": n.members, "num_elites": n.elites, "hidden": n.hidden, "propagation": "TS1"}
    model = Ensemble(spec, given=agent.given, particles=n.elites, **options, key=jr.key(0))
    data = agent.data(10_000, 1)
    data["env"] = UniformReplay.of(rows_of(spec, 10_000))
    state = dataclasses.replace(agent.init(key=jr.key(0)), learner=GradientLearner(model))
    length = jnp.int32(wanted.horizon)

    def imagined(state, data, key):
        addition, metrics = agent._imagined(state, data, length, key=key)
        return data["model"].extended(addition).size, metrics

    return Compiled(imagined, state, data, jr.key(1))


def peak(task: dict, arm: dict) -> Compiled:
    """Products of two square matrices, one after another."""
    left, right = (jr.uniform(k, (task["size"], task["size"])) for k in jr.split(jr.key(0)))
    product = lambda left, right: jax.lax.fori_loop(0, task["repeats"], lambda i, x: left @ x * 1e-3, right)
    return Compiled(product, left, right)


KINDS = {
    "planning": planning,
    "fitting": fitting,
    "action": action,
    "dreaming": dreaming,
    "sac_updates": sac_updates,
    "branched_rollouts": branched_rollouts,
    "peak": peak,
}


def made(kind: str, task: dict, options: dict) -> tuple[Callable[[], Any], dict[str, Any]]:
    """A compiled job, and how long compiling took, the first time and from the disk."""
    job = KINDS[kind](task, options)
    times = {"compile_s": round(job.compile_s, 3), "cached_compile_s": round(job.cached_compile_s, 3)}
    return job, {**times, **job.notes, "devices": [device.device_kind for device in jax.devices()]}


if __name__ == "__main__":
    Jobs(made).serve()
