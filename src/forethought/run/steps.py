"""The driver for environments stepped from Python, one step at a time: Gymnasium's, vector environments, others."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractAgent, AbstractHostEnv, AbstractHostReplay, AbstractReplay, HostStep
from ..core.programs import compiled, shared
from ..errors import TrainingFault
from ..types import Transition
from .actor import Actor
from .host_step import checked_return, started, stepped
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
    reset_key,
    stream,
    strongly_typed,
    updates_due,
    where_rows,
)


class HostCarry(eqx.Module):
    """The environments in the middle of their episodes, as far as it can be saved; leaves `[num_envs, ...]`."""

    obs: Array
    memory: Any
    returns: Array
    lengths: Array
    episode: Array  # episode i + num_envs * k is the k-th of environment i
    tick: Array  # [] calls of the environments' step so far


class _Programs(NamedTuple):
    """What is compiled for an agent in so many environments."""

    init: Callable[..., Any]  # (key)
    add: Callable[..., Any]  # (replay, batch, valid)
    update: Callable[..., Any]  # (state, replay, key, count)
    play: Callable[..., Any]  # the same for its draws alone
    sample: Callable[..., Any]  # (keys)
    keys: Callable[..., Any]  # (key, tick, drawn_at)
    fresh: Callable[..., Any]  # (state, memory, fresh)


def _programs(agent: AbstractAgent, num_envs: int) -> _Programs:
    def update(state: Any, replay: AbstractReplay, key: PRNGKeyArray, count: Array) -> Any:
        return agent.update(state, replay, key=stream(key, UPDATE, count))

    def play(state: Any, replay: AbstractReplay, key: PRNGKeyArray, count: Array) -> None:
        # Without results nothing is left to be computed but the keys of what is drawn.
        update(state, replay, key, count)

    def keys(key: PRNGKeyArray, tick: Array, drawn_at: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        index = jnp.arange(num_envs)
        return jax.vmap(lambda i: jr.fold_in(stream(key, ACT, drawn_at), i))(index), stream(key, STEP, tick)

    def fresh(state: Any, memory: Any, fresh: Array) -> Any:
        return where_rows(fresh, broadcast(agent.init_memory(state), len(fresh)), memory)

    return _Programs(
        init=compiled(lambda key: agent.init(key=stream(key, INIT, 0))),
        add=compiled(lambda _, replay, batch, valid: replay.add(batch, valid), donate=True),
        update=compiled(update) if agent.traceable else update,
        play=compiled(play),
        sample=compiled(jax.vmap(lambda k: agent.spec.action.sample(key=k))),
        keys=compiled(keys),
        fresh=compiled(fresh),
    )


class StepDriver:
    """Runs one agent in one host environment. Everything random is drawn as in the jit driver, from the same keys."""

    def __init__(self, agent: AbstractAgent, env: AbstractHostEnv, *, plan_ms: float | None = None):
        self.agent, self.env = agent, env
        self.actor = Actor(agent, explore=True, plan_ms=plan_ms)
        self._programs = shared(_programs, agent, env.num_envs)

    def start(self, replay: AbstractReplay, *, seed: int) -> Progress:
        """The progress before the first step."""
        n, key = self.env.num_envs, jr.key(seed)
        state = self._programs.init(key)
        episode = jnp.arange(n, dtype=jnp.int32)
        zeros, zero = jnp.zeros(n, jnp.int32), jnp.zeros((), jnp.int32)
        obs = jnp.zeros((n, self.env.spec.obs_dim))
        memory = broadcast(self.agent.init_memory(state), n)
        carry = HostCarry(obs, memory, jnp.zeros(n), zeros, episode, zero)
        ring = Episodes.empty(2 * n + 62)
        fault = Fault.none(self.agent.spec.action.sample((n,), key=key))
        return strongly_typed(Progress(state, replay, carry, key, zero, zero, ring, fault, {}))

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def train(self, progress: Progress, *, total_steps: int, notes: list[str] | None = None) -> Iterator[Progress]:
        """Goes on from `progress` until `total_steps`, yielding after every step and update.

        Where a single environment was left in the middle of an episode, the episode is played again to where it
        was; if the environment does not repeat itself, a new one begins (`notes` says so). Raises EnvironmentFault or
        TrainingFault; what was yielded last is whole and can be saved.
        """
        progress = self._begin(progress, [] if notes is None else notes)
        yield progress
        while True:
            while int(progress.updates) < self._updates_due(progress):
                progress = self._updated(progress)
                yield progress
                progress = dataclasses.replace(progress, metrics={})
            if int(progress.env_steps) >= total_steps:
                return
            progress = self._stepped(progress)
            yield progress

    def _updates_due(self, progress: Progress) -> int:
        """As the schedule says; an agent that learns online learns from every action, however short its repeat was."""
        if self.agent.online and self.env.spec.action_repeat > 1:
            return int(progress.env.tick)
        return updates_due(self.agent, int(progress.env_steps))

    def _updated(self, progress: Progress) -> Progress:
        old, key, count, replay = progress.agent_state, progress.key, progress.updates, progress.replay
        staged = replay
        if isinstance(replay, AbstractHostReplay) and self.agent.traceable:
            staged = replay.stage(lambda noting, rounds: self._programs.play(old, noting, key, count + rounds))
        state, metrics = jax.block_until_ready(self._programs.update(old, staged, key, count))
        if isinstance(replay, AbstractHostReplay):
            replay = replay.learned()
        check_metrics(metrics, update=int(count) + 1, env_steps=int(progress.env_steps))
        return dataclasses.replace(progress, agent_state=state, replay=replay, updates=count + 1, metrics=metrics)

    def _begin(self, progress: Progress, notes: list[str]) -> Progress:
        """Resets the environments, or brings them back to where a saved run left them."""
        carry, key = progress.env, progress.key
        steps = int(progress.env_steps)
        self.env.set_clock(steps - int(np.sum(carry.lengths)))  # as it was when the episodes began
        obs = started(self.env, [reset_key(self.agent, key, int(e)) for e in carry.episode])
        played = int(carry.lengths[0]) // self.env.spec.action_repeat
        if not np.any(np.asarray(carry.lengths)):
            # Where a vector environment resets itself a call late, the saved memory is of the episode that has ended.
            memory = self._new_memory(progress.agent_state)
            return dataclasses.replace(progress, env=dataclasses.replace(carry, obs=jnp.asarray(obs), memory=memory))
        if self.env.num_envs == 1 and played <= progress.replay.capacity:
            rows = jax.tree.map(np.asarray, progress.replay.latest(played))
            for k in range(played):
                if not np.array_equal(obs, rows.obs[k : k + 1]):
                    break
                tick = carry.tick - played + k
                self.env.set_clock(steps - (played - k) * self.env.spec.action_repeat)
                _, step_key = self._programs.keys(key, tick, tick)
                obs = stepped(self.env, rows.action[k : k + 1], step_key=step_key, reset_key=lambda i: key).obs
            else:
                if np.array_equal(obs, np.asarray(carry.obs)):
                    return progress
            self.env.set_clock(steps)
            obs = started(self.env, [reset_key(self.agent, key, int(e)) for e in carry.episode])
        notes.append("the unfinished episode could not be played back exactly; a new one was started in its place")
        n = self.env.num_envs
        memory = self._new_memory(progress.agent_state)
        carry = HostCarry(jnp.asarray(obs), memory, jnp.zeros(n), jnp.zeros(n, jnp.int32), carry.episode, carry.tick)
        return dataclasses.replace(progress, env=carry, replay=progress.replay.cut())

    def _new_memory(self, state: Any) -> Any:
        return strongly_typed(broadcast(self.agent.init_memory(state), self.env.num_envs))

    def _stepped(self, progress: Progress) -> Progress:
        carry, key, spec = progress.env, progress.key, self.env.spec
        random = int(progress.env_steps) < self.agent.random_steps
        drawn_at = carry.tick // self.agent.random_hold if random else carry.tick
        act_keys, step_key = self._programs.keys(key, carry.tick, drawn_at)
        memory, extras = carry.memory, None
        if random:
            action = np.asarray(self._programs.sample(act_keys))
        else:
            if self.actor.plan_ms is not None and not self.actor.latency.taken:
                self.actor.warm_up(progress.agent_state, memory, carry.obs, act_keys)
            action, memory, extras = self.actor(progress.agent_state, memory, carry.obs, act_keys)
            action = np.asarray(action)
        if not np.all(np.isfinite(action)):
            raise TrainingFault(
                f"the agent chose the non-finite action {action.tolist()} at step {int(progress.env_steps) + 1} "
                f"of the run on {spec.name}"
            )
        episode = np.array(carry.episode)

        def next_reset(i: int) -> PRNGKeyArray:
            return reset_key(self.agent, key, int(episode[i]) + self.env.num_envs)

        self.env.set_clock(int(progress.env_steps))
        step = stepped(self.env, action, step_key=step_key, reset_key=next_reset)
        return self._recorded(progress, action, memory, kept_extras(self.agent, extras, len(action)), step)

    def _recorded(self, progress: Progress, action: np.ndarray, memory: Any, extras: Any, step: HostStep) -> Progress:
        """`progress` with what happened in one step added."""
        carry = progress.env
        valid, over = step.valid, step.valid & (step.terminated | step.truncated)
        steps = np.where(valid, step.steps, 0).astype(np.int32)
        with np.errstate(over="ignore"):
            returns = np.asarray(carry.returns) + np.where(valid, step.reward, 0).astype(np.float32)
        checked_return(self.env.spec.name, int(progress.env_steps + steps.sum()), returns, action)
        seen = (np.asarray(carry.obs), action, step.reward, step.next_obs, step.terminated, step.truncated)
        batch = Transition(*map(jnp.asarray, seen), extras=extras)
        replay = progress.replay
        if valid.any():
            rows = replay, batch, jnp.asarray(valid)
            replay = self._programs.add(None, *rows) if replay.traceable else replay.add(*rows[1:])
        env_steps = progress.env_steps + int(steps.sum())
        lengths = np.asarray(carry.lengths) + steps
        episodes = progress.episodes
        if over.any():
            episodes = episodes.add(jnp.asarray(over), jnp.asarray(returns), jnp.asarray(lengths), env_steps)
        if step.fresh.any():
            memory = self._programs.fresh(progress.agent_state, memory, jnp.asarray(step.fresh))
        carry = HostCarry(
            jnp.asarray(step.obs),
            memory,
            jnp.asarray(np.where(over, 0, returns), jnp.float32),
            jnp.asarray(np.where(over, 0, lengths), jnp.int32),
            jnp.asarray(np.asarray(carry.episode) + self.env.num_envs * over, jnp.int32),
            carry.tick + 1,
        )
        return dataclasses.replace(progress, replay=replay, env=carry, env_steps=env_steps, episodes=episodes)
