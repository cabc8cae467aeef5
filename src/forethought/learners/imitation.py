"""A network that imitates local controllers, and its linearisation, which these are held near to."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..networks.mean_policy import MeanPolicy
from ..networks.normaliser import Normaliser
from ..planners.lqr import LinearPolicy
from .episodes import Rollouts


class Lessons(eqx.Module):
    """What local controllers do in the states that were visited."""

    obs: Float[Array, "n obs"]
    action: Float[Array, "n action"]
    precision: Float[Array, "n action action"]  # of the controllers: how much it matters


class ImitationFit(eqx.Module):
    """The policy after a round, and its errors in units of half the action range."""

    policy: MeanPolicy
    loss: Float[Array, ""]  # mean squared, weighted by precision
    error: Float[Array, ""]  # root mean squared, not weighted


def lessons(rollouts: Rollouts, policy: LinearPolicy, low: np.ndarray, high: np.ndarray) -> Lessons:
    """Mean controls within their bounds, and precisions, of each start's controller in its own rollouts' states."""
    K, k, covariance = (np.asarray(x, np.float64) for x in (policy.K, policy.k, policy.covariance))
    action = np.einsum("stij,srtj->srti", K, rollouts.obs) + k[:, None]
    action = np.clip(action, low, high)
    precision = np.broadcast_to(np.linalg.inv(covariance)[:, None], (*action.shape, action.shape[-1]))
    flat = lambda x, axes: jnp.asarray(x.reshape(-1, *x.shape[-axes:]), jnp.float32)
    return Lessons(flat(rollouts.obs, 1), flat(action, 1), flat(precision, 2))


@eqx.filter_jit
def imitate(
    policy: MeanPolicy, taught: Lessons, *, learning_rate: float, steps: int, batch_size: int, key: PRNGKeyArray
) -> ImitationFit:
    """Least squares weighted by the controllers' precisions, relative to their mean; the covariance is its inverse.

    With a fixed precision of the controllers that is the KL of the policies (Levine & Abbeel 2014, eq. 4; the authors'
    code for the covariance).
    """
    mean = jnp.mean(taught.precision, 0)
    unit = jnp.trace(mean * policy.scale[:, None] * policy.scale[None, :]) / mean.shape[0]
    features = policy.spec.features(taught.obs)
    policy = eqx.tree_at(
        lambda p: (p.inputs, p.covariance),
        policy,
        (Normaliser.of(features, jnp.ones(len(features), bool)), jnp.linalg.inv(mean)),
    )
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss_of(network: eqx.nn.MLP, index: Int[Array, " batch"]) -> Array:
        off = jax.vmap(eqx.tree_at(lambda p: p.network, policy, network))(taught.obs[index]) - taught.action[index]
        return jnp.mean(jnp.einsum("ni,nij,nj->n", off, taught.precision[index], off)) / unit

    parameters, static = eqx.partition(policy.network, eqx.is_inexact_array)

    def step(carry: tuple, key: PRNGKeyArray) -> tuple:
        parameters, state = carry
        index = jr.randint(key, (batch_size,), 0, len(features))
        slope = jax.grad(lambda p: loss_of(eqx.combine(p, static), index))(parameters)
        change, state = optimiser.update(slope, state)
        return (optax.apply_updates(parameters, change), state), None

    start = (parameters, optimiser.init(parameters))
    (parameters, _), _ = jax.lax.scan(step, start, jr.split(key, steps))
    network = eqx.combine(parameters, static)
    policy = eqx.tree_at(lambda p: p.network, policy, network)
    off = (jax.vmap(policy)(taught.obs) - taught.action) / policy.scale
    return ImitationFit(policy, loss_of(network, jnp.arange(len(features))), jnp.sqrt(jnp.mean(off**2)))


@eqx.filter_jit
def linearised(policy: MeanPolicy, obs: Float[Array, "start rollout time obs"]) -> LinearPolicy:
    """The policy around the rollouts of each start and time: mean slope, and mean control at the mean state."""

    def one(obs: Float[Array, "rollout obs"]) -> tuple[Array, Array]:
        K = jnp.mean(jax.vmap(jax.jacfwd(policy))(obs), 0)
        return K, jnp.mean(jax.vmap(policy)(obs), 0) - K @ jnp.mean(obs, 0)

    K, k = jax.vmap(jax.vmap(one, in_axes=1))(obs)
    covariance = jnp.broadcast_to(policy.covariance, (*k.shape, k.shape[-1]))
    return LinearPolicy(K, k, covariance)
