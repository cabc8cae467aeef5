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
from jaxtyping import Array, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractEnv, AbstractReplay, Clock, HostStep
from ..core.programs import compiled, shared
from ..types import Metrics
from .interface import AbstractDriver
from .progress import (
    ACT,
    INIT,
    STEP,
    EnvCarry,
    Progress,
    append,
    appended,
    called,
    check_metrics,
    first_progress,
    no_extras,
    over_rows,
    recorded,
    reset_key,
    sound_step,
    stream,
    where_rows,
)
from .seeds import data_axes, devices_for, most_of_all, over_seeds, placed, seed_axes

MAX_TICKS = 128  # loop rounds in one call; bounds how many episodes can end between two yields
MAX_INLINE_TICKS = 2048  # the same of an agent that learns inside the loop

Learned = tuple[Any, dict[str, AbstractReplay], Clock, dict[str, Metrics]]
"""Agent state, data sets, clock, and the latest metrics of the rounds inside the loop."""


def most_ticks(agent: AbstractAgent) -> int:
    """Loop rounds in one call at most."""
    return MAX_INLINE_TICKS if agent.schedule.inline else MAX_TICKS


def start(
    agent: AbstractAgent, env: AbstractEnv, data: dict[str, AbstractReplay], *, key: PRNGKeyArray, num_envs: int
) -> Progress:
    """The progress of a run before its first step."""
    state = agent.init(key=stream(key, INIT, 0))
    reset = lambda e: env.reset(key=reset_key(agent, key, e))
    env_state, obs = jax.vmap(reset)(jnp.arange(num_envs, dtype=jnp.int32))
    carry = EnvCarry.first(agent, state, env_state, obs)
    return first_progress(agent, state, data, carry, key, ring=2 * most_ticks(agent) * num_envs)


def learns_inside(agent: AbstractAgent, *, random: bool) -> bool:
    """Whether the loop holds the inline rounds; that of random actions only where some are due while they last."""
    schedule = agent.schedule
    inside = [schedule.rounds[i] for i in schedule.inline]
    return any(not random or each.every == 0 or each.first < schedule.random_steps for each in inside)


