"""Transitions on the host, in order and cut into episodes: what the doctor looks at."""

import dataclasses
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from ..types import EnvSpec, Transition

MOST_ROWS = 20_000  # latest rows that are looked at: enough for every test, and quick
MOST_NUMBERS = 2**26  # numbers in their observations and successors; of pictures that is fewer rows


def most_rows(spec: EnvSpec) -> int:
    """How many rows of this task are looked at."""
    return max(1, min(MOST_ROWS, MOST_NUMBERS // (2 * spec.obs_dim)))


class Rows(NamedTuple):
    """Transitions as a `Transition` holds them, but NumPy's, and without extras."""

    obs: np.ndarray  # [n, obs]
    action: np.ndarray  # [n, *action]
    reward: np.ndarray  # [n]
    next_obs: np.ndarray  # [n, obs]
    terminated: np.ndarray  # [n] bool
    truncated: np.ndarray  # [n] bool


class Logged(NamedTuple):
    """Transitions in order of time within each episode."""

    rows: Rows
    spans: tuple[tuple[int, int], ...]  # first row of each episode, and the row behind its last one

    @classmethod
    def of_rows(cls, rows: Transition, *, num_envs: int = 1) -> Self:
        """From `rows` as a run stores them, `num_envs` environments interleaved; the latest `MOST_ROWS` of them.

        A row belongs to the episode whose last successor it begins with. A row that begins with no open episode's
        successor starts a new one, so an episode ends where the flags say so or where the chain breaks.
        """
        kept = jax.tree.map(lambda x: x[-MOST_ROWS:], _host(rows))
        over = kept.terminated | kept.truncated
        open_: list[list[int]] = []  # episodes that may go on, the one waiting longest first
        done: list[list[int]] = []
        for i in range(len(kept.reward)):
            found = next((e for e in open_ if _continues(kept, e[-1], i)), None)
            if found is None:
                if len(open_) >= num_envs:
                    done.append(open_.pop(0))
                found = []
            else:
                open_.remove(found)
            found.append(i)
            (done if over[i] else open_).append(found)
        return cls._joined(kept, sorted(done + open_))

    @classmethod
    def of_trajectories(cls, trajectories: Transition, *, most: int | None = None) -> Self:
        """From leaves `[episodes, time, ...]`; what follows an episode's first end is left out.

        The first episodes alone that hold at most `most` rows together, padding included, but at least two.
        """
        steps = trajectories.reward.shape[1]
        kept = slice(None) if most is None else slice(max(2, most // max(steps, 1)))
        rows = _host(jax.tree.map(lambda x: x[kept], dataclasses.replace(trajectories, extras=None)))
        over = np.cumsum(rows.terminated | rows.truncated, axis=1) > 0
        lengths = np.where(over.any(1), over.argmax(1) + 1, over.shape[1])
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
        return cls._joined(flat, [list(range(k * steps, k * steps + n)) for k, n in enumerate(lengths)])

    @classmethod
    def _joined(cls, rows: Rows, episodes: list[list[int]]) -> Self:
        order = np.array([i for episode in episodes for i in episode], int)
        ends = np.cumsum([len(episode) for episode in episodes]).tolist()
        return cls(jax.tree.map(lambda x: x[order], rows), tuple(zip([0, *ends[:-1]], ends)))

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each episode."""
        return np.array([end - start for start, end in self.spans], int)

    @property
    def first(self) -> np.ndarray:
        """The first row of each episode."""
        return np.array([start for start, _ in self.spans], int)

    @property
    def last(self) -> np.ndarray:
        """The last row of each episode."""
        return np.array([end - 1 for _, end in self.spans], int)

    @property
    def over(self) -> np.ndarray:
        """For each episode whether the flags of its last row say that it ended."""
        return (self.rows.terminated | self.rows.truncated)[self.last]

    @property
    def episode(self) -> np.ndarray:
        """The number of each row's episode."""
        return np.repeat(np.arange(len(self.spans)), self.lengths)

    def chosen(self, episodes: Any) -> "Logged":
        """These episodes alone, in the order given."""
        return self._joined(self.rows, [list(range(*self.spans[k])) for k in episodes])

    def padded(self, most: int = 100) -> Transition:
        """Leaves `[episodes, time, ...]` of at most `most` episodes, evenly chosen.

        Shorter ones are filled up with their last row, which is marked as truncated unless it terminated: what stands
        behind an end is to be ignored.
        """
        chosen = np.unique(np.linspace(0, len(self.spans) - 1, min(most, len(self.spans))).astype(int))
        spans = [self.spans[k] for k in chosen]
        longest = max(end - start for start, end in spans)
        rows = np.stack([np.minimum(np.arange(start, start + longest), end - 1) for start, end in spans])
        truncated = self.rows.truncated.copy()
        last = self.last
        truncated[last] |= ~self.rows.terminated[last]
        return Transition(*jax.tree.map(lambda x: x[rows], self.rows._replace(truncated=truncated)))

    def latest(self, count: int) -> "Logged":
        """The last episodes that together have at least `count` rows; all where there are fewer."""
        kept = np.cumsum(self.lengths[::-1])
        number = min(int(np.searchsorted(kept, count)) + 1, len(self.spans))
        return self.chosen(range(len(self.spans) - number, len(self.spans)))


def pooled(data: Logged, spec: EnvSpec, side: int = 8) -> tuple[Logged, EnvSpec]:
    """The same with pictures of at most `side` pixels a side, each the mean of what it covers; and their spec."""
    if spec.image is None:
        return data, spec
    height, width, channels = spec.image
    small = (min(height, side), min(width, side), channels)
    edges = [np.linspace(0, length, new + 1).astype(int)[:-1] for length, new in zip(spec.image, small[:2])]
    cells = np.outer(*(np.diff([*e, length]) for e, length in zip(edges, spec.image)))[..., None]

    def pool(obs: np.ndarray) -> np.ndarray:
        picture = obs[:, : spec.num_pixels].reshape(-1, height, width, channels)
        summed = np.add.reduceat(np.add.reduceat(picture, edges[0], axis=1), edges[1], axis=2)
        return np.column_stack([(summed / cells).reshape(len(obs), -1).astype(obs.dtype), obs[:, spec.num_pixels :]])

    rows = data.rows._replace(obs=pool(data.rows.obs), next_obs=pool(data.rows.next_obs))
    size = int(np.prod(small))
    angles = tuple(d - spec.num_pixels + size for d in spec.angle_dims)
    return data._replace(rows=rows), dataclasses.replace(
        spec, obs_dim=size + spec.vector_dim, image=small, angle_dims=angles
    )


def _host(rows: Transition) -> Rows:
    return Rows(*(np.asarray(getattr(rows, name)) for name in Rows._fields))


def _continues(rows: Rows, before: int, row: int) -> bool:
    """Whether `row` begins where the row `before` it ended."""
    return bool(np.allclose(rows.next_obs[before], rows.obs[row], rtol=1e-4, atol=1e-5, equal_nan=True))
