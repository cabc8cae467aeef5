"""Pictures imagined beside real ones: single stretches of real episodes, and where imagination leaves them."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractModel
from ..types import GREYS, EnvSpec
from .following import beliefs_at
from .logged import Logged
from .open_loop import particles_of, seen_by

CONTEXT = 5  # pictures before imagination begins that are shown, seen and reconstructed


@dataclasses.dataclass(frozen=True)
class PictureTrace:
    """A stretch of a real episode: C pictures that the model has seen, then T that it imagined from the actions alone.

    Pictures are `[height, width, channels]`, 0..1; row C + t - 1 of an axis C + T is t steps ahead.
    """

    episode: int
    start: int  # the step of the episode after whose observation nothing more was seen
    context: int  # C
    real: np.ndarray  # [C + T, height, width, channels]
    imagined: np.ndarray  # [C + T, ...] mean over the samples; reconstructed where it was seen
    spread: np.ndarray  # [C + T, ...] standard deviation over the samples
    error: np.ndarray  # [C + T] root mean square over the pixels of the mean's error
    average_error: np.ndarray  # [C + T] the same of the average picture of the episodes
    samples: int

    @property
    def steps(self) -> int:
        """T, steps imagined."""
        return len(self.real) - self.context

    @property
    def diverged_at(self) -> int | None:
        """The first step ahead at which the imagined picture is no nearer to the real one than the average picture."""
        lost = ~(self.error < self.average_error)[self.context :]
        return int(np.argmax(lost)) + 1 if lost.any() else None


def picture_traces(
    model: AbstractModel,
    data: Logged,
    spec: EnvSpec,
    *,
    episodes: int = 3,
    horizon: int = 25,
    context: int = CONTEXT,
    samples: int = 8,
    key: PRNGKeyArray,
) -> list[PictureTrace]:
    """A stretch of each of up to `episodes` episodes, spread over them and over their time.

    A filter has seen the episode from its beginning to the start, of which the last `context` pictures are shown (of
    short episodes at most a third); then it imagines `horizon` steps, or to the episode's end. Any other model begins
    with the one observation at the start.
    """
    repeats = -(-samples // particles_of(model, spec))
    pixels = spec.num_pixels
    average = data.rows.obs[:, :pixels].mean(0, dtype=np.float64) / GREYS
    chosen = np.unique(np.linspace(0, len(data.spans) - 1, min(episodes, len(data.spans))).astype(int))
    most = int(data.lengths.max())
    found = []
    for place, number in enumerate(chosen.tolist()):
        first, end = data.spans[number]
        length = end - first
        shown = min(context, max(1, length // 3))
        latest = max(length - horizon, shown - 1)  # leaves as many steps as are to be imagined
        start = min(shown - 1 + (latest - shown + 1) * place // max(len(chosen), 1), length - 1)
        steps = min(horizon, length - start)
        rows = first + np.minimum(np.arange(most), length - 1)  # of one length, so that it is compiled once
        obs, action = data.rows.obs[rows], data.rows.action[rows]
        times = np.arange(start - shown + 1, start + 1)
        follow_key, dream_key = jr.split(jr.fold_in(key, number))
        zeros = np.zeros(len(times), int)
        beliefs = beliefs_at(model, obs[None], action[None], zeros, times, repeats, key=follow_key)
        last = jax.tree.map(lambda x: x[-1], beliefs)
        ahead = np.minimum(start + np.arange(horizon), length - 1)
        dreamt = _dreamt(model, last, action[ahead], pixels, dream_key)
        before = [_shown(model, jax.tree.map(lambda x, t=t: x[t], beliefs), pixels) for t in range(len(times))]
        after = [tuple(x[t] for x in dreamt) for t in range(steps)]
        mean, spread = (np.stack([np.asarray(one[i], np.float64) for one in (*before, *after)]) for i in (0, 1))
        real = np.concatenate([data.rows.obs[first + times], data.rows.next_obs[first + start : first + start + steps]])
        real = real[:, :pixels] / GREYS
        rms = lambda x: np.sqrt((x**2).mean(1))
        shape = lambda x: x.reshape(len(x), *(spec.image or ()))
        found.append(
            PictureTrace(
                episode=number,
                start=start,
                context=len(times),
                real=shape(real),
                imagined=shape(mean),
                spread=shape(spread),
                error=rms(mean - real),
                average_error=rms(average - real),
                samples=int(np.prod(jax.tree.leaves(last)[0].shape[:2])),
            )
        )
    return found


@eqx.filter_jit
def _shown(model: AbstractModel, belief: Any, pixels: int) -> tuple[Array, Array]:
    """Mean and deviation of the expected picture over all samples, `[pixels]`, in 0..1."""
    mean = jax.vmap(lambda b: seen_by(model, b).mean())(belief)[..., :pixels]
    mean = mean.reshape(-1, pixels) / GREYS
    return mean.mean(0), mean.std(0)


@eqx.filter_jit
def _dreamt(model: AbstractModel, belief: Any, actions: Any, pixels: int, key: PRNGKeyArray) -> tuple[Array, Array]:
    """The same after each of `actions` `[T, ...]`, leaves `[T, pixels]`."""
    repeats, particles = jax.tree.leaves(belief)[0].shape[:2]

    def step(belief: Any, x: Any) -> tuple[Any, tuple[Array, Array]]:
        action, key = x
        spread = jnp.broadcast_to(action, (particles, *jnp.shape(action)))
        belief = jax.vmap(lambda b, k: model.step(b, spread, key=k)[0])(belief, jr.split(key, repeats))
        return belief, _shown(model, belief, pixels)

    return jax.lax.scan(step, belief, (jnp.asarray(actions), jr.split(key, len(actions))))[1]
