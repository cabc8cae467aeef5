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
from .evaluate import Evaluation, checked_returns, unsound_action
from .film import Film
from .host_step import started, stepped
from .interface import AbstractEvaluator
from .progress import EVALUATE, broadcast, stream


class HostEvaluator(AbstractEvaluator):
    """Runs `num_episodes` episodes without exploration, as many side by side as the environment has simulators.

    Actions with a deadline, and all films but the last, are of one episode after another in the first simulator; the
    others do as it does.
    """

    films = True

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
        self.env.set_clock(self.clock if clock is None else clock)
        episodes: list[_Episode] = []
        while (first := len(episodes)) < self.num_episodes and not (episodes and enough()):
            alone = self.actor.plan_ms is not None or first + 1 < len(films)
            # Always as many, whether all of them are wanted or not: another number would be another program.
            numbers = list(range(first, first + (1 if alone else self.env.num_envs)))
            wanted = min(len(numbers), self.num_episodes - first)
            for found in self._played(state, numbers, wanted, films[first] if first < len(films) else None, key):
                if isinstance(found, list):
                    episodes += found
                else:
                    yield (first + wanted * found) / self.num_episodes
        found = _evaluation(episodes)
        checked_returns(self.env.spec.name, found.returns)
        yield found

    def _played(
        self, state: Any, numbers: list[int], wanted: int, film: Film | None, key: PRNGKeyArray
    ) -> Iterator["float | list[_Episode]"]:
        """Plays the episodes of these numbers side by side, to the end of those `wanted`, and films the first.

        Yields the part done, and in the end the episodes that are wanted.
        """
        count = len(numbers)
        obs, memory = self._begin(key, numbers), broadcast(self.agent.init_memory(state), count)
        episodes = [_Episode() for _ in numbers]
        self.env.filmed, self.env.last_frame = film is not None, None
        for tick in range(self.ticks):
            if film is not None:
                film.add(tick, self.env.render)
            # An array, since fold_in takes no negative int.
            draws = [stream(key, EVALUATE, jnp.int32(-1 - tick - self.ticks * number)) for number in numbers]
            act_keys, step_keys = zip(*(jr.split(draw) for draw in draws))
            action, memory = self._action(state, memory, obs, jnp.stack(act_keys), numbers, tick)
            step = self._step(action, step_keys[0], key)
            parts = (obs, action, step.reward, step.next_obs, step.terminated, step.truncated)
            for i, episode in enumerate(episodes):
                if not episode.over and step.valid[i]:
                    episode.add(Transition(*(np.asarray(part)[i] for part in parts)), int(step.steps[i]))
            obs = step.obs[:count]
            if film is not None and episodes[0].over:
                film.end(tick + 1, self.env.last_frame)
                film = None
            if all(episode.over for episode in episodes[:wanted]):
                break
            if tick % 10 == 9:
                yield tick / self.ticks
        else:
            if film is not None:
                film.end(self.ticks, self.env.render())
        yield episodes[:wanted]

    def _begin(self, key: PRNGKeyArray, numbers: list[int]) -> np.ndarray:
        """The first observations of episodes `[len(numbers), obs]`; the other environments only need some key."""
        keys = [stream(key, EVALUATE, number) for number in numbers]
        others = [jr.fold_in(keys[0], i) for i in range(len(numbers), self.env.num_envs)]
        return started(self.env, [*keys, *others])[: len(numbers)]

    def _action(
        self, state: Any, memory: Any, obs: np.ndarray, keys: PRNGKeyArray, numbers: list[int], tick: int
    ) -> tuple[np.ndarray, Any]:
        """An action for each episode, finite, and the memories."""
        seen = jnp.asarray(obs)
        if self.actor.plan_ms is not None and not self.actor.latency.taken:
            self.actor.warm_up(state, memory, seen, keys)
        action, memory, _ = self.actor(state, memory, seen, keys)
        action = np.asarray(action)
        for number, each in zip(numbers, action):
            if not np.all(np.isfinite(each)):
                raise unsound_action(self.env.spec.name, number, (tick + 1) * self.env.spec.action_repeat, each)
        return action, memory

    def _step(self, action: np.ndarray, step_key: PRNGKeyArray, reset_key: PRNGKeyArray) -> HostStep:
        """A step of all environments with `action` of the first few; the others do as the first."""
        others = np.repeat(action[:1], self.env.num_envs - len(action), axis=0)
        return stepped(self.env, np.concatenate([action, others]), step_key=step_key, reset_key=lambda i: reset_key)

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


class _Episode:
    """The transitions of one episode so far, and the simulator steps that they took."""

    def __init__(self) -> None:
        self.rows: list[Transition] = []
        self.length = 0
        self.over = False

    def add(self, row: Transition, steps: int) -> None:
        """One more transition."""
        self.rows.append(row)
        self.length += steps
        self.over = bool(row.terminated or row.truncated)


def _evaluation(episodes: list[_Episode]) -> Evaluation:
    """Episodes of differing lengths as one Evaluation, padded by repeating the last row."""
    rows = [episode.rows for episode in episodes]
    longest = max(len(r) for r in rows)
    stacked = [jax.tree.map(lambda *x: np.stack(x), *(r + [r[-1]] * (longest - len(r)))) for r in rows]
    with np.errstate(over="ignore"):
        returns = np.array([sum(float(t.reward) for t in r) for r in rows]).astype(np.float32)
    return Evaluation(
        returns,
        np.array([episode.length for episode in episodes]),
        np.array([episode.over for episode in episodes]),
        jax.tree.map(lambda *x: np.stack(x), *stacked),
        None,
    )