def collect(
    agent: AbstractAgent,
    env: AbstractEnv,
    progress: Progress,
    ticks: Int[Array, ""],
    *,
    random: bool,
    halt: bool,
    devices: int = 1,
) -> Progress:
    """`progress` after `ticks` steps in every environment, with the inline rounds; actions are uniform if `random`.

    With `halt`, a step with a non-finite number ends the loop and is taken back, so that the progress can be saved.
    Inline rounds wait where another round is due. Metrics are those of the latest calls in here. Without `halt` it is
    one of several seeds, which are shared out over `devices`.
    """
    key, learning = progress.key, learns_inside(agent, random=random)
    across = devices if env.spec.action_repeat > 1 else 1  # else each step takes one

    def total(steps: Array) -> Array:
        # Seeds side by side share one clock: that of the seed that took most.
        return jnp.sum(steps) if halt else most_of_all(jnp.sum(steps), devices=across)

    def one(carry: tuple) -> tuple:
        i, env_carry, episodes, fault, (state, data, clock, metrics) = carry
        action, memory, extras, env_state, step = _step(agent, env, state, env_carry, key, clock, random=random)
        over = step.terminated | step.truncated
        reset = lambda e: env.reset(key=reset_key(agent, key, e), clock=clock.env_steps + total(step.steps))
        fresh_state, fresh_obs = jax.vmap(reset)(env_carry.episode + len(over) * over)
        env_state = where_rows(over, fresh_state, env_state)
        step = step._replace(obs=where_rows(over, fresh_obs, step.next_obs), fresh=over)
        before = (env_carry, clock, episodes)
        new = recorded(agent, state, before, action, memory, extras, step, env_state=env_state, taken=total)
        fault = fault.note(new.seen, new.clock.env_steps, env_carry.returns + step.reward)
        sound = jnp.full(len(over), fault.code == 0) if halt else None
        data = {**data, "env": data["env"].add(new.seen, sound)}
        after = (new.carry, new.clock, new.episodes)
        if halt:
            after = jax.tree.map(lambda n, o: _unless(fault.code > 0, n, o), after, before)
        env_carry, clock, episodes = after
        learned = (state, data, clock, metrics)
        if learning:
            learned = _learned_inside(agent, learned, key, sound=fault.code == 0 if halt else None)
        return i + 1, env_carry, episodes, fault, learned

    inside = agent.schedule.inline if learning else ()
    metrics = _no_metrics(agent, progress, inside)
    changing = {name: progress.data[name] for name in _changed_inside(agent, progress, inside)}
    fixed = {name: each for name, each in progress.data.items() if name not in changing}
    state = progress.agent_state if learning else None
    first = (state, changing, progress.clock, metrics)
    carry = (jnp.zeros((), jnp.int32), progress.env, progress.episodes, progress.fault, first)
    dynamic, static = eqx.partition(carry, eqx.is_array)

    def body(dynamic: Any) -> Any:
        i, env_carry, episodes, fault, (state, changing, clock, metrics) = eqx.combine(dynamic, static)
        state = state if learning else progress.agent_state
        *rest, (state, data, clock, metrics) = one(
            (i, env_carry, episodes, fault, (state, {**fixed, **changing}, clock, metrics))
        )
        learned = (state if learning else None, {name: data[name] for name in changing}, clock, metrics)
        return eqx.filter((*rest, learned), eqx.is_array)

    go_on = lambda d: (d[0] < ticks) & (d[3].code == 0) if halt else d[0] < ticks
    carry = eqx.combine(jax.lax.while_loop(go_on, body, dynamic), static)
    _, env_carry, episodes, fault, (state, changing, clock, metrics) = carry
    state = state if learning else progress.agent_state
    return Progress(state, {**fixed, **changing}, env_carry, key, clock, episodes, fault, metrics)


def _step(
    agent: AbstractAgent,
    env: AbstractEnv,
    state: Any,
    env_carry: EnvCarry,
    key: PRNGKeyArray,
    clock: Clock,
    *,
    random: bool,
) -> tuple[Array, Any, Any, Any, HostStep]:
    """One step in every environment: actions, memories, extras, the next states, and what happened, before resets."""
    tick, index = clock.ticks, jnp.arange(env_carry.obs.shape[0])
    drawn_at = tick // agent.schedule.random_hold if random else tick
    keys = jax.vmap(lambda i: jr.fold_in(stream(key, ACT, drawn_at), i))(index)
    if random:
        action = jax.vmap(lambda k: env.spec.action.sample(key=k))(keys)
        memory, extras = env_carry.memory, no_extras(agent, state, env_carry)
    else:
        act = lambda m, o, k: agent.act(state, m, o, key=k, explore=True)
        action, memory, extras = over_rows(act, env_carry.memory, env_carry.obs, keys)
    keys = jax.vmap(lambda i: jr.fold_in(stream(key, STEP, tick), i))(index)
    step = jax.vmap(lambda s, a, k: sound_step(env, *env.counted_step(s, a, key=k)))
    env_state, next_obs, reward, terminated, truncated, steps = step(env_carry.state, action, keys)
    every = jnp.ones(len(index), bool)
    happened = HostStep(next_obs, reward, terminated, truncated, next_obs, ~every, every, steps)
    return action, memory, extras, env_state, happened


def _learned_inside(agent: AbstractAgent, learned: Learned, key: PRNGKeyArray, *, sound: Array | None) -> Learned:
    """After the calls of inline rounds that are due; none if not `sound`, or while another round is due."""
    for index in agent.schedule.inline:
        learned = _calls_inside(agent, index, learned, key, sound)
    return learned


