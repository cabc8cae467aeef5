"""Where imagination leaves reality: single stretches of real episodes, imagined from their first observation."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractFilter, AbstractModel
from ..errors import UserError
from ..types import EnvSpec, Transition
from .following import beliefs_at
from .open_loop import moments, particles_of, seen_by
from .video import overlay
from .windows import Windows, checked, scales

SURPRISE = 0.01
"""Chance that a model whose intervals are right is said to have diverged by leaving them, over the whole stretch."""

LOST = 1.0
"""Error, in standard deviations of the data, from which on a prediction tells no more than their mean would."""

TOGETHER, APART = (0, 158, 115), (213, 94, 0)
"""Colours of frames in which imagination is still what happened, and no longer."""

LEVELS = (0.5, 0.9)
_BISECTIONS, _WIDEST = 40, 50.0  # halvings, and standard deviations from the mean, of the search for a quantile


@dataclasses.dataclass(frozen=True)
class Trace:
    """A stretch of `T` steps of a real episode, and what the model imagined of it.

    Angles are unwrapped, so that lines do not jump. Step t is the t-th after the start; row t-1 of an axis T.
    """

    episode: int
    start: int
    obs: np.ndarray  # [D] where both begin
    real: np.ndarray  # [T, D]
    imagined: np.ndarray  # [T, D] predictive mean
    path: np.ndarray  # [T, D] one of the particles
    bands: np.ndarray  # [levels, 2, T, D] ends of the central intervals of LEVELS
    limits: np.ndarray  # [2, T, D] what is left by chance, anywhere in the stretch, with probability SURPRISE
    error: np.ndarray  # [T] root mean square over dimensions of the mean's error, in standard deviations of the data
    real_reward: np.ndarray  # [T]
    imagined_reward: np.ndarray  # [T] mean over particles
    continuation: np.ndarray  # [T] imagined probability that the episode has gone on through the step
    diverged_at: int | None  # the first step at which reality leaves `limits`, or the error reaches LOST
    reason: Literal["outside", "error"] | None  # which of the two it was
    dimension: int | None  # the dimension farthest out, where it was `outside`


def traces(
    model: AbstractModel,
    trajectories: Transition,
    spec: EnvSpec,
    *,
    episode: int = 0,
    starts: Sequence[int] = (0,),
    horizon: int | None = None,
    key: PRNGKeyArray,
    min_particles: int = 20,
) -> list[Trace]:
    """One episode imagined open loop from each of `starts`, for `horizon` steps or to its end, and the divergence.

    Reality has diverged from what was imagined at the first step at which a dimension lies outside the limits
    of the predictive distribution, or the error of its mean reaches LOST. Limits are those of central
    intervals of level 1 - SURPRISE / (steps * dimensions), so that many comparisons are no more alarming than one
    (Bonferroni). A filter begins with what it believes after the episode up to the start. A recalibrated model is
    judged by its recalibrated intervals. Raises UserError for data that are not finite or do not fit, and for an
    episode or start that is not there.
    """
    data, length = checked(trajectories, spec)
    if not 0 <= episode < len(length):
        raise UserError(f"episode={episode} is not there; the data hold {len(length)}, numbered from 0")
    missing = [s for s in starts if not 0 <= s < length[episode]]
    if missing or not len(starts):
        raise UserError(f"starts={tuple(starts)} must lie in 0..{length[episode] - 1}, the steps of episode {episode}")
    scale, _, constant = scales(data, length, spec)
    kept = np.array([d for d in range(len(scale)) if d not in constant] or range(len(scale)))
    longest = int(length[episode]) - min(starts)
    steps = longest if horizon is None else max(1, min(horizon, longest))
    ahead = np.asarray(starts)[:, None] + np.arange(steps)
    times = np.minimum(ahead, length[episode] - 1)
    take = lambda x: jnp.asarray(np.asarray(x)[episode, times])
    windows = Windows(
        obs=jnp.asarray(np.asarray(data.obs)[episode, list(starts)]),
        action=take(data.action),
        reward=take(data.reward),
        next_obs=take(data.next_obs),
        terminated=take(data.terminated),
        valid=jnp.asarray(ahead < length[episode]),
    )
    tail = SURPRISE / (steps * len(kept)) / 2
    probability = jnp.asarray([(1 + side * level) / 2 for level in LEVELS for side in (-1, 1)] + [tail, 1 - tail])
    repeats = -(-min_particles // particles_of(model, spec))
    keys = jr.split(key, len(starts))
    believed = None
    if isinstance(model, AbstractFilter):
        where = (np.full(len(starts), episode), np.asarray(starts))
        believed = beliefs_at(model, np.asarray(data.obs), np.asarray(data.action), *where, repeats, key=key)
    said = _imagined(model, windows, believed, probability, spec, repeats, keys=keys)
    found = []
    for i, start in enumerate(starts):
        n = min(steps, int(length[episode]) - start)
        one = jax.tree.map(lambda x, i=i, n=n: np.asarray(x, np.float64)[i, :n], said)
        window = jax.tree.map(lambda x, i=i: np.asarray(x)[i], windows)
        found.append(_trace(episode, start, window, one, scale, kept, spec))
    return found


def _trace(
    episode: int, start: int, window: Windows, said: dict[str, Any], scale: np.ndarray, kept: np.ndarray, spec: EnvSpec
) -> Trace:
    n = len(said["reward"])
    before = np.concatenate([window.obs[None], window.next_obs[: n - 1]])
    change = spec.difference(window.next_obs[:n], jnp.asarray(before))
    real = window.obs + np.cumsum(np.asarray(change, np.float64), 0)
    imagined = real - said["error"]
    ends = np.moveaxis(imagined[:, None] + said["ends"], 1, 0)  # [ends, T, D]
    limits = ends[-2:]
    error = np.sqrt(((said["error"] / scale)[:, kept] ** 2).mean(-1))
    over = np.maximum(limits[0] - real, real - limits[1]) / scale
    outside, lost = (over[:, kept] > 1e-6).any(1), ~(error < LOST)
    wrong = outside | lost
    step = int(np.argmax(wrong)) if wrong.any() else None
    by_band = step is not None and bool(outside[step])
    return Trace(
        episode=episode,
        start=start,
        obs=window.obs,
        real=real,
        imagined=imagined,
        path=imagined + said["path"],
        bands=ends[:-2].reshape(len(LEVELS), 2, n, -1),
        limits=limits,
        error=error,
        real_reward=window.reward[:n],
        imagined_reward=said["reward"],
        continuation=said["survival"],
        diverged_at=None if step is None else step + 1,
        reason=None if step is None else "outside" if by_band else "error",
        dimension=int(kept[np.argmax(over[step, kept])]) if by_band else None,
    )


@eqx.filter_jit
def _imagined(
    model: AbstractModel,
    windows: Windows,
    believed: Any,
    probability: Array,
    spec: EnvSpec,
    repeats: int,
    *,
    keys: PRNGKeyArray,
) -> dict[str, Array]:
    """Leaves `[starts, T, ...]`: error of the mean, quantiles and one particle about the mean, reward, survival."""

    def one_start(window: Windows, belief: Any, key: PRNGKeyArray) -> dict[str, Array]:
        init_key, step_key = jr.split(key)
        if belief is None:
            belief = jax.vmap(lambda k: model.init(window.obs, key=k))(jr.split(init_key, repeats))
        particles = jax.tree.leaves(belief)[0].shape[1]

        def step(carry: Any, x: Any) -> tuple[Any, dict[str, Array]]:
            belief, going = carry
            action, target, key = x
            action = jnp.broadcast_to(action, (particles, *action.shape))
            move = jax.vmap(lambda b, k: model.step(b, action, key=k))
            belief, said = move(belief, jr.split(key, repeats))
            going = going * said.continuation
            mean, variance = jax.vmap(lambda b: (seen_by(model, b).mean(), seen_by(model, b).variance()))(belief)
            merge = lambda x: x.reshape(-1, x.shape[-1])
            centre, spread = moments(merge(mean), merge(variance), spec)
            first = jax.tree.map(lambda x: x[0], belief)
            drawn = model.drawn(first)
            return (belief, going), {
                "error": spec.difference(target, centre),
                "ends": _quantiles(model, belief, probability, centre, jnp.sqrt(spread), spec) - centre,
                "path": spec.difference(mean[0, 0] if drawn is None else drawn[0], centre),
                "reward": said.reward.mean(),
                "survival": going.mean(),
            }

        carry = (belief, jnp.ones((repeats, particles)))
        return jax.lax.scan(step, carry, (window.action, window.next_obs, jr.split(step_key, len(window.action))))[1]

    return jax.vmap(one_start)(windows, believed, keys)


def _quantiles(
    model: AbstractModel, belief: Any, probability: Array, centre: Array, deviation: Array, spec: EnvSpec
) -> Array:
    """Quantiles `[probability, obs]` of the mixture over all particles, by bisection of its distribution function."""

    def below(value: Array) -> Array:
        def one_run(belief: Any) -> Array:
            seen = seen_by(model, belief)
            mean = seen.mean()
            turns = mean - centre - spec.difference(mean, centre)  # whole turns that a particle is away
            return seen.cdf(value + turns).mean(0)

        return jax.vmap(one_run)(belief).mean(0)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        less = jax.vmap(below)(middle) < probability[:, None]
        return jnp.where(less, middle, low), jnp.where(less, high, middle)

    shape = (len(probability), len(centre))
    low = jnp.broadcast_to(centre - _WIDEST * deviation, shape)
    high = jnp.broadcast_to(centre + _WIDEST * deviation, shape)
    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    return (low + high) / 2


def side_by_side(
    real: Sequence[np.ndarray], imagined: Sequence[np.ndarray], diverged_at: int | None, *, border: int = 6
) -> list[np.ndarray]:
    """Frames with reality on the left and imagination on the right, framed in green until they diverge, then in orange.

    Frame 0 is where both begin and frame t what is seen after step t; the shorter sequence holds its last
    frame. All frames are `[height, width, 3]` uint8 of one size. Raises UserError if there are none.
    """
    if not len(real) or not len(imagined):
        raise UserError(f"{len(real)} real and {len(imagined)} imagined frames; give at least one of each")
    frames = []
    for t in range(max(len(real), len(imagined))):
        apart = diverged_at is not None and t >= diverged_at
        said = f"imagined   step {t}" + (f"   diverged at {diverged_at}" if apart else "")
        left = overlay(real[min(t, len(real) - 1)], "real")
        right = overlay(imagined[min(t, len(imagined) - 1)], said)
        framed = np.pad(right, ((border, border), (border, border), (0, 0)))
        edge = np.ones(framed.shape[:2], bool)
        edge[border:-border, border:-border] = False
        framed[edge] = APART if apart else TOGETHER
        plain = np.pad(left, ((border, border), (border, border), (0, 0)), constant_values=255)
        frames.append(np.concatenate([plain, framed], 1))
    return frames
