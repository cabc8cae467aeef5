"""Imagination beside reality: what a model makes of the actions of real windows alone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractDistribution, AbstractFilter, AbstractModel
from ..core.imagine import imagine as imagined
from ..errors import UserError
from ..types import GREYS, Discrete, EnvSpec, Transition
from .following import beliefs_at
from .groups import Groups
from .widths import Widened, measured_width
from .windows import Cut, Windows

LEVELS = np.round(np.arange(0.05, 0.951, 0.05), 2)
"""Nominal levels of the central predictive intervals whose coverage is measured."""

CHUNK = 32  # starts imagined at a time: enough to fill the matrix products, few enough for the cache


class Pictured(eqx.Module):
    """What a model said of pictures, over the pixels that vary; leaves `[starts, horizon, ...]`."""

    square: Float[Any, "starts horizon"]  # mean squared error of a pixel, in 0..1
    inside: Float[Any, "starts horizon levels"]  # share of pixels inside the central intervals of LEVELS


class Imagined(eqx.Module):
    """What a model said of every step of every window; leaves `[starts, horizon, ...]`.

    The predictive distribution is the mixture over particles of `model.observation`. A picture is one group, for which
    means over its pixels stand, in 0..1.
    """

    error: Float[Any, "starts horizon groups"]  # real minus predictive mean, angles the short way round
    variance: Float[Any, "starts horizon groups"]  # of the predictive distribution
    below: Float[Any, "starts horizon vector"] | None  # its distribution function at what happened, beside pictures
    log_density: Float[Any, "starts horizon groups"]  # its log-density there; NaN where the model is certain
    picture: Pictured | None
    reward: Float[Any, "starts horizon"]  # mean over particles
    continuation: Float[Any, "starts horizon"]  # mean predicted probability that the episode goes on
    survival: Float[Any, "starts horizon"]  # imagined probability that it has gone on through this step
    total: Float[Any, "starts horizon"]  # imagined sum of rewards up to and with this step


def particles_of(model: AbstractModel, spec: EnvSpec) -> int:
    """Particles of the model's beliefs. Raises UserError unless it takes and predicts what `spec` says.

    That includes whatever the model's own code raises, which is chained.
    """

    def one_step(obs: Array, action: Array, key: PRNGKeyArray) -> tuple[Any, Array]:
        belief = model.init(obs, key=key)
        n = jax.tree.leaves(belief)[0].shape[0]
        belief, said = model.step(belief, jnp.broadcast_to(action, (n, *action.shape)), key=key)
        return (belief, said.reward, said.continuation), seen_by(model, belief).mean()

    example = Transition.example(spec)
    try:
        (belief, *_), mean = jax.eval_shape(one_step, example.obs, example.action, jr.key(0))
    except UserError:
        raise
    except Exception as error:  # the model may be anybody's, and this is where it is called first
        said = type(error).__name__ + "".join(f": {line}" for line in str(error).splitlines()[:1])
        raise UserError(
            f"{type(model).__name__} does not fit {spec.name} ({spec.obs_dim} observations, actions "
            f"{_described(spec)}): {said}; give it data of the environment that it was made for"
        ) from error
    particles = jax.tree.leaves(belief)[0].shape[0]
    if mean.shape != (particles, spec.obs_dim):
        raise UserError(
            f"{type(model).__name__} does not fit {spec.name}: it predicts observations of shape {mean.shape[1:]}, the "
            f"data hold {(spec.obs_dim,)}; give it data of the environment that it was made for"
        )
    return particles


def _described(spec: EnvSpec) -> str:
    return f"0..{spec.action.n - 1}" if isinstance(spec.action, Discrete) else f"of {spec.action.shape[0]} numbers"


def seen_by(model: AbstractModel, belief: Any) -> AbstractDistribution:
    """`model.observation`. Raises UserError if the model cannot say."""
    seen = model.observation(belief)
    if seen is None:
        raise UserError(
            f"{type(model).__name__} does not say what would be seen (its `observation` is None), so its "
            "predictions cannot be compared with real observations"
        )
    return seen


@eqx.filter_jit
def imagine(
    model: AbstractModel, windows: Windows, start: Any, groups: Groups, repeats: int, *, key: PRNGKeyArray
) -> Imagined:
    """The model's account of every window from what it believes at first and from the actions alone.

    `start` are these beliefs, `repeats` of each; where it is None they are drawn from the window's first observation.
    """
    keys = jr.split(key, windows.reward.shape[0])
    body = lambda x: _one_start(model, x[0], x[1], groups, repeats, key=x[2])
    return jax.lax.map(body, (windows, start, keys), batch_size=CHUNK)


def compare(
    model: AbstractModel, real: Cut, spec: EnvSpec, *, min_particles: int, widened: bool = False, key: PRNGKeyArray
) -> tuple[Imagined, int, np.ndarray | None]:
    """`imagine` on the windows of `real` as NumPy float64 arrays, the number of particles, and measured widths.

    A filter's beliefs have taken in the episode up to the window. If it is to be `widened`, its observations get the
    width that its one-step errors leave; every other episode is judged by the widths of the others. The widths
    returned, `[obs]`, are of all episodes.
    """
    particles = particles_of(model, spec)
    repeats = -(-min_particles // particles)
    if not isinstance(model, AbstractFilter):
        said = _said_of(model, real, None, np.arange(len(real.episode)), repeats, key=key)
        return said, particles * repeats, None
    follow_key, width_key, key = jr.split(key, 3)
    obs, action = np.asarray(real.data.obs), np.asarray(real.data.action)
    start = beliefs_at(model, obs, action, real.episode, real.time, repeats, key=follow_key)
    if not widened:
        said = _said_of(model, real, start, np.arange(len(real.episode)), repeats, key=key)
        return said, particles * repeats, None
    half = real.episode % 2
    windows = real.windows

    def width(rows: np.ndarray) -> np.ndarray:
        chosen = (start, windows.action[:, 0], windows.next_obs[:, 0])
        beliefs, action, next_obs = jax.tree.map(lambda x: x[rows], chosen)
        return measured_width(model, beliefs, action, next_obs, real.deviation, spec, key=width_key)

    even = np.arange(len(half)) < real.even
    whole = width(np.flatnonzero(even))
    said, order = [], []
    for part in (0, 1):
        rows, others = np.flatnonzero(half == part), np.flatnonzero((half != part) & even)
        if not len(rows):
            continue
        judged = Widened(model, jnp.asarray(width(others) if len(others) else whole, jnp.float32))
        said.append(_said_of(judged, real, start, rows, repeats, key=jr.fold_in(key, part)))
        order.append(rows)
    back = np.argsort(np.concatenate(order))
    return jax.tree.map(lambda *x: np.concatenate(x)[back], *said), particles * repeats, whole


def _said_of(
    model: AbstractModel, real: Cut, start: Any, rows: np.ndarray, repeats: int, *, key: PRNGKeyArray
) -> Imagined:
    """`imagine` on those windows, as NumPy float64 arrays."""
    padded = -(-len(rows) // CHUNK) * CHUNK  # whole chunks: a remainder would be compiled a second time
    fill = rows[np.minimum(np.arange(padded), len(rows) - 1)]
    windows, start = jax.tree.map(lambda x: x[fill], (real.windows, start))
    said = imagine(model, windows, start, real.groups, repeats, key=key)
    return jax.tree.map(lambda x: np.asarray(x, np.float64)[: len(rows)], said)


def _one_start(
    model: AbstractModel, window: Windows, belief: Any, groups: Groups, repeats: int, *, key: PRNGKeyArray
) -> Imagined:
    init_key, step_key = jr.split(key)
    if belief is None:
        belief = jax.vmap(lambda k: model.init(window.obs, key=k))(jr.split(init_key, repeats))
    belief = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), belief)  # repeats stand behind the particles
    plan = jnp.broadcast_to(window.action[:, None], (len(window.action), repeats, *window.action.shape[1:]))
    seen = imagined(model, belief, plan, key=step_key)
    going = jnp.where(seen.alive > 0, seen.alive * seen.continuation, 0.0)

    def judged(x: tuple[Any, Array]) -> dict[str, Any]:
        belief, target = x
        return _grouped(*_judged(model, belief, target, groups.spec), groups)

    after = jax.tree.map(lambda x: x[1:], seen.beliefs)
    mean = lambda x: jnp.mean(x, (1, 2))
    return Imagined(
        **jax.lax.map(judged, (after, window.next_obs)),
        reward=mean(seen.rewards),
        continuation=mean(seen.continuation),
        survival=mean(going),
        total=jnp.cumsum(mean(seen.alive * seen.rewards)),
    )


def _grouped(error: Array, variance: Array, below: Array, log_density: Array, groups: Groups) -> dict[str, Any]:
    """The fields of `Imagined` that are about observations, by name."""
    pixels, units = groups.spec.num_pixels, jnp.asarray(groups.units, jnp.float32)
    picture = None
    if groups.spec.image is not None:
        away = jnp.abs(below - 0.5)
        inside = [groups.picture((away <= level / 2 + 1e-6).astype(jnp.float32)) for level in LEVELS]
        picture = Pictured(groups.picture((error / GREYS) ** 2), jnp.stack(inside))
    return {
        "error": groups.mean(error) / units,
        "variance": groups.mean(variance) / units**2,
        "below": below[pixels:] if groups.spec.vector_dim else None,
        "log_density": groups.mean(log_density) + jnp.log(units),
        "picture": picture,
    }


def _judged(model: AbstractModel, belief: Any, target: Array, spec: EnvSpec) -> tuple[Array, Array, Array, Array]:
    """Error of the mixture's mean, its variance, distribution function and log-density at `target`, each `[obs]`."""

    seen = seen_by(model, belief)
    mean = seen.mean()
    near = mean + spec.difference(target, mean)  # the same angle, on the side of the seam where the mean is
    merge = lambda x: x.reshape(-1, x.shape[-1])
    found = (mean, seen.variance(), seen.cdf(near), seen.log_density(near))
    mean, variance, below, log_density = (merge(x) for x in found)
    centre, spread = moments(mean, variance, spec)
    error = spec.difference(target, centre)
    # Particles that are each certain still have a spread; only its moments have a density.
    matched = -0.5 * (error**2 / spread + jnp.log(2 * jnp.pi * spread))
    mixture = jax.nn.logsumexp(log_density, 0) - jnp.log(len(log_density))
    density = jnp.where((variance > 0).all(0), mixture, jnp.where(spread > 0, matched, jnp.nan))
    return error, spread, below.mean(0), density


def moments(
    mean: Float[Array, "particles *batch obs"], variance: Float[Array, "particles *batch obs"], spec: EnvSpec
) -> tuple[Float[Array, "*batch obs"], Float[Array, "*batch obs"]]:
    """Mean and variance of the mixture over particles; angles are averaged the short way round."""
    offset = spec.difference(mean, mean[:1])
    return mean[0] + offset.mean(0), variance.mean(0) + offset.var(0)
