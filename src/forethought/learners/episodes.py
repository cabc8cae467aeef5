"""Whole episodes out of a replay, for agents that learn from so many rollouts of each of a few starts. On the host."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ..core import AbstractReplay
from ..errors import TrainingFault
from ..types import Transition

SAME = 1e-4  # relative and absolute: two compiled programs may round a first observation differently


class Place(eqx.Module):
    """Where a step stands in its episode: what an agent tells the replay so that episodes can be found again."""

    episode: Int[Array, ""]  # a random name
    time: Int[Array, ""]  # steps since its start

    @classmethod
    def example(cls) -> "Place":
        """All zero, for shapes; before the first step of an episode too."""
        zero = jnp.zeros((), jnp.int32)
        return cls(zero, zero)

    def named(self, *, key: PRNGKeyArray) -> "Place":
        """The same, with a name drawn where the episode begins."""
        name = jr.randint(key, (), 1, jnp.iinfo(jnp.int32).max)
        return Place(jnp.where(self.time == 0, name, self.episode), self.time)

    def after(self) -> "Place":
        """One step later."""
        return Place(self.episode, self.time + 1)


class Rollouts(NamedTuple):
    """Episodes of `time` steps; leaves `[start, rollout, time, ...]`, oldest first, float64."""

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    reward: np.ndarray

    @property
    def xu(self) -> np.ndarray:
        """Observation and action side by side."""
        return np.concatenate([self.obs, self.action], -1)

    @property
    def firsts(self) -> np.ndarray:
        """First observations `[start, obs]`, as float32."""
        return self.obs[:, 0, 0].astype(np.float32)


def whole_episodes(replay: AbstractReplay, steps: int) -> Transition:
    """All episodes of exactly `steps` steps, in order of their ends; leaves `[episode, time, ...]`, NumPy.

    Raises TrainingFault where an episode terminated before its time.
    """
    _, in_use = replay.rows()
    rows = replay.latest(int(np.sum(np.asarray(in_use))))
    rows = jax.tree.map(np.asarray, rows)
    if rows.terminated.any():
        raise TrainingFault(
            "an episode terminated before its time; local controllers are for tasks that last a fixed number of steps"
        )
    name, time = rows.extras.episode, rows.extras.time
    order = np.lexsort((time, name))
    cuts = np.flatnonzero(np.diff(name[order])) + 1
    whole = [each for each in np.split(order, cuts) if len(each) == steps and (time[each] == np.arange(steps)).all()]
    index = np.array(sorted(whole, key=lambda each: each[-1]), int).reshape(-1, steps)
    return jax.tree.map(lambda x: x[index], rows)


def by_start(episodes: Transition, known: np.ndarray, starts: int, rollouts: int) -> Rollouts | None:
    """The latest `rollouts` episodes of each of `starts` first observations; None while one of these has fewer.

    In order of `known` first observations `[up to starts, obs]`, then of appearance. Raises TrainingFault where there
    are more than `starts`.
    """
    firsts, of_start = list(known), [[] for _ in known]
    for number, first in enumerate(episodes.obs[:, 0]):
        same = [k for k, other in enumerate(firsts) if np.allclose(first, other, rtol=SAME, atol=SAME)]
        if not same:
            firsts.append(first)
            of_start.append([])
        of_start[same[0] if same else -1].append(number)
    if len(firsts) > starts:
        raise TrainingFault(
            f"{len(firsts)} first observations in training, wanted starts={starts}: the environment does not begin "
            "alike when it is reset with the same key"
        )
    if len(firsts) < starts or min(map(len, of_start)) < rollouts:
        return None
    index = np.array([numbers[-rollouts:] for numbers in of_start])
    fields = (episodes.obs, episodes.action, episodes.next_obs, episodes.reward)
    return Rollouts(*(np.asarray(x, np.float64)[index] for x in fields))
