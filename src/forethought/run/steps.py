"""The driver for environments stepped from Python, one step at a time: Gymnasium's, vector environments, others."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractAgent, AbstractHostEnv, AbstractHostReplay, AbstractReplay, Clock, HostStep
from ..core.programs import compiled, shared
from ..errors import TrainingFault
from .actor import Actor
from .host_step import checked_return, started, stepped
from .interface import AbstractDriver
from .progress import (
    ACT,
    INIT,
    STEP,
    EnvCarry,
    Progress,
    append,
    broadcast,
    called,
    check_metrics,
    first_progress,
    no_extras,
    recorded,
    reset_key,
    stream,
    strongly_typed,
)

Data = dict[str, AbstractReplay]


class _Programs(NamedTuple):
    """What is compiled for an agent in so many environments."""

    init: Callable[..., Any]  # (key)
    record: Callable[..., Any]  # (state, before, env's data, action, (memory, extras), step)
    update: Callable[..., Any]  # (round's index, state, data, key, clock)
    play: Callable[..., Any]  # the same for its draws alone
    sample: Callable[..., Any]  # (keys)
    keys: Callable[..., Any]  # (key, tick, drawn_at)


def _programs(agent: AbstractAgent, num_envs: int) -> _Programs:
    def update(index: int, state: Any, data: Data, key: PRNGKeyArray, clock: Clock) -> Any:
        return *called(agent, index, state, data, clock=clock, key=key), clock.called(index)

    def play(*args: Any) -> None:
        # Without results nothing is left to be computed but the keys of what is drawn.
        update(*args)

    def keys(key: PRNGKeyArray, tick: Array, drawn_at: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        index = jnp.arange(num_envs)
        return jax.vmap(lambda i: jr.fold_in(stream(key, ACT, drawn_at), i))(index), stream(key, STEP, tick)

    def record(state: Any, before: Any, env_data: Any, action: Array, chosen: Any, step: HostStep) -> Any:
        memory, extras = (before[0].memory, no_extras(agent, state, before[0])) if chosen is None else chosen
        new = recorded(agent, state, before, action, memory, extras, step)
        return new if env_data is None else (*new[:3], env_data.add(new.seen, step.valid))

    return _Programs(
        init=compiled(lambda key: agent.init(key=stream(key, INIT, 0))),
        record=compiled(record, donate=True),
        update=compiled(update) if agent.traceable else update,
        play=compiled(play),
        sample=compiled(jax.vmap(lambda k: agent.spec.action.sample(key=k))),
        keys=compiled(keys),
    )


class StepDriver(AbstractDriver):
    """Runs one agent in one host environment. Everything random is drawn as in the jit driver, from the same keys."""

    yields_every_step = True

    def __init__(self, agent: AbstractAgent, env: AbstractHostEnv, *, plan_ms: float | None = None):
        """Raises ValueError for an invalid schedule."""
        agent.schedule.check()
        self.agent, self.env = agent, env
        self.actor = Actor(agent, explore=True, plan_ms=plan_ms)
        self.latency = None if plan_ms is None else self.actor.latency
        self._programs = shared(_programs, agent, env.num_envs)

    def start(self, data: Data, *, seed: int) -> Progress:
        """The progress before the first step."""
        n, key = self.env.num_envs, jr.key(seed)
        state = self._programs.init(key)
        carry = EnvCarry.first(self.agent, state, None, jnp.zeros((n, self.env.spec.obs_dim)))
        return first_progress(self.agent, state, data, carry, key, ring=2 * n + 62)

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def train(
        self, progress: Progress, *, total_steps: int, pause_every: int | None = None, notes: list[str] | None = None
    ) -> Iterator[Progress]:
        """Goes on from `progress` until `total_steps`, yielding after every step and call of a round.

        Where a single environment was left in the middle of an episode, the episode is played again to where it
        was; if the environment does not repeat itself, a new one begins (`notes` says so). Raises EnvironmentFault or
        TrainingFault; what was yielded last is whole and can be saved.
        """
        progress, rounds = self._begin(progress, [] if notes is None else notes), self.agent.schedule.rounds
        yield progress
        while True:
            for index in range(len(rounds)):
                while self.agent.schedule.due(progress.clock)[index] > 0:
                    progress = self._updated(progress, index)
                    yield progress
            if int(progress.env_steps) >= total_steps:
                return
            progress = self._stepped(progress)
            yield progress

    def _updated(self, progress: Progress, index: int) -> Progress:
        old, key, clock = progress.agent_state, progress.key, progress.clock
        name = self.agent.schedule.rounds[index].name
        data, env_data = progress.data, progress.data["env"]
        staged = data
        if isinstance(env_data, AbstractHostReplay) and self.agent.traceable:
            later = lambda rounds: Clock(clock.env_steps, clock.ticks, clock.calls.at[index].add(rounds))
            play = lambda noting, rounds: self._programs.play(index, old, {**data, "env": noting}, key, later(rounds))
            staged = {**data, "env": env_data.stage(play)}
        state, additions, metrics, after = self._programs.update(index, old, staged, key, clock)
        if isinstance(env_data, AbstractHostReplay):
            data = {**data, "env": env_data.learned()}
        check_metrics(metrics, update=int(clock.calls[index]) + 1, env_steps=int(clock.env_steps))
        if additions:
            data = {**data, **append(None, {each: data[each] for each in additions}, additions)}
        return dataclasses.replace(progress, agent_state=state, data=data, clock=after, metrics={name: metrics})

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
        if self.env.num_envs == 1 and played <= progress.data["env"].capacity:
            rows = jax.tree.map(np.asarray, progress.data["env"].latest(played))
            for k in range(played):
                if not np.array_equal(obs, rows.obs[k : k + 1]):
                    break
                tick = progress.clock.ticks - played + k
                self.env.set_clock(steps - (played - k) * self.env.spec.action_repeat)
                _, step_key = self._programs.keys(key, tick, tick)
                obs = stepped(self.env, rows.action[k : k + 1], step_key=step_key, reset_key=lambda i: key).obs
            else:
                if np.array_equal(obs, np.asarray(carry.obs)):
                    return progress
            self.env.set_clock(steps)
            obs = started(self.env, [reset_key(self.agent, key, int(e)) for e in carry.episode])
        notes.append("the unfinished episode could not be played back exactly; a new one was started in its place")
        fresh = EnvCarry.first(self.agent, progress.agent_state, None, jnp.asarray(obs))
        carry = strongly_typed(dataclasses.replace(fresh, episode=carry.episode))
        return dataclasses.replace(progress, env=carry, data={**progress.data, "env": progress.data["env"].cut()})

    def _new_memory(self, state: Any) -> Any:
        return strongly_typed(broadcast(self.agent.init_memory(state), self.env.num_envs))

    def _stepped(self, progress: Progress) -> Progress:
        carry, key, spec, state = progress.env, progress.key, self.env.spec, progress.agent_state
        steps, tick = int(progress.env_steps), progress.clock.ticks
        random = steps < self.agent.schedule.random_steps
        drawn_at = tick // self.agent.schedule.random_hold if random else tick
        act_keys, step_key = self._programs.keys(key, tick, drawn_at)
        chosen = None
        if random:
            action = self._programs.sample(act_keys)
        else:
            if self.actor.plan_ms is not None and not self.actor.latency.taken:
                self.actor.warm_up(state, carry.memory, carry.obs, act_keys)
            action, *chosen = self.actor(state, carry.memory, carry.obs, act_keys)
        done = np.asarray(action)
        if not np.all(np.isfinite(done)):
            raise TrainingFault(
                f"the agent chose the non-finite action {done.tolist()} at step {steps + 1} of the run on {spec.name}"
            )
        episode = np.array(carry.episode)

        def next_reset(i: int) -> PRNGKeyArray:
            return reset_key(self.agent, key, int(episode[i]) + self.env.num_envs)

        self.env.set_clock(steps)
        step = stepped(self.env, done, step_key=step_key, reset_key=next_reset)
        self._check_returns(carry, steps, done, step)
        return self._recorded(progress, action, chosen, step)

    def _check_returns(self, carry: EnvCarry, steps: int, action: np.ndarray, step: HostStep) -> None:
        """Raises EnvironmentFault if the rewards of an episode so far sum up to more than float32 holds."""
        with np.errstate(over="ignore"):
            returns = np.asarray(carry.returns) + np.where(step.valid, step.reward, 0).astype(np.float32)
        checked_return(self.env.spec.name, steps + int(step.steps[step.valid].sum()), returns, action)

    def _recorded(self, progress: Progress, action: Array, chosen: Any, step: HostStep) -> Progress:
        """`progress` with what happened in one step added."""
        env_data, before = progress.data["env"], (progress.env, progress.clock, progress.episodes)
        given = env_data if env_data.traceable else None
        found = self._programs.record(progress.agent_state, before, given, action, chosen, step)
        carry, clock, episodes, last = found
        if not env_data.traceable:
            last = env_data.add(last, jnp.asarray(step.valid)) if step.valid.any() else env_data
        data = {**progress.data, "env": last}
        return dataclasses.replace(progress, data=data, env=carry, clock=clock, episodes=episodes, metrics={})