def _calls_inside(
    agent: AbstractAgent, index: int, learned: Learned, key: PRNGKeyArray, sound: Array | None
) -> Learned:
    """After the calls of one inline round that are due."""
    rounds, (state, data, clock, metrics) = agent.schedule.rounds, learned
    changing = {name: data[name] for name in _answer(agent, state, data, clock, key, index)[1]}

    def call(carry: tuple) -> tuple:
        state, changing, clock, metrics = carry
        state, after, clock, metrics = _called(agent, index, (state, {**data, **changing}, clock, metrics), key)
        return state, {name: after[name] for name in changing}, clock, metrics

    dynamic, static = eqx.partition((state, changing, clock, metrics), eqx.is_array)
    traced = lambda d: eqx.filter(call(eqx.combine(d, static)), eqx.is_array)
    if rounds[index].every == 0 and len(rounds) == 1:  # always one call
        dynamic = traced(dynamic) if sound is None else jax.lax.cond(sound, traced, lambda d: d, dynamic)
    else:
        due = [each.due(clock.env_steps, clock.ticks) - clock.calls[i] for i, each in enumerate(rounds)]
        waits = [due[i] > 0 for i, each in enumerate(rounds) if not each.inline]
        free = ~jnp.any(jnp.array(waits, bool))
        count = jnp.where(free if sound is None else sound & free, due[index], 0)
        dynamic = jax.lax.fori_loop(0, count, lambda _, d: traced(d), dynamic)
    state, changing, clock, metrics = eqx.combine(dynamic, static)
    return state, {**data, **changing}, clock, metrics


def _called(agent: AbstractAgent, index: int, learned: Learned, key: PRNGKeyArray) -> Learned:
    """After one call of a round inside the loop."""
    state, data, clock, metrics = learned
    state, additions, said = called(agent, index, state, data, clock=clock, key=key)
    said = {**metrics, agent.schedule.rounds[index].name: said}
    return state, appended(data, additions), clock.called(index), said


def _answer(agent: AbstractAgent, state: Any, data: Any, clock: Clock, key: PRNGKeyArray, index: int) -> tuple:
    """What a call of a round answers, abstractly: state, additions, metrics."""
    answer = lambda state, data, clock, key: called(agent, index, state, data, clock=clock, key=key)
    return eqx.filter_eval_shape(answer, state, data, clock, key)


def _no_metrics(agent: AbstractAgent, progress: Progress, rounds: tuple[int, ...]) -> dict[str, Metrics]:
    """Zeros for the metrics of rounds."""
    zeros = lambda x: jnp.zeros(x.shape, x.dtype)
    found = (progress.agent_state, progress.data, progress.clock, progress.key)
    return {agent.schedule.rounds[i].name: jax.tree.map(zeros, _answer(agent, *found, i)[2]) for i in rounds}


def _changed_inside(agent: AbstractAgent, progress: Progress, rounds: tuple[int, ...]) -> list[str]:
    """The data sets that the loop adds to."""
    found = (progress.agent_state, progress.data, progress.clock, progress.key)
    return sorted({"env"}.union(*(_answer(agent, *found, i)[1] for i in rounds)))


def _unless(fault: Array, new: Any, old: Any) -> Any:
    """`old` where `fault`, else `new`; typed keys too."""
    return where_rows(~fault[None], jax.tree.map(lambda x: x[None], new), jax.tree.map(lambda x: x[None], old))[0]


class _Programs(NamedTuple):
    """What is compiled for an agent in an environment."""

    start: Callable[..., Progress]  # (data, key)
    collect: Callable[..., Progress]  # ((ticks, random), progress)
    update: Callable[..., Any]  # (round's index, state, data, key, clock)
    append: Callable[..., Any]  # (None, data, additions)
    traces: dict[str, int]  # how often each was traced


