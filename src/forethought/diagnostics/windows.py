"""Windows of real episodes, in which a model's imagination is held against what happened."""

import dataclasses
from typing import Any, Self

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from ..errors import UserError
from ..types import Discrete, EnvSpec, Transition
from .groups import Groups

_COLUMNS = 1024  # numbers of an observation whose deviations are taken at a time: pictures are large in float64

MAX_ENDINGS = 100  # real terminations that are looked at from their last starts


class Windows(eqx.Module):
    """What really happened after each start; leaves `[starts, ...]`. The last action of an episode is repeated."""

    obs: Float[Any, "starts obs"]
    action: Any  # [starts, horizon, *action]
    reward: Float[Any, "starts horizon"]
    next_obs: Float[Any, "starts horizon obs"]
    terminated: Bool[Any, "starts horizon"]
    valid: Bool[Any, "starts horizon"]  # the episode was still going on before this step, and it was recorded


@dataclasses.dataclass(frozen=True)
class Cut:
    """Windows of real episodes, and the units in which predictions of them are judged."""

    windows: Windows  # of NumPy arrays
    even: int  # the first so many starts are spread evenly; those behind them only see terminations
    episode: np.ndarray  # [starts] which episode each window is from
    time: np.ndarray  # [starts] its first step in that episode
    data: Transition  # the episodes themselves, leaves [episodes, time, ...] of NumPy arrays
    groups: Groups  # what an observation is judged as
    known: np.ndarray  # [starts, horizon] the sum of rewards up to this step is known, whatever might have happened
    deviation: np.ndarray  # [obs] standard deviation of the observations; 1 where nothing varies
    scale: np.ndarray  # [groups] the same for each group, root mean square, a picture's in 0..1
    reward_scale: float  # standard deviation of the rewards; 1 where nothing varies
    constant: tuple[int, ...]  # groups that never vary
    num_episodes: int
    num_terminations: int
    notes: tuple[str, ...]

    @property
    def horizon(self) -> int:
        """Steps of the longest window that the data hold, at most what was asked for."""
        return self.windows.reward.shape[1]

    def evenly(self) -> Self:
        """Without the starts that only see terminations."""
        first = lambda x: x[: self.even]
        windows = jax.tree.map(first, self.windows)
        episode, time, known = map(first, (self.episode, self.time, self.known))
        return dataclasses.replace(self, windows=windows, episode=episode, time=time, known=known)


