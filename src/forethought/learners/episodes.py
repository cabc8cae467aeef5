"""Whole episodes out of a replay, for agents that learn from so many rollouts of each of a few starts. On the host."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ..core import AbstractReplay
from ..errors import TrainingFault
from ..types import Transition


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
    def starts(self) -> np.ndarray:
        """First observations `[start, obs]`, as float32."""
        return self.obs[:, 0, 0].astype(np.float32)


def whole_episodes(replay: AbstractReplay, steps: int) -> Transition:
    """All episodes of exactly `steps` steps, in order of their ends; leaves `[episode, time, ...]`, NumPy.

    Raises TrainingFault where an episode terminated before its time.
    """
    _, in_use = replay.rows()
    rows = replay.latest(int(np.sum(np.asarray(in_use))))
    rows = Transition(*(np.asarray(x) for x in (rows.obs, rows.action, rows.reward, rows.next_obs)),
                      np.asarray(rows.terminated), np.asarray(rows.truncated), rows.extras)
    if rows.terminated.any():
        raise TrainingFault(
            "an episode terminated before its time; local controllers are for tasks that last a fixed number of steps"
        )
    name, time = np.asarray(rows.extras.episode), np.asarray(rows.extras.time)
    order = np.lexsort((time, name))
    cuts = np.flatnonzero(np.diff(name[order])) + 1
    whole = [rows for rows in np.split(order, cuts) if len(rows) == steps and (time[rows] == np.arange(steps)).all()]
    whole.sort(key=lambda rows: int(rows[-1]))
    index = np.array(whole, int).reshape(-1, steps)
    fields = (rows.obs, rows.action, rows.reward, rows.next_obs, rows.terminated, rows.truncated)
    return Transition(*(x[index] for x in fields))


def by_start(episodes: Transition, starts: int, rollouts: int) -> Rollouts | None:
    """The latest `rollouts` episodes of each of `starts` first observations, which are sorted; None while one has fewer.

    Raises TrainingFault where there are more first observations than that.
    """
    firsts, which = np.unique(episodes.obs[:, 0], axis=0, return_inverse=True)
    if len(firsts) > starts:
        raise TrainingFault(
            f"{len(firsts)} first observations in training, wanted {starts}: the environment does not begin alike when "
            "it is reset with the same key"
        )
    of_start = [np.flatnonzero(which.ravel() == k)[-rollouts:] for k in range(len(firsts))]
    if len(firsts) < starts or min(len(index) for index in of_start) < rollouts:
        return None
    index = np.stack(of_start)
    fields = (episodes.obs, episodes.action, episodes.next_obs, episodes.reward)
    return Rollouts(*(np.asarray(x, np.float64)[index] for x in fields))