def _programs(agent: AbstractAgent, env: AbstractEnv, num_envs: int, devices: int | None) -> _Programs:
    traces = {"collect": 0, "update": 0}
    solo, devices = devices is None, devices or 1

    def begin(data: dict[str, AbstractReplay], keys: PRNGKeyArray) -> Progress:
        one = lambda k: start(agent, env, data, key=k, num_envs=num_envs)
        if solo:
            return one(keys)
        axes = seed_axes(eqx.filter_eval_shape(one, keys[0]))
        return over_seeds(one, (0,), axes, devices=devices)(keys)

    def collecting(frozen: Any, progress: Progress) -> Progress:
        ticks, random = frozen
        traces["collect"] += 1
        go = lambda p: collect(agent, env, p, ticks, random=random, halt=solo, devices=devices)
        if solo:
            return go(progress)
        axes = seed_axes(progress)
        return over_seeds(go, (axes,), dataclasses.replace(axes, metrics=0), devices=devices)(progress)

    def update(index: int, state: Any, data: Any, key: PRNGKeyArray, clock: Clock) -> Any:
        traces["update"] += 1

        def go(state: Any, data: Any, key: PRNGKeyArray) -> Any:
            return called(agent, index, state, data, clock=clock, key=key)

        if not solo:
            go = over_seeds(go, (0, data_axes(data), 0), 0, devices=devices)
        return *go(state, data, key), clock.called(index)

    def appending(_: None, data: Any, additions: Any) -> Any:
        axes = data_axes(data)
        return over_seeds(appended, (axes, 0), axes, devices=devices)(data, additions)

    # What is learned inside the loop can go wrong there, and the state before it must then still be whole.
    collecting_ = compiled(collecting, donate=not agent.schedule.inline)
    append_ = append if solo else compiled(appending, donate=True)
    return _Programs(compiled(begin), collecting_, compiled(update), append_, traces)


