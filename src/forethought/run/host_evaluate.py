"""Evaluation in environments stepped from Python."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractAgent, AbstractHostEnv, HostStep
from ..types import Transition
from .actor import Actor
from .evaluate import Evaluation, checked_returns, finished, unsound_action
from .film import Film
from .host_step import started, stepped
from .progress import EVALUATE, broadcast, stream


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
        films: Sequence[Film] = (),
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[float | Evaluation]:
        """Yields the part done, in (0, 1), and in the end the Evaluation.

        The first episodes are filmed, one in each of `films`. No further one begins once there are `enough`. Raises
        EnvironmentFault, or TrainingFault where an action is not finite.
        """
        rows: list[list[Transition]] = []
        lengths = np.zeros(self.num_episodes, int)
        self.env.set_clock(self.clock if clock is None else clock)
        for episode in range(self.num_episodes):
            obs, memory = self._begin(key, episode), broadcast(self.agent.init_memory(state), 1)
            rows.append([])
            film = films[episode] if episode < len(films) else None
            self.env.filmed, self.env.last_frame = film is not None, None
            for tick in range(self.ticks):
                if film is not None:
                    film.add(tick, self.env.render)
                draw = jnp.int32(-1 - tick - self.ticks * episode)  # an array, since fold_in takes no negative int
                act_key, step_key = jr.split(stream(key, EVALUATE, draw))
                action, memory = self._action(state, memory, obs, act_key, (episode, tick))
                step = self._step(action, step_key, key)
                if step.valid[0]:
                    row = (obs, action, step.reward, step.next_obs, step.terminated, step.truncated)
                    rows[-1].append(Transition(*(np.asarray(x)[0] for x in row)))
                    lengths[episode] += step.steps[0]
                obs = step.obs[:1]
                if step.terminated[0] or step.truncated[0]:
                    if film is not None:
                        film.end(tick + 1, self.env.last_frame)
                    break
                if tick % 10 == 9:
                    yield (episode + tick / self.ticks) / self.num_episodes
            else:
                if film is not None:
                    film.end(self.ticks, self.env.render())
            if enough():
                break
        found = _evaluation(rows, lengths[: len(rows)])
        checked_returns(self.env.spec.name, found.returns)
        yield found

    def _begin(self, key: PRNGKeyArray, episode: int) -> np.ndarray:
        """The first observation `[1, obs]` of an episode; environments after the first only need some key."""
        first = stream(key, EVALUATE, episode)
        return started(self.env, [first, *(jr.fold_in(first, i) for i in range(1, self.env.num_envs))])[:1]

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
        return stepped(self.env, together, step_key=step_key, reset_key=lambda i: reset_key)

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def __call__(self, state: Any, *, key: PRNGKeyArray) -> Evaluation:
        """The evaluation of the policy that `state` holds."""
        return finished(self.steps(state, key=key))


def _evaluation(rows: list[list[Transition]], lengths: np.ndarray) -> Evaluation:
    """Episodes of differing lengths as one Evaluation, padded by repeating the last row."""
    longest = max(len(r) for r in rows)
    stacked = [jax.tree.map(lambda *x: np.stack(x), *(r + [r[-1]] * (longest - len(r)))) for r in rows]
    with np.errstate(over="ignore"):
        returns = np.array([sum(float(t.reward) for t in r) for r in rows]).astype(np.float32)
    return Evaluation(
        returns,
        lengths,
        np.array([bool(r[-1].terminated or r[-1].truncated) for r in rows]),
        jax.tree.map(lambda *x: np.stack(x), *stacked),
        None,
    )
