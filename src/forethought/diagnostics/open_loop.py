"""Imagination beside reality: what a model makes of the actions of real windows alone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractDistribution, AbstractModel
from ..errors import UserError
from ..types import Discrete, EnvSpec, Transition
from .windows import Cut, Windows

CHUNK = 32  # starts imagined at a time: enough to fill the matrix products, few enough for the cache


class Imagined(eqx.Module):
    """What a model said of every step of every window; leaves `[starts, horizon, ...]`.

    The predictive distribution is the mixture over particles of `model.observation`.
    """

    error: Float[Any, "starts horizon obs"]  # real minus predictive mean, angles the short way round
    variance: Float[Any, "starts horizon obs"]  # of the predictive distribution
    below: Float[Any, "starts horizon obs"]  # its distribution function at what really happened
    log_density: Float[Any, "starts horizon obs"]  # its log-density there; NaN where the model is certain
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
def imagine(model: AbstractModel, windows: Windows, spec: EnvSpec, repeats: int, *, key: PRNGKeyArray) -> Imagined:
    """The model's account of every window from its first observation and its actions alone.

    The model is run `repeats` times over, so that the predictive mixture has enough particles.
    """
    keys = jr.split(key, windows.reward.shape[0])
    body = lambda x: _one_start(model, x[0], spec, repeats, key=x[1])
    return jax.lax.map(body, (windows, keys), batch_size=CHUNK)


def compare(
    model: AbstractModel, real: Cut, spec: EnvSpec, *, min_particles: int, key: PRNGKeyArray
) -> tuple[Imagined, int]:
    """`imagine` on the windows of `real` as NumPy float64 arrays, and the number of particles."""
    particles = particles_of(model, spec)
    repeats = -(-min_particles // particles)
    starts = len(real.episode)
    padded = -(-starts // CHUNK) * CHUNK  # whole chunks: a remainder would be compiled a second time
    fill = np.minimum(np.arange(padded), starts - 1)
    windows = jax.tree.map(lambda x: x[fill], real.windows)
    said = imagine(model, windows, spec, repeats, key=key)
    return jax.tree.map(lambda x: np.asarray(x, np.float64)[:starts], said), particles * repeats


def _one_start(model: AbstractModel, window: Windows, spec: EnvSpec, repeats: int, *, key: PRNGKeyArray) -> Imagined:
    init_key, step_key = jr.split(key)
    belief = jax.vmap(lambda k: model.init(window.obs, key=k))(jr.split(init_key, repeats))
    particles = jax.tree.leaves(belief)[0].shape[1]

    def step(carry: Any, x: Any) -> tuple[Any, Imagined]:
        belief, going, total = carry
        action, target, key = x
        action = jnp.broadcast_to(action, (particles, *action.shape))
        move = jax.vmap(lambda b, k: model.step(b, action, key=k))
        belief, said = move(belief, jr.split(key, repeats))
        # A model run on past termination may say NaN or inf, and 0 * NaN is NaN.
        total = total + jnp.where(going > 0, going * said.reward, 0.0)
        going = going * said.continuation
        error, variance, below, log_density = _judged(model, belief, target, spec)
        return (belief, going, total), Imagined(
            error=error,
            variance=variance,
            below=below,
            log_density=log_density,
            reward=said.reward.mean(),
            continuation=said.continuation.mean(),
            survival=going.mean(),
            total=total.mean(),
        )

    going = jnp.ones((repeats, particles))
    keys = jr.split(step_key, window.action.shape[0])
    carry = (belief, going, jnp.zeros_like(going))
    return jax.lax.scan(step, carry, (window.action, window.next_obs, keys))[1]


def _judged(model: AbstractModel, belief: Any, target: Array, spec: EnvSpec) -> tuple[Array, Array, Array, Array]:
    """Error of the mixture's mean, its variance, distribution function and log-density at `target`, each `[obs]`."""

    def one_run(belief: Any) -> tuple[Array, Array, Array, Array]:
        seen = seen_by(model, belief)
        mean = seen.mean()
        near = mean + spec.difference(target, mean)  # the same angle, on the side of the seam where the mean is
        return mean, seen.variance(), seen.cdf(near), seen.log_density(near)

    merge = lambda x: x.reshape(-1, x.shape[-1])
    mean, variance, below, log_density = (merge(x) for x in jax.vmap(one_run)(belief))
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