class JitDriver(AbstractDriver):
    """The compiled functions of one (agent, environment) pair, for one seed or for `num_seeds` side by side.

    Compiled once: the number of steps is an argument, and data keep their shape. Drivers of equal agents and
    environments share the compiled functions.
    """

    def __init__(self, agent: AbstractAgent, env: AbstractEnv, *, num_envs: int = 1, num_seeds: int | None = None):
        """Raises ValueError for an agent that must run on the host, an invalid schedule, or sizes below 1."""
        if not agent.traceable:
            raise ValueError(
                f"{type(agent).__name__} does work on the host (traceable=False), which the jit driver cannot run; "
                "use the step driver (forethought.run.steps)"
            )
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        if num_seeds is not None and num_seeds < 1:
            raise ValueError(f"num_seeds={num_seeds} must be at least 1")
        agent.schedule.check()
        if agent.schedule.single_env and num_envs > 1:
            raise ValueError(
                f"{type(agent).__name__} learns from each step as it comes (single_env): it wants num_envs=1 (got "
                f"{num_envs}); num_seeds runs several side by side"
            )
        self.agent, self.env, self.num_envs, self.num_seeds = agent, env, num_envs, num_seeds
        self._devices = None if num_seeds is None else devices_for(num_seeds)
        self._programs = shared(_programs, agent, env, num_envs, self._devices)
        self._traced_before = dict(self._programs.traces)

    @property
    def traces(self) -> dict[str, int]:
        """How often the compiled functions were traced since this driver was made, by whichever driver shares them."""
        return {name: count - self._traced_before[name] for name, count in self._programs.traces.items()}

    def start(self, data: dict[str, AbstractReplay], *, seed: int) -> Progress:
        """The progress before the first step; seeds are `seed`, `seed + 1`, ... `data` are for one seed."""
        for replay in data.values():
            if not replay.traceable:
                raise ValueError(
                    f"{type(replay).__name__} works on the host (traceable=False), which the jit driver cannot run; "
                    "use the step driver (forethought.run.steps), or a replay on the device"
                )
        if self.num_seeds is None:
            return self._programs.start(data, jr.key(seed))
        seeds = jnp.asarray(np.arange(seed, seed + self.num_seeds), jnp.uint32)  # seeds go up to 2**32 - 1
        return self._programs.start(data, jax.vmap(jr.key)(seeds))

    def collect(self, progress: Progress, ticks: int, *, random: bool) -> Progress:
        """After `ticks` steps in every environment. Donates `progress`, unless rounds are inline.

        Raises TrainingFault where a metric of an inline round is not finite.
        """
        before = progress.clock.calls
        progress = dataclasses.replace(progress, metrics={})
        progress = jax.block_until_ready(self._programs.collect((jnp.asarray(ticks, jnp.int32), random), progress))
        steps, made = int(progress.env_steps), np.asarray(progress.clock.calls)
        metrics = {}
        for i, each in enumerate(self.agent.schedule.rounds):
            if each.name in progress.metrics and made[i] > int(before[i]):
                metrics[each.name] = progress.metrics[each.name]
                check_metrics(metrics[each.name], update=int(made[i]), env_steps=steps)
        return dataclasses.replace(progress, metrics=metrics)

    def update(self, progress: Progress, index: int = 0) -> Progress:
        """After one call of round number `index`, with its metrics. Donates data sets that it adds to.

        Raises TrainingFault if a metric is not finite; nothing is donated then.
        """
        clock, name = progress.clock, self.agent.schedule.rounds[index].name
        learned = self._programs.update(index, progress.agent_state, progress.data, progress.key, clock)
        state, additions, metrics, after = learned
        check_metrics(metrics, update=int(clock.calls[index]) + 1, env_steps=int(clock.env_steps))
        data = progress.data
        if additions:
            changed = {each: data[each] for each in additions}
            data = {**data, **self._programs.append(None, changed, additions)}
        return dataclasses.replace(progress, agent_state=state, data=data, clock=after, metrics={name: metrics})

    def _ticks_left(self, steps: int, total_steps: int, pause_every: int | None, *, random: bool) -> int:
        """Steps of each environment until a round outside of the loop is due, the random phase or the run ends, or a
        pause comes."""
        schedule = self.agent.schedule
        inside = schedule.inline if learns_inside(self.agent, random=random) else ()
        goals = [total_steps, *([schedule.random_steps] if random else [])]
        goals += [each.next_due(steps) or total_steps for i, each in enumerate(schedule.rounds) if i not in inside]
        left = min(goals) - steps
        if pause_every is not None:
            left = min(left, pause_every - steps % pause_every)
        return -(-left // (self.num_envs * self.env.spec.action_repeat))

    def train(
        self,
        progress: Progress,
        *,
        total_steps: int,
        pause_every: int | None = None,
        notes: list[str] | None = None,
        seconds_per_yield: float = 0.5,
    ) -> Iterator[Progress]:
        """Goes on from `progress` until `total_steps`, yielding it first, then about every `seconds_per_yield`, after
        calls of rounds, and at every multiple of `pause_every` environment steps.

        What is learned does not depend on where it yields. Raises EnvironmentFault or TrainingFault where a number
        is not finite; what was yielded last can then still be saved (one seed), or the last checkpoint holds.
        """
        ticks = 1
        if self._devices is not None:
            progress = placed(progress, seed_axes(progress), devices=self._devices)
        yield progress
        while True:
            for index in range(len(self.agent.schedule.rounds)):
                while self.agent.schedule.due(progress.clock)[index] > 0:
                    progress = self.update(progress, index)
                    yield progress
            steps = int(progress.env_steps)
            if steps >= total_steps:
                return
            begun = time.perf_counter()
            random = steps < self.agent.schedule.random_steps
            left = self._ticks_left(steps, total_steps, pause_every, random=random)
            progress = self.collect(progress, min(ticks, left), random=random)
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