def cut(
    trajectories: Transition, spec: EnvSpec, *, horizon: int, max_starts: int, endings: int = 0, key: PRNGKeyArray
) -> Cut:
    """Windows of up to `horizon` steps from up to `max_starts` starts, spread evenly over all recorded steps.

    Behind these come, of up to MAX_ENDINGS real terminations, the `endings` last starts that are not among them (of
    pictures no more than `max_starts` in all).
    `trajectories` has leaves `[episodes, time, ...]`; what follows an episode's first terminated or truncated
    step is ignored. Raises ValueError for invalid sizes, UserError for data that do not fit `spec` or
    are not finite.
    """
    if min(horizon, max_starts) < 1:
        raise ValueError(f"horizon={horizon} and max_starts={max_starts} must be at least 1")
    data, length = checked(trajectories, spec)
    notes = []
    num, first = len(length), np.concatenate([[0], np.cumsum(length)])
    n = min(max_starts, int(first[-1]))
    phase = float(jr.uniform(key))
    flat = np.minimum(((np.arange(n) + phase) * first[-1] / n).astype(int), first[-1] - 1)
    terminated = np.asarray(data.terminated)[np.arange(num), length - 1]
    most = MAX_ENDINGS if spec.image is None else max(1, min(MAX_ENDINGS, max_starts // max(endings, 1)))
    flat = np.concatenate([flat, _before_endings(first, np.flatnonzero(terminated), endings, flat, most)])
    episode = np.searchsorted(first, flat, side="right") - 1
    time = flat - first[episode]
    left = (length[episode] - time)[:n]
    if left.max() < horizon:
        notes.append(f"horizon {horizon} cut to {left.max()} steps: no episode is longer")
        horizon = int(left.max())
    ahead = time[:, None] + np.arange(horizon)
    rows, times = episode[:, None], np.minimum(ahead, length[episode, None] - 1)
    take = lambda x: np.asarray(x)[rows, times]
    windows = Windows(
        obs=np.asarray(data.obs)[episode, time],
        action=take(data.action),
        reward=take(data.reward),
        next_obs=take(data.next_obs),
        terminated=take(data.terminated),
        valid=ahead < length[episode, None],
    )
    in_time = ahead < _possible_length(length, terminated, spec)
    deviation, reward_scale, still = scales(data, length, spec)
    groups = Groups.of(spec, np.isin(np.arange(spec.obs_dim), still))
    constant = still
    if spec.image is not None:
        dark = (0,) if np.isin(np.arange(spec.num_pixels), still).all() else ()
        constant = (*dark, *(d - spec.num_pixels + 1 for d in still if d >= spec.num_pixels))
    scale = np.sqrt(groups.mean(deviation**2)) / groups.units
    scale[list(constant)] = 1.0
    if num == 1:
        notes.append("one episode only: there are no bands over episodes")
    if constant:
        named = ", ".join(groups.names[d].removeprefix("observation ") for d in constant)
        notes.append(f"observation {named} never varies: judged in its own units and left out of averages")
    return Cut(
        windows=windows,
        even=n,
        episode=episode,
        time=time,
        data=data,
        groups=groups,
        known=in_time & (windows.valid | terminated[episode, None]),
        deviation=deviation,
        scale=scale,
        reward_scale=reward_scale,
        constant=constant,
        num_episodes=num,
        num_terminations=int(terminated.sum()),
        notes=tuple(notes),
    )


def _possible_length(length: np.ndarray, terminated: np.ndarray, spec: EnvSpec) -> int:
    """Actions after which time runs out, so that how an episode would have gone on is not known.

    The task's time limit; but the longest episode, where there is no limit, or it was cut short or is longer. From
    starts closer to it than the horizon only returns of episodes that terminated are known: too low ones.
    """
    longest = int(length.max())
    if spec.max_episode_steps is None or not terminated[length == longest].all():
        return longest
    return max(longest, -(-spec.max_episode_steps // spec.action_repeat))


def _before_endings(
    first: np.ndarray, terminated: np.ndarray, endings: int, taken: np.ndarray, most: int
) -> np.ndarray:
    """Steps, counted through all episodes, from which one of `most` terminations is at most `endings` steps ahead."""
    every = -(-len(terminated) // most) or 1
    chosen = terminated[::every]
    back = first[chosen + 1][:, None] - 1 - np.arange(endings)
    return np.setdiff1d(back[back >= first[chosen][:, None]], taken).astype(int)


def checked(trajectories: Transition, spec: EnvSpec) -> tuple[Transition, np.ndarray]:
    """The data as NumPy arrays, and the length `[episodes]` of every episode.

    Raises ValueError unless leaves are `[episodes, time, ...]`, UserError if there is nothing, spaces do not
    fit, or a number is not finite.
    """
    data = jax.tree.map(np.asarray, dataclasses.replace(trajectories, extras=None))
    if data.reward.ndim != 2:
        raise ValueError(
            f"trajectories: reward has shape {data.reward.shape}; wanted [episodes, time], one row per episode"
        )
    if data.reward.size == 0:
        raise UserError(f"trajectories hold no step (reward has shape {data.reward.shape}); give at least one episode")
    wanted = (spec.obs_dim,)
    for name, got, want in (
        ("obs", data.obs.shape[2:], wanted),
        ("next_obs", data.next_obs.shape[2:], wanted),
        ("action", data.action.shape[2:], spec.action.shape),
    ):
        if got != want:
            raise UserError(
                f"trajectories do not fit {spec.name}: one {name} has shape {got}, wanted {want}; "
                "give episodes of the environment that the model was made for"
            )
    over = data.terminated | data.truncated
    length = np.where(over.any(1), over.argmax(1) + 1, over.shape[1])
    inside = np.arange(over.shape[1]) < length[:, None]
    for name in ("obs", "action", "reward", "next_obs"):
        values = getattr(data, name)
        wrong = ~np.isfinite(values) & inside.reshape(*inside.shape, *[1] * (values.ndim - 2))
        if wrong.any():
            episode, step, *where = (int(i) for i in np.argwhere(wrong)[0])
            place = f", dimension {where[0]}" if where else ""
            raise UserError(
                f"trajectories: {name} is {values[episode, step, *where]} in episode {episode}, step {step}{place} "
                f"({int(wrong.any(tuple(range(2, wrong.ndim))).any(1).sum())} of {len(values)} episodes are not "
                "finite); leave such episodes out"
            )
    if isinstance(spec.action, Discrete):
        wrong = inside & ((data.action < 0) | (data.action >= spec.action.n))
        if wrong.any():
            episode, step = (int(i) for i in np.argwhere(wrong)[0])
            raise UserError(
                f"trajectories: action is {data.action[episode, step]} in episode {episode}, step {step}; "
                f"wanted 0..{spec.action.n - 1}"
            )
    return data, length


def scales(data: Transition, length: np.ndarray, spec: EnvSpec) -> tuple[np.ndarray, float, tuple[int, ...]]:
    """Standard deviations of observations (angles about their circular mean) and rewards, and constant dimensions."""
    inside = np.arange(data.reward.shape[1]) < length[:, None]
    reward = np.asarray(data.reward, np.float64)[inside]
    deviation, centre = np.zeros(spec.obs_dim), np.zeros(spec.obs_dim)
    for first in range(0, spec.obs_dim, _COLUMNS):
        obs = np.asarray(data.obs)[..., first : first + _COLUMNS][inside].astype(np.float64)
        middle = obs.mean(0)
        away = obs - middle
        for dim in (d - first for d in spec.angle_dims if first <= d < first + _COLUMNS):
            middle[dim] = np.arctan2(np.sin(obs[:, dim]).mean(), np.cos(obs[:, dim]).mean())
            away[:, dim] = (obs[:, dim] - middle[dim] + np.pi) % (2 * np.pi) - np.pi
        columns = slice(first, first + _COLUMNS)
        deviation[columns], centre[columns] = np.sqrt((away**2).mean(0)), middle
    still = deviation <= 1e-6 * (1 + np.abs(centre))
    spread = float(reward.std())
    reward_scale = spread if spread > 1e-6 * (1 + abs(float(reward.mean()))) else 1.0
    constant = tuple(int(d) for d in np.flatnonzero(still))
    return np.where(still, 1.0, deviation), reward_scale, constant
