"""The driver for JAX environments: collecting is one compiled loop, and many seeds can run as one program."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractEnv, AbstractReplay
from ..core.programs import compiled, shared
from ..types import Transition
from .progress import (
    ACT,
    INIT,
    STEP,
    UPDATE,
    Episodes,
    Fault,
    Progress,
    broadcast,
    check_metrics,
    kept_extras,
    over_rows,
    reset_key,
    sound_step,
    steps_to_next_update,
    stream,
    strongly_typed,
    updates_due,
    where_rows,
)

SEEDS = "seeds"  # name of the axis of seeds side by side
MAX_TICKS = 128  # loop rounds in one call; bounds how many episodes can end between two yields
MAX_ONLINE_TICKS = 2048  # the same of an agent that learns inside the loop


class EnvCarry(eqx.Module):
    """The environments in the middle of their episodes; leaves `[num_envs, ...]`."""

    state: Any
    obs: Float[Array, "num_envs obs"]
    memory: Any
    returns: Float[Array, " num_envs"]
    lengths: Int[Array, " num_envs"]
    episode: Int[Array, " num_envs"]  # episode i + num_envs * k is the k-th of environment i
    tick: Int[Array, ""] | None = None  # calls of the step so far; None: as many as there are steps (no action repeat)


def most_ticks(agent: AbstractAgent) -> int:
    """Loop rounds in one call at most."""
    return MAX_ONLINE_TICKS if agent.online else MAX_TICKS


def start(agent: AbstractAgent, env: AbstractEnv, replay: AbstractReplay, *, key: PRNGKeyArray, num_envs: int):
    """The progress of a run before its first step."""
    state = agent.init(key=stream(key, INIT, 0))
    episode = jnp.arange(num_envs, dtype=jnp.int32)
    env_state, obs = jax.vmap(lambda e: env.reset(key=reset_key(agent, key, e)))(episode)
    zeros = jnp.zeros((), jnp.int32)
    carry = EnvCarry(
        env_state,
        obs,
        broadcast(agent.init_memory(state), num_envs),
        jnp.zeros(num_envs),
        jnp.zeros(num_envs, jnp.int32),
        episode,
        zeros if env.spec.action_repeat > 1 else None,
    )
    ring = Episodes.empty(2 * most_ticks(agent) * num_envs)
    return strongly_typed(
        Progress(
            state,
            replay,
            carry,
            key,
            zeros,
            zeros,
            ring,
            Fault.none(agent.spec.action.sample((num_envs,), key=key)),
            {},
        )
    )


def collect(
    agent: AbstractAgent,
    env: AbstractEnv,
    progress: Progress,
    ticks: Int[Array, ""],
    *,
    random: bool,
    halt: bool,
) -> Progress:
    """`progress` after `ticks` steps in every environment; actions are uniform if `random`.

    With `halt`, a step with a non-finite number ends the loop and is taken back, so that the progress can be saved.
    An agent that learns online is updated after every step; the metrics are then those of the last update.
    """
    key = progress.key
    num_envs = progress.env.obs.shape[0]

    def one(carry: tuple) -> tuple:
        i, replay, env_carry, env_steps, episodes, fault, learned = carry
        state = learned[0] if agent.online else progress.agent_state
        tick = env_steps // num_envs if env_carry.tick is None else env_carry.tick
        transition, memory, env_state, steps = _step(agent, env, state, env_carry, key, tick, random=random)
        returns, lengths = env_carry.returns + transition.reward, env_carry.lengths + steps
        over = transition.terminated | transition.truncated
        episode = env_carry.episode + num_envs * over
        taken = jnp.sum(steps)
        # Seeds side by side share one count, on which their schedule hangs: that of the seed that took most.
        new_steps = env_steps + (taken if halt else jax.lax.pmax(taken, SEEDS))
        reset = lambda e: env.reset(key=reset_key(agent, key, e), clock=new_steps)
        fresh_state, fresh_obs = jax.vmap(reset)(episode)
        new_carry = EnvCarry(
            where_rows(over, fresh_state, env_state),
            where_rows(over, fresh_obs, transition.next_obs),
            where_rows(over, broadcast(agent.init_memory(state), num_envs), memory),
            jnp.where(over, 0.0, returns),
            jnp.where(over, 0, lengths),
            episode,
            None if env_carry.tick is None else tick + 1,
        )
        new_episodes = episodes.add(over, returns, lengths, new_steps)
        fault = fault.note(transition, new_steps, returns)
        new_replay = replay.add(transition, jnp.full(num_envs, fault.code == 0) if halt else None)
        if halt:
            keep = lambda new, old: jax.tree.map(lambda n, o: _unless(fault.code > 0, n, o), new, old)
            new_carry, new_steps = keep(new_carry, env_carry), keep(new_steps, env_steps)
            new_episodes = keep(new_episodes, episodes)
        if agent.online:
            learn = lambda: _learn(agent, learned, new_replay, key)
            learned = jax.lax.cond(fault.code > 0, lambda: learned, learn) if halt else learn()
        return i + 1, new_replay, new_carry, new_steps, new_episodes, fault, learned

    learned = (progress.agent_state, progress.updates, {})
    if agent.online:
        metrics = jax.eval_shape(lambda: agent.update(progress.agent_state, progress.replay, key=key)[1])
        learned = (*learned[:2], jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics))
    carry = (jnp.zeros((), jnp.int32), progress.replay, progress.env, progress.env_steps)
    carry = (*carry, progress.episodes, progress.fault, learned if agent.online else None)
    dynamic, static = eqx.partition(carry, eqx.is_array)
    go_on = lambda d: (d[0] < ticks) & (d[5].code == 0) if halt else d[0] < ticks
    body = lambda d: eqx.filter(one(eqx.combine(d, static)), eqx.is_array)
    carry = eqx.combine(jax.lax.while_loop(go_on, body, dynamic), static)
    _, replay, env_carry, env_steps, episodes, fault, changed = carry
    state, updates, metrics = changed if agent.online else learned
    return Progress(state, replay, env_carry, key, env_steps, updates, episodes, fault, metrics)


def _step(agent, env, state, env_carry: EnvCarry, key, tick, *, random: bool) -> tuple[Transition, Any, Any, Array]:
    """One step in every environment: what happened, the memories, the next states and the simulator steps taken."""
    index = jnp.arange(env_carry.obs.shape[0])
    drawn_at = tick // agent.random_hold if random else tick
    keys = jax.vmap(lambda i: jr.fold_in(stream(key, ACT, drawn_at), i))(index)
    memory, extras = env_carry.memory, None
    if random:
        action = jax.vmap(lambda k: env.spec.action.sample(key=k))(keys)
    else:
        act = lambda m, o, k: agent.act(state, m, o, key=k, explore=True)
        action, memory, extras = over_rows(act, memory, env_carry.obs, keys)
    extras = kept_extras(agent, extras, len(index))
    keys = jax.vmap(lambda i: jr.fold_in(stream(key, STEP, tick), i))(index)
    step = jax.vmap(lambda s, a, k: sound_step(env, *env.counted_step(s, a, key=k)))
    env_state, next_obs, reward, terminated, truncated, steps = step(env_carry.state, action, keys)
    seen = Transition(env_carry.obs, action, reward, next_obs, terminated, truncated, extras)
    return seen, memory, env_state, steps


def _learn(agent: AbstractAgent, learned: tuple, replay: AbstractReplay, key: PRNGKeyArray) -> tuple:
    """Agent state, count of updates and metrics after one more update."""
    state, updates, _ = learned
    state, metrics = agent.update(state, replay, key=stream(key, UPDATE, updates))
    return state, updates + 1, metrics


def _unless(fault: Array, new: Any, old: Any) -> Any:
    """`old` where `fault`, else `new`; typed keys too."""
    return where_rows(~fault[None], jax.tree.map(lambda x: x[None], new), jax.tree.map(lambda x: x[None], old))[0]


def seed_axes(progress: Progress) -> Progress:
    """Which leaves of a progress differ between seeds (0) and which are counters common to all (None)."""
    axes = jax.tree.map(lambda x: 0 if eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct) else None, progress)
    counters = jax.tree.map(lambda x: None if jnp.ndim(x) == 0 else 0, progress.replay)
    return dataclasses.replace(axes, replay=counters, env_steps=None, updates=None)


class _Programs(NamedTuple):
    """What is compiled for an agent in an environment."""

    start: Callable[..., Progress]  # (replay, key)
    collect: Callable[..., Progress]  # ((ticks, random), progress)
    update: Callable[..., Any]  # (state, replay, key, count)
    traces: dict[str, int]  # how often each was traced


def _programs(agent: AbstractAgent, env: AbstractEnv, num_envs: int, num_seeds: int | None) -> _Programs:
    traces, solo = {"collect": 0, "update": 0}, num_seeds is None

    def begin(replay: AbstractReplay, keys: PRNGKeyArray) -> Progress:
        one = lambda k: start(agent, env, replay, key=k, num_envs=num_envs)
        if solo:
            return one(keys)
        return eqx.filter_vmap(one, out_axes=seed_axes(eqx.filter_eval_shape(one, keys[0])))(keys)

    def collecting(frozen: Any, progress: Progress) -> Progress:
        ticks, random = frozen
        traces["collect"] += 1
        go = lambda p: collect(agent, env, p, ticks, random=random, halt=solo)
        if solo:
            return go(progress)
        axes = seed_axes(progress)
        out_axes = dataclasses.replace(axes, metrics=0)
        return eqx.filter_vmap(go, in_axes=(axes,), out_axes=out_axes, axis_name=SEEDS)(progress)

    def update(state: Any, replay: AbstractReplay, key: PRNGKeyArray, count: Array) -> Any:
        traces["update"] += 1
        go = lambda s, r, k: agent.update(s, r, key=stream(k, UPDATE, count))
        if solo:
            return go(state, replay, key)
        axes = jax.tree.map(lambda x: None if jnp.ndim(x) == 0 else 0, replay)
        return eqx.filter_vmap(go, in_axes=(eqx.if_array(0), axes, 0))(state, replay, key)

    # What is learned inside the loop can go wrong there, and the state before it must then still be whole.
    return _Programs(compiled(begin), compiled(collecting, donate=not agent.online), compiled(update), traces)


class JitDriver:
    """The compiled functions of one (agent, environment) pair, for one seed or for `num_seeds` side by side.

    Compiled once: the number of steps is an argument, and data keep their shape. Drivers of equal agents and
    environments share the compiled functions.
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
        per_tick = num_envs * env.spec.action_repeat
        if agent.online and (num_envs, agent.random_steps, agent.update_every) != (1, 0, per_tick):
            raise ValueError(
                f"{type(agent).__name__} learns from each step as it comes (online): it wants num_envs=1 (got "
                f"{num_envs}), random_steps=0 (got {agent.random_steps}), update_every={env.spec.action_repeat} (got "
                f"{agent.update_every}); num_seeds runs several side by side"
            )
        self.agent, self.env, self.num_envs, self.num_seeds = agent, env, num_envs, num_seeds
        self._programs = shared(_programs, agent, env, num_envs, num_seeds)
        self._traced_before = dict(self._programs.traces)

    @property
    def traces(self) -> dict[str, int]:
        """How often the compiled functions were traced since this driver was made, by whichever driver shares them."""
        return {name: count - self._traced_before[name] for name, count in self._programs.traces.items()}

    def start(self, replay: AbstractReplay, *, seed: int) -> Progress:
        """The progress before the first step; seeds are `seed`, `seed + 1`, ... `replay` is for one seed."""
        if not replay.traceable:
            raise ValueError(
                f"{type(replay).__name__} works on the host (traceable=False), which the jit driver cannot run; "
                "use the step driver (forethought.run.steps), or a replay on the device"
            )
        if self.num_seeds is None:
            return self._programs.start(replay, jr.key(seed))
        seeds = jnp.asarray(np.arange(seed, seed + self.num_seeds), jnp.uint32)  # seeds go up to 2**32 - 1
        return self._programs.start(replay, jax.vmap(jr.key)(seeds))

    def collect(self, progress: Progress, ticks: int, *, random: bool) -> Progress:
        """After `ticks` steps in every environment. Donates `progress`, unless the agent learns online."""
        return self._programs.collect((jnp.asarray(ticks, jnp.int32), random), progress)

    def update(self, progress: Progress) -> Progress:
        """After one round of learning, with its metrics. Raises TrainingFault if one is not finite."""
        state, metrics = self._programs.update(progress.agent_state, progress.replay, progress.key, progress.updates)
        check_metrics(metrics, update=int(progress.updates) + 1, env_steps=int(progress.env_steps))
        return dataclasses.replace(progress, agent_state=state, updates=progress.updates + 1, metrics=metrics)

    def train(
        self,
        progress: Progress,
        *,
        total_steps: int,
        pause_every: int | None = None,
        seconds_per_yield: float = 0.5,
    ) -> Iterator[Progress]:
        """Goes on from `progress` until `total_steps`, yielding it first, then about every `seconds_per_yield`, after
        updates, and at every multiple of `pause_every` environment steps.

        What is learned does not depend on where it yields. Raises EnvironmentFault or TrainingFault where a number
        is not finite; what was yielded last can then still be saved (one seed), or the last checkpoint holds.
        """
        per_tick = self.num_envs * self.env.spec.action_repeat
        ticks = 1
        yield progress
        while True:
            while int(progress.updates) < updates_due(self.agent, int(progress.env_steps)):
                progress = self.update(progress)
                yield progress
                progress = dataclasses.replace(progress, metrics={})
            steps = int(progress.env_steps)
            if steps >= total_steps:
                return
            left = total_steps - steps if self.agent.online else steps_to_next_update(self.agent, steps, total_steps)
            if pause_every is not None:
                left = min(left, pause_every - steps % pause_every)
            left = -(-left // per_tick)
            begun = time.perf_counter()
            random = steps < self.agent.random_steps
            progress = dataclasses.replace(progress, metrics={})
            progress = jax.block_until_ready(self.collect(progress, min(ticks, left), random=random))
            check_metrics(progress.metrics, update=int(progress.updates), env_steps=int(progress.env_steps))
            elapsed = time.perf_counter() - begun
            error = progress.fault.error(self.env.spec.name)
            if error is not None and self.num_seeds is not None:
                raise error
            # With no fault this changes nothing; after one, what is yielded last must be able to go on.
            yield dataclasses.replace(progress, fault=jax.tree.map(jnp.zeros_like, progress.fault))
            if error is not None:
                raise error
            if elapsed < seconds_per_yield / 2:
                ticks = min(2 * ticks, most_ticks(self.agent))
            elif elapsed > 2 * seconds_per_yield:
                ticks = max(ticks // 2, 1)
