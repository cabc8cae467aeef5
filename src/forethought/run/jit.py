"""The driver for JAX environments: collecting is one compiled loop, and many seeds can run as one program."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int

from ..core import AbstractAgent, AbstractEnv, AbstractReplay
from ..types import Transition
from .progress import (
    ACT,
    INIT,
    RESET,
    STEP,
    UPDATE,
    Episodes,
    Fault,
    Progress,
    broadcast,
    steps_to_next_update,
    stream,
    updates_due,
    where_rows,
)

MAX_TICKS = 128  # loop rounds in one call; bounds how many episodes can end between two yields


class EnvCarry(eqx.Module):
    """The environments in the middle of their episodes; leaves `[num_envs, ...]`."""

    state: Any
    obs: Float[Array, "num_envs obs"]
    memory: Any
    returns: Float[Array, " num_envs"]
    lengths: Int[Array, " num_envs"]
    episode: Int[Array, " num_envs"]  # episode i + num_envs * k is the k-th of environment i


def start(agent: AbstractAgent, env: AbstractEnv, replay: AbstractReplay, *, seed: Array | int, num_envs: int):
    """The progress of a run before its first step."""
    key = jr.key(seed)
    state = agent.init(key=stream(key, INIT, 0))
    episode = jnp.arange(num_envs, dtype=jnp.int32)
    env_state, obs = jax.vmap(lambda e: env.reset(key=stream(key, RESET, e)))(episode)
    zeros = jnp.zeros((), jnp.int32)
    carry = EnvCarry(
        env_state,
        obs,
        broadcast(agent.init_memory(state), num_envs),
        jnp.zeros(num_envs),
        jnp.zeros(num_envs, jnp.int32),
        episode,
    )
    ring = Episodes.empty(2 * MAX_TICKS * num_envs)
    return Progress(state, replay, carry, key, zeros, zeros, ring, Fault.none(), {})


def collect(agent: AbstractAgent, env: AbstractEnv, progress: Progress, ticks: Int[Array, ""], *, random: bool):
    """`progress` after `ticks` steps in every environment; actions are uniform if `random`."""
    key, state, spec = progress.key, progress.agent_state, env.spec
    num_envs = progress.env.obs.shape[0]
    per_tick = num_envs * spec.action_repeat

    def one(i: Array, carry: Any) -> Any:
        replay, env_carry, env_steps, episodes, fault = carry
        tick = env_steps // per_tick
        index = jnp.arange(num_envs)
        keys = jax.vmap(lambda i: jr.fold_in(stream(key, ACT, tick), i))(index)
        memory = env_carry.memory
        if random:
            action = jax.vmap(lambda k: spec.action.sample(key=k))(keys)
        else:
            act = lambda m, o, k: agent.act(state, m, o, key=k, explore=True)[:2]
            action, memory = jax.vmap(act)(memory, env_carry.obs, keys)
        keys = jax.vmap(lambda i: jr.fold_in(stream(key, STEP, tick), i))(index)
        step = jax.vmap(lambda s, a, k: env.step(s, a, key=k))
        env_state, next_obs, reward, terminated, truncated = step(env_carry.state, action, keys)
        transition = Transition(env_carry.obs, action, reward, next_obs, terminated, truncated)
        env_steps = env_steps + per_tick
        returns, lengths = env_carry.returns + reward, env_carry.lengths + spec.action_repeat
        over = terminated | truncated
        episodes = episodes.add(over, returns, lengths, env_steps)
        episode = env_carry.episode + num_envs * over
        fresh_state, fresh_obs = jax.vmap(lambda e: env.reset(key=stream(key, RESET, e)))(episode)
        env_carry = EnvCarry(
            where_rows(over, fresh_state, env_state),
            where_rows(over, fresh_obs, next_obs),
            where_rows(over, broadcast(agent.init_memory(state), num_envs), memory),
            jnp.where(over, 0.0, returns),
            jnp.where(over, 0, lengths),
            episode,
        )
        return replay.add(transition), env_carry, env_steps, episodes, note_fault(fault, transition, env_steps)

    carry = (progress.replay, progress.env, progress.env_steps, progress.episodes, progress.fault)
    dynamic, static = eqx.partition(carry, eqx.is_array)
    body = lambda i, d: eqx.filter(one(i, eqx.combine(d, static)), eqx.is_array)
    carry = eqx.combine(jax.lax.fori_loop(0, ticks, body, dynamic), static)
    return Progress(state, carry[0], carry[1], key, carry[2], progress.updates, carry[3], carry[4], {})


def note_fault(fault: Fault, transition: Transition, env_steps: Array) -> Fault:
    """`fault`, or the non-finite action, observation or reward of this step if it is the first."""
    action = ~jnp.all(jnp.isfinite(transition.action))
    seen = ~jnp.all(jnp.isfinite(transition.next_obs)) | ~jnp.all(jnp.isfinite(transition.reward))
    code = jnp.where(action, 1, jnp.where(seen, 2, 0)).astype(jnp.int32)
    first = (fault.code == 0) & (code > 0)
    return Fault(jnp.where(first, code, fault.code), jnp.where(first, env_steps, fault.step))


def update(agent: AbstractAgent, progress: Progress) -> tuple[Progress, dict[str, Array]]:
    """`progress` after one round of learning, and its metrics."""
    key = stream(progress.key, UPDATE, progress.updates)
    state, metrics = agent.update(progress.agent_state, progress.replay, key=key)
    return dataclasses.replace(progress, agent_state=state, updates=progress.updates + 1), metrics


def seed_axes(progress: Progress) -> Progress:
    """Which leaves of a progress differ between seeds (0) and which are counters common to all (None)."""
    axes = jax.tree.map(lambda x: 0 if eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct) else None, progress)
    counters = jax.tree.map(lambda x: None if jnp.ndim(x) == 0 else 0, progress.replay)
    return dataclasses.replace(axes, replay=counters, env_steps=None, updates=None)


class JitDriver:
    """The compiled functions of one (agent, environment) pair, for one seed or for `num_seeds` side by side.

    Compiled once: the number of steps is an argument, and data keep their shape.
    """

    def __init__(self, agent: AbstractAgent, env: AbstractEnv, *, num_envs: int = 1, num_seeds: int | None = None):
        """Raises ValueError for an agent that must run on the host, or sizes below 1."""
        if not agent.traceable:
            raise ValueError(
                f"{type(agent).__name__} does work on the host (traceable=False), which the jit driver cannot run; "
                "use the step driver (forethought.run.steps)"
            )
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        if num_seeds is not None and num_seeds < 1:
            raise ValueError(f"num_seeds={num_seeds} must be at least 1")
        self.agent, self.env, self.num_envs, self.num_seeds = agent, env, num_envs, num_seeds
        self.traces = {"collect": 0, "update": 0}
        self._collect = eqx.filter_jit(self._traced_collect, donate="all-except-first")
        self._update = eqx.filter_jit(self._traced_update, donate="all-except-first")

    def start(self, replay: AbstractReplay, *, seed: int) -> Progress:
        """The progress before the first step; seeds are `seed`, `seed + 1`, ... `replay` is for one seed."""
        begin = lambda s: start(self.agent, self.env, replay, seed=s, num_envs=self.num_envs)
        if self.num_seeds is None:
            return eqx.filter_jit(begin)(seed)
        example = eqx.filter_eval_shape(begin, seed)
        axes = seed_axes(example)
        seeds = seed + jnp.arange(self.num_seeds)
        return eqx.filter_jit(eqx.filter_vmap(begin, out_axes=axes))(seeds)

    def _traced_collect(self, frozen: Any, progress: Progress) -> Progress:
        ticks, random = frozen
        self.traces["collect"] += 1
        go = lambda p: collect(self.agent, self.env, p, ticks, random=random)
        if self.num_seeds is None:
            return go(progress)
        axes = seed_axes(progress)
        return eqx.filter_vmap(go, in_axes=(axes,), out_axes=axes)(progress)

    def _traced_update(self, frozen: None, progress: Progress) -> tuple[Progress, dict[str, Array]]:
        self.traces["update"] += 1
        if self.num_seeds is None:
            return update(self.agent, progress)
        axes = seed_axes(progress)
        go = lambda p: update(self.agent, p)
        return eqx.filter_vmap(go, in_axes=(axes,), out_axes=(axes, 0))(progress)

    def collect(self, progress: Progress, ticks: int, *, random: bool) -> Progress:
        """After `ticks` steps in every environment. Donates `progress`."""
        return self._collect((jnp.asarray(ticks, jnp.int32), random), progress)

    def update(self, progress: Progress) -> tuple[Progress, dict[str, Array]]:
        """After one round of learning, with its metrics. Donates `progress`."""
        return self._update(None, progress)

    def train(self, progress: Progress, *, total_steps: int, seconds_per_yield: float = 0.5) -> Iterator[Progress]:
        """Goes on from `progress` until `total_steps`, yielding about every `seconds_per_yield` and after updates.

        What is learned does not depend on where it yields.
        """
        per_tick = self.num_envs * self.env.spec.action_repeat
        steps, updates, ticks = int(progress.env_steps), int(progress.updates), 1
        while True:
            while updates < updates_due(self.agent, steps):
                progress, metrics = self.update(progress)
                updates += 1
                yield dataclasses.replace(progress, metrics=metrics)
                progress = dataclasses.replace(progress, metrics={})
            left = -(-steps_to_next_update(self.agent, steps, total_steps) // per_tick)
            if steps >= total_steps:
                return
            begun, now = time.perf_counter(), min(ticks, left)
            random = steps < self.agent.random_steps
            progress = jax.block_until_ready(self.collect(progress, now, random=random))
            steps += now * per_tick
            if time.perf_counter() - begun < seconds_per_yield / 2:
                ticks = min(2 * ticks, MAX_TICKS)
            elif time.perf_counter() - begun > 2 * seconds_per_yield:
                ticks = max(ticks // 2, 1)
            yield progress
