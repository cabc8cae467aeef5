"""Evaluation in JAX environments: episodes side by side, without exploration, from starts of their own."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractAgent, AbstractEnv
from ..core.programs import compiled, shared
from ..errors import EnvironmentFault, TrainingFault
from ..types import Transition
from .interface import AbstractEvaluator
from .progress import EVALUATE, OVERFLOW, broadcast, sound_step, stream


class Evaluation(eqx.Module):
    """Finished evaluation episodes, on the host."""

    returns: np.ndarray  # [episodes]
    lengths: np.ndarray  # [episodes], in environment steps
    finished: np.ndarray  # [episodes] bool; False where the step limit of the evaluation cut the episode
    trajectories: Any  # a Transition, [episodes, time, ...]; rows at and past the length are repeats; None of matches
    states: Any  # environment states before each step and after the last, [episodes, time + 1, ...]; None off JAX


class _Carry(eqx.Module):
    state: Any
    obs: Array
    memory: Any
    alive: Array
    returns: Array
    lengths: Array


def _programs(
    agent: AbstractAgent, env: AbstractEnv, num_episodes: int, ticks: int, chunk: int
) -> tuple[Callable, Callable]:
    """The first carry from `(state, key, clock)`, and `chunk` steps from `(state, carry, key, tick)`, compiled."""

    def begin(state: Any, key: PRNGKeyArray, clock: Array) -> _Carry:
        keys = jax.vmap(lambda i: stream(key, EVALUATE, i))(jnp.arange(num_episodes))
        env_state, obs = jax.vmap(lambda k: env.reset(key=k, clock=clock))(keys)
        n = num_episodes
        memory = broadcast(agent.init_memory(state), n)
        return _Carry(env_state, obs, memory, jnp.ones(n, bool), jnp.zeros(n), jnp.zeros(n, jnp.int32))

    def steps(state: Any, carry: _Carry, key: PRNGKeyArray, tick: Array) -> tuple[_Carry, Any]:
        def one(dynamic: Any, tick: Array) -> tuple[Any, Any]:
            carry = eqx.combine(dynamic, static)
            keys = jr.split(stream(key, EVALUATE, -1 - tick), 2 * num_episodes).reshape(2, num_episodes)
            act = lambda m, o, k: agent.act(state, m, o, key=k, explore=False)[:2]
            action, memory = jax.vmap(act)(carry.memory, carry.obs, keys[0])
            step = jax.vmap(lambda s, a, k: sound_step(env, *env.counted_step(s, a, key=k)))
            env_state, next_obs, reward, terminated, truncated, steps = step(carry.state, action, keys[1])
            row = Transition(carry.obs, action, reward, next_obs, terminated, truncated)
            counts = carry.alive & (tick < ticks)  # the last chunk may reach past the limit
            new = _Carry(
                env_state,
                next_obs,
                memory,
                carry.alive & ~(counts & (terminated | truncated)),
                carry.returns + jnp.where(counts, reward, 0.0),  # after its end an environment may say NaN
                carry.lengths + jnp.where(counts, steps, 0),
            )
            return eqx.filter(new, eqx.is_array), (row, carry.state)

        dynamic, static = eqx.partition(carry, eqx.is_array)
        dynamic, rows = jax.lax.scan(one, dynamic, tick + jnp.arange(chunk))
        return eqx.combine(dynamic, static), rows

    return compiled(begin), compiled(steps)


class JitEvaluator(AbstractEvaluator):
    """Runs `num_episodes` episodes at once. Episode k starts from the same state at every call with the same key."""

    def __init__(
        self,
        agent: AbstractAgent,
        env: AbstractEnv,
        *,
        num_episodes: int,
        max_steps: int | None = None,
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
        self.chunk = min(25, self.ticks)
        self._begin, self._go = shared(_programs, agent, env, num_episodes, self.ticks, self.chunk)

    def steps(
        self,
        state: Any,
        *,
        key: PRNGKeyArray,
        clock: int | None = None,
        films: Any = (),
        enough: Any = None,
    ) -> Iterator[float | Evaluation]:
        begun = jnp.int32(self.clock if clock is None else clock)
        carry, kept = self._begin(state, key, begun), []
        for tick in range(0, self.ticks, self.chunk):
            alive = np.asarray(carry.alive)
            carry, rows = self._go(state, carry, key, jnp.asarray(tick))
            kept.append(jax.tree.map(np.asarray, rows))
            self._check(kept[-1][0], alive, tick)
            checked_returns(self.env.spec.name, np.asarray(carry.returns))
            if not np.any(np.asarray(carry.alive)):
                break
            yield (tick + self.chunk) / self.ticks
        join = lambda *parts: np.swapaxes(np.concatenate(parts), 0, 1)
        trajectories, states = jax.tree.map(join, *kept)
        states = jax.tree.map(lambda x, last: np.append(x, np.asarray(last)[:, None], axis=1), states, carry.state)
        yield Evaluation(
            np.asarray(carry.returns), np.asarray(carry.lengths), ~np.asarray(carry.alive), trajectories, states
        )

    def _check(self, rows: Transition, alive: np.ndarray, tick: int) -> None:
        """Raises the fault of the first step of a chunk that is not finite; leaves `[time, episodes, ...]`."""
        over = np.cumsum(rows.terminated | rows.truncated, axis=0)
        ended = np.concatenate([np.zeros((1, self.num_episodes), bool), over[:-1] > 0])
        in_time = tick + np.arange(self.chunk) < self.ticks
        counts = alive & ~ended & in_time[:, None]
        bad = np.stack([counts & ~_finite(x) for x in (rows.obs, rows.action, rows.next_obs, rows.reward)], axis=-1)
        if not bad.any():
            return
        t, episode, what = (int(i) for i in np.argwhere(bad)[0])  # the earliest; the cause before what follows of it
        name, action = self.env.spec.name, np.asarray(rows.action[t, episode])
        step = (tick + t + 1) * self.env.spec.action_repeat
        if what == 1:
            raise unsound_action(name, episode, step, action)
        if what == 0:
            unsound, taken = "observation", "at reset"
        else:
            unsound, taken = ("observation", "reward")[what - 2], f"after action {action.tolist()}"
        raise EnvironmentFault(
            f"environment {name}, evaluation episode {episode}, step {step if what else 0}: the {unsound} is not "
            f"finite {taken}; mend the environment, then resume"
        )


def _finite(x: Array) -> np.ndarray:
    """Which rows of `[time, episodes, ...]` are finite throughout, `[time, episodes]`."""
    return np.all(np.isfinite(np.asarray(x)).reshape(*x.shape[:2], -1), axis=-1)


def checked_returns(env: str, returns: np.ndarray) -> None:
    """Raises EnvironmentFault if the rewards of an evaluation episode sum up to more than float32 holds."""
    if not np.isfinite(returns).all():
        episode = int(np.argmax(~np.isfinite(returns)))
        raise EnvironmentFault(f"environment {env}, evaluation episode {episode}: {OVERFLOW}")


def unsound_action(env: str, episode: int, step: int, action: np.ndarray) -> TrainingFault:
    """The error to raise for an action of an evaluation that is not finite."""
    return TrainingFault(
        f"the agent chose the non-finite action {action.tolist()} at step {step} of evaluation episode {episode} "
        f"on {env}"
    )
