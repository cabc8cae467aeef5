"""The driver for environments stepped from Python, one step at a time: Gymnasium's, vector environments, others."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractAgent, AbstractHostEnv, AbstractHostReplay, AbstractPlanningAgent, AbstractReplay, HostStep
from ..errors import TrainingFault, UserError
from ..types import Transition
from .evaluate import Evaluation, finished, unsound_action
from .progress import (
    ACT,
    EVALUATE,
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


class Latency:
    """How long actions took against their deadline, in milliseconds."""

    def __init__(self, deadline_ms: float):
        self.deadline_ms, self.taken = deadline_ms, []

    def summary(self) -> dict[str, float]:
        """`p50_ms`, `p99_ms`, `misses` (actions later than the deadline) and `actions`; empty before any."""
        if not self.taken:
            return {}
        taken = np.asarray(self.taken)
        return {
            "deadline_ms": self.deadline_ms,
            "p50_ms": float(np.percentile(taken, 50)),
            "p99_ms": float(np.percentile(taken, 99)),
            "misses": int(np.sum(taken > self.deadline_ms)),
            "actions": len(taken),
        }

    def sentence(self) -> str:
        """The summary in words."""
        found = self.summary()
        if not found:
            return "no action was timed"
        return (
            f"latency of {found['actions']} actions: median {found['p50_ms']:.1f} ms, 99 % within "
            f"{found['p99_ms']:.1f} ms, {found['misses']} later than {found['deadline_ms']:g} ms"
        )


class Actor:
    """Batched, compiled `act`; with `plan_ms`, refines until the time is up instead of a fixed number of times."""

    def __init__(self, agent: AbstractAgent, *, explore: bool, plan_ms: float | None = None):
        """Raises UserError if the agent cannot plan to a deadline, ValueError for one that is not positive."""
        self.plan_ms, self.latency = plan_ms, Latency(plan_ms or 0.0)
        act = lambda s: lambda m, o, k: agent.act(s, m, o, key=k, explore=explore)
        self._act = eqx.filter_jit(lambda s, m, o, k: jax.vmap(act(s))(m, o, k))
        if plan_ms is None:
            return
        if plan_ms <= 0:
            raise ValueError(f"plan_ms={plan_ms} must be above 0 milliseconds")
        if not isinstance(agent, AbstractPlanningAgent):
            raise UserError(
                f"{type(agent).__name__} has no search that can be cut short, so it takes no deadline: leave it out"
            )
        begin = lambda s: lambda m, o, k: agent.begin(s, m, o, key=k)
        refine = lambda s, i: lambda x, k: agent.refine(s, x, key=jr.fold_in(k, i))
        self._begin = eqx.filter_jit(lambda s, m, o, k: jax.vmap(begin(s))(m, o, k))
        self._refine = eqx.filter_jit(lambda s, search, k, i: jax.vmap(refine(s, i))(search, k))

        def best(state: Any, memory: Any, search: Any, key: PRNGKeyArray) -> tuple[Array, Any]:
            action, memory = agent.best(state, memory, search)
            return agent.perturb(action, memory, key=key) if explore else (action, memory)

        self._best = eqx.filter_jit(lambda s, m, x, k: jax.vmap(lambda m, x, k: best(s, m, x, k))(m, x, k))
        self._refine_ms = self._best_ms = 0.0  # the longest of late, forgotten slowly

    def __call__(self, state: Any, memory: Any, obs: Array, keys: PRNGKeyArray) -> tuple[Array, Any, Any]:
        """Actions `[num_envs, *action]`, memories and extras."""
        if self.plan_ms is None:
            return self._act(state, memory, obs, keys)
        begun = time.perf_counter()
        keys = jax.vmap(lambda k: jr.split(k, 3))(keys)
        search = self._begin(state, memory, obs, keys[:, 0])
        count = 0
        # Stops when another refinement and the answer, as long as they took lately, would not be done in time.
        while count == 0 or (time.perf_counter() - begun) * 1e3 + self._refine_ms + self._best_ms < self.plan_ms:
            started = time.perf_counter()
            # An array: every new Python number would be compiled anew.
            search = jax.block_until_ready(self._refine(state, search, keys[:, 1], jnp.asarray(count)))
            self._refine_ms = max((time.perf_counter() - started) * 1e3, 0.95 * self._refine_ms)
            count += 1
        started = time.perf_counter()
        action, memory = jax.block_until_ready(self._best(state, memory, search, keys[:, 2]))
        self._best_ms = max((time.perf_counter() - started) * 1e3, 0.95 * self._best_ms)
        self.latency.taken.append((time.perf_counter() - begun) * 1e3)
        return action, memory, None

    def warm_up(self, state: Any, memory: Any, obs: Array, keys: PRNGKeyArray) -> None:
        """Compiles before the clock runs, so that the first action does not miss its deadline."""
        for _ in range(2):
            self(state, memory, obs, keys)
            self._refine_ms = self._best_ms = 0.0  # the first call compiled
        self.latency.taken.clear()


class StepDriver:
    """Runs one agent in one host environment. Everything random is drawn as in the jit driver, from the same keys."""

    def __init__(self, agent: AbstractAgent, env: AbstractHostEnv, *, plan_ms: float | None = None):
        self.agent, self.env = agent, env
        self.actor = Actor(agent, explore=True, plan_ms=plan_ms)
        self._add = eqx.filter_jit(lambda replay, batch, valid: replay.add(batch, valid), donate="all")
        update = lambda s, r, k, n: agent.update(s, r, key=stream(k, UPDATE, n))
        self._update = eqx.filter_jit(update) if agent.traceable else update
        # Without results nothing is left to be computed but the keys of what is drawn.
        self._play = eqx.filter_jit(lambda s, r, k, n: (update(s, r, k, n), None)[1])
        self._sample = jax.jit(jax.vmap(lambda k: agent.spec.action.sample(key=k)))
        self._keys = jax.jit(self._step_keys)
        self._fresh = eqx.filter_jit(
            lambda state, memory, fresh: where_rows(fresh, broadcast(agent.init_memory(state), len(fresh)), memory)
        )

    def _step_keys(self, key: PRNGKeyArray, tick: Array, drawn_at: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        index = jnp.arange(self.env.num_envs)
        return jax.vmap(lambda i: jr.fold_in(stream(key, ACT, drawn_at), i))(index), stream(key, STEP, tick)

    def start(self, replay: AbstractReplay, *, seed: int) -> Progress:
        """The progress before the first step."""
        n, key = self.env.num_envs, jr.key(seed)
        state = eqx.filter_jit(lambda: self.agent.init(key=stream(key, INIT, 0)))()
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
            while int(progress.updates) < updates_due(self.agent, int(progress.env_steps)):
                progress = self._updated(progress)
                yield progress
                progress = dataclasses.replace(progress, metrics={})
            if int(progress.env_steps) >= total_steps:
                return
            progress = self._stepped(progress)
            yield progress

    def _updated(self, progress: Progress) -> Progress:
        old, key, count, replay = progress.agent_state, progress.key, progress.updates, progress.replay
        staged = replay
        if isinstance(replay, AbstractHostReplay) and self.agent.traceable:
            staged = replay.stage(lambda noting, rounds: self._play(old, noting, key, count + rounds))
        state, metrics = jax.block_until_ready(self._update(old, staged, key, count))
        if isinstance(replay, AbstractHostReplay):
            replay = replay.learned()
        check_metrics(metrics, update=int(count) + 1, env_steps=int(progress.env_steps))
        return dataclasses.replace(progress, agent_state=state, replay=replay, updates=count + 1, metrics=metrics)

    def _begin(self, progress: Progress, notes: list[str]) -> Progress:
        """Resets the environments, or brings them back to where a saved run left them."""
        carry, key = progress.env, progress.key
        steps = int(progress.env_steps)
        self.env.set_clock(steps - int(np.sum(carry.lengths)))  # as it was when the episodes began
        obs = self.env.start([reset_key(self.agent, key, int(e)) for e in carry.episode])
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
                _, step_key = self._keys(key, tick, tick)
                obs = self.env.step(rows.action[k : k + 1], step_key=step_key, reset_key=lambda i: key).obs
            else:
                if np.array_equal(obs, np.asarray(carry.obs)):
                    return progress
            self.env.set_clock(steps)
            obs = self.env.start([reset_key(self.agent, key, int(e)) for e in carry.episode])
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
        act_keys, step_key = self._keys(key, carry.tick, drawn_at)
        memory, extras = carry.memory, None
        if random:
            action = np.asarray(self._sample(act_keys))
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
        step = self.env.step(action, step_key=step_key, reset_key=next_reset)
        return self._recorded(progress, action, memory, kept_extras(self.agent, extras, len(action)), step)

    def _recorded(self, progress: Progress, action: np.ndarray, memory: Any, extras: Any, step: HostStep) -> Progress:
        """`progress` with what happened in one step added."""
        carry, spec = progress.env, self.env.spec
        valid, over = step.valid, step.valid & (step.terminated | step.truncated)
        seen = (np.asarray(carry.obs), action, step.reward, step.next_obs, step.terminated, step.truncated)
        batch = Transition(*map(jnp.asarray, seen), extras=extras)
        replay = progress.replay
        if valid.any():
            add = self._add if replay.traceable else lambda replay, *rows: replay.add(*rows)
            replay = add(replay, batch, jnp.asarray(valid))
        env_steps = progress.env_steps + int(valid.sum()) * spec.action_repeat
        returns = np.asarray(carry.returns) + np.where(valid, step.reward, 0).astype(np.float32)
        lengths = np.asarray(carry.lengths) + valid * spec.action_repeat
        episodes = progress.episodes
        if over.any():
            episodes = episodes.add(jnp.asarray(over), jnp.asarray(returns), jnp.asarray(lengths), env_steps)
        if step.fresh.any():
            memory = self._fresh(progress.agent_state, memory, jnp.asarray(step.fresh))
        carry = HostCarry(
            jnp.asarray(step.obs),
            memory,
            jnp.asarray(np.where(over, 0, returns), jnp.float32),
            jnp.asarray(np.where(over, 0, lengths), jnp.int32),
            jnp.asarray(np.asarray(carry.episode) + self.env.num_envs * over, jnp.int32),
            carry.tick + 1,
        )
        return dataclasses.replace(progress, replay=replay, env=carry, env_steps=env_steps, episodes=episodes)


class HostEvaluator:
    """Runs `num_episodes` episodes, one after another, without exploration.

    Where the environment is several side by side, the episodes are those of the first; the others do as it does.
    """

    def __init__(
        self,
        agent: AbstractAgent,
        env: AbstractHostEnv,
        *,
        num_episodes: int,
        max_steps: int | None = None,
        plan_ms: float | None = None,
        clock: int = 0,
    ):
        """`max_steps` bounds an episode where the task has no limit of its own (default then: 1000).

        `clock` is the run's step at which episodes begin, for tasks that change, where a call names none.
        """
        if num_episodes < 1:
            raise ValueError(f"num_episodes={num_episodes} must be at least 1")
        limit = max_steps or env.spec.max_episode_steps or 1000
        self.agent, self.env, self.num_episodes, self.clock = agent, env, num_episodes, clock
        self.ticks = -(-limit // env.spec.action_repeat)
        self.actor = Actor(agent, explore=False, plan_ms=plan_ms)

    def steps(
        self,
        state: Any,
        *,
        key: PRNGKeyArray,
        clock: int | None = None,
        frames: list | None = None,
        max_frames: int = 600,
    ) -> Iterator[float | Evaluation]:
        """Yields the part done, in (0, 1), and in the end the Evaluation.

        The first `max_frames` frames of episode 0 go to `frames`. Raises EnvironmentFault, or TrainingFault where an
        action is not finite.
        """
        rows: list[list[Transition]] = []
        self.env.set_clock(self.clock if clock is None else clock)
        for episode in range(self.num_episodes):
            obs, memory = self._begin(key, episode), broadcast(self.agent.init_memory(state), 1)
            rows.append([])
            for tick in range(self.ticks):
                if frames is not None and episode == 0 and tick < max_frames:
                    frames.append(self.env.render())
                draw = jnp.int32(-1 - tick - self.ticks * episode)  # an array, since fold_in takes no negative int
                act_key, step_key = jr.split(stream(key, EVALUATE, draw))
                action, memory = self._action(state, memory, obs, act_key, (episode, tick))
                step = self._step(action, step_key, key)
                if step.valid[0]:
                    row = (obs, action, step.reward, step.next_obs, step.terminated, step.truncated)
                    rows[-1].append(Transition(*(np.asarray(x)[0] for x in row)))
                obs = step.obs[:1]
                if step.terminated[0] or step.truncated[0]:
                    break
                if tick % 10 == 9:
                    yield (episode + tick / self.ticks) / self.num_episodes
        yield _evaluation(rows, self.env.spec.action_repeat)

    def _begin(self, key: PRNGKeyArray, episode: int) -> np.ndarray:
        """The first observation `[1, obs]` of an episode; environments after the first only need some key."""
        first = stream(key, EVALUATE, episode)
        return self.env.start([first, *(jr.fold_in(first, i) for i in range(1, self.env.num_envs))])[:1]

    def _action(
        self, state: Any, memory: Any, obs: np.ndarray, key: PRNGKeyArray, place: tuple[int, int]
    ) -> tuple[np.ndarray, Any]:
        """One action `[1, *action]`, finite, and the memory."""
        seen, keys = jnp.asarray(obs), key[None]
        if self.actor.plan_ms is not None and not self.actor.latency.taken:
            self.actor.warm_up(state, memory, seen, keys)
        action, memory, _ = self.actor(state, memory, seen, keys)
        action = np.asarray(action)
        if not np.all(np.isfinite(action)):
            step = (place[1] + 1) * self.env.spec.action_repeat
            raise unsound_action(self.env.spec.name, place[0], step, action[0])
        return action, memory

    def _step(self, action: np.ndarray, step_key: PRNGKeyArray, reset_key: PRNGKeyArray) -> HostStep:
        """A step of all environments with the first one's action `[1, *action]`."""
        together = np.repeat(action, self.env.num_envs, axis=0)
        return self.env.step(together, step_key=step_key, reset_key=lambda i: reset_key)

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def __call__(self, state: Any, *, key: PRNGKeyArray) -> Evaluation:
        """The evaluation of the policy that `state` holds."""
        return finished(self.steps(state, key=key))


def _evaluation(rows: list[list[Transition]], action_repeat: int) -> Evaluation:
    """Episodes of differing lengths as one Evaluation, padded by repeating the last row."""
    longest = max(len(r) for r in rows)
    stacked = [jax.tree.map(lambda *x: np.stack(x), *(r + [r[-1]] * (longest - len(r)))) for r in rows]
    return Evaluation(
        np.array([sum(float(t.reward) for t in r) for r in rows], np.float32),
        np.array([len(r) * action_repeat for r in rows]),
        np.array([bool(r[-1].terminated or r[-1].truncated) for r in rows]),
        jax.tree.map(lambda *x: np.stack(x), *stacked),
        None,
    )
