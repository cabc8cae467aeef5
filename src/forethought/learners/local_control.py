"""One round of local controllers: local models from their rollouts, the adapted step, the constrained improvement.

Runs on the host, in a scoped float64; what is kept between rounds is float32. What local-lqr and guided policy search
share.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractModel
from ..models.gmm import fit_mixture
from ..models.local_linear import LocalFit, Prior, fit_local, linearised_prior, mixture_prior
from ..planners.local_controller import LocalController
from ..planners.lqr import (
    LinearDynamics,
    LinearPolicy,
    QuadraticCost,
    backward,
    expected_cost,
    forward,
    maximum_entropy,
)
from ..planners.trajectory_kl import Improvement, adapted_step, improve, policy_kl
from ..types import Metrics, RewardFunction
from .episodes import Rollouts

TEMPERATURE = 0.01  # worth of a nat of entropy, in units of return, where there is no trust region to set it
START_VARIANCE = 1e-6  # of the first state, which is the same in every rollout


class LocalControl(eqx.Module):
    """The controllers, leaves `[start, ...]`, and what the next round must remember of this one."""

    controllers: LocalController
    firsts: Float[Array, "start obs"]  # first observations; zeros before the first round
    multiplier: Float[Array, " start"]  # of the KL step
    before: Float[Array, " start"]  # expected cost of the controllers that were improved
    predicted: Float[Array, " start"]  # expected cost of the improved ones, under the models of that round
    rounds: Array

    @classmethod
    def initial(cls, starts: int, steps: int, obs_dim: int, std: Float[Array, " action"]) -> "LocalControl":
        """White noise from every start."""
        zeros = jnp.zeros(starts)
        controllers = LocalController.initial((starts,), steps, obs_dim, std)
        return cls(controllers, jnp.zeros((starts, obs_dim)), jnp.ones(starts), zeros, zeros, jnp.zeros((), jnp.int32))

    def of(self, start: Array) -> LocalController:
        """The controller of one start."""
        return jax.tree.map(lambda x: x[start], self.controllers)

    def nearest(self, obs: Float[Array, " obs"]) -> Array:
        """The start whose first observation is nearest to `obs`."""
        return jnp.argmin(jnp.sum((self.firsts - obs) ** 2, 1))


class LocalRound(NamedTuple):
    """What a round found; leaves `[start, ...]`, float64."""

    dynamics: LinearDynamics
    cost: QuadraticCost
    improvement: Improvement
    bound: Array
    multiplier: Array
    actual: Array  # expected cost of the controllers that made the rollouts


def gmm_prior(
    rollouts: Rollouts,
    past: Float[np.ndarray, "episode time z"],
    episodes: int,
    *,
    clusters: int,
    cluster_rows: int,
    strength: float,
    key: PRNGKeyArray,
) -> Prior:
    """From a mixture fitted to the latest `episodes` of `past` (no more are looked at); leaves `[start, ...]`."""
    latest = past[-episodes:]
    room = np.zeros((episodes, *latest.shape[1:]))
    room[: len(latest)] = latest
    rows, in_use = room.reshape(-1, room.shape[-1]), np.repeat(np.arange(episodes) < len(latest), latest.shape[1])
    z = np.concatenate([rollouts.xu, rollouts.next_obs], -1)
    with jax.enable_x64(True):
        fit = _fit_mixture(jnp.asarray(rows), jnp.asarray(in_use), clusters, cluster_rows, key)
        return jax.tree.map(np.asarray, _mixture_priors(fit.mixture, jnp.asarray(z), jnp.asarray(float(strength))))


@eqx.filter_jit
def _fit_mixture(rows, in_use, clusters: int, least_rows: int, key):
    return fit_mixture(rows, in_use, clusters=clusters, least_rows=least_rows, key=key)


@eqx.filter_jit
def _mixture_priors(mixture, z, strength):
    return jax.vmap(lambda each: mixture_prior(mixture, each, strength=strength))(z)


def model_prior(model: AbstractModel, rollouts: Rollouts, *, strength: float, key: PRNGKeyArray) -> Prior:
    """From a learned model, linearised where its means lead; leaves `[start, ...]`."""
    model = model.certain() or model
    size = rollouts.obs.shape[-1]
    priors = _linearised(model, jnp.asarray(rollouts.xu, jnp.float32), size, strength, key)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), priors)


@eqx.filter_jit
def _linearised(model, xu, size: int, strength, key):
    return jax.vmap(lambda each: linearised_prior(model, each, size, strength=strength, key=key))(xu)


def expanded_cost(reward: RewardFunction, fit: LocalFit, xu: Float[Array, "rollouts time x+u"]) -> QuadraticCost:
    """Minus the reward of each step to second order, as a function of `[x; u]` by way of the local model's mean.

    Expanded around every rollout, and averaged over them.
    """
    size = fit.f.shape[-1]

    def cost(point: Array, F: Array, f: Array) -> Array:
        return -reward(point[:size], point[size:], F @ point + f)

    def expand(point: Array, F: Array, f: Array) -> QuadraticCost:
        value, slope = jax.value_and_grad(cost)(point, F, f)
        C = jax.hessian(cost)(point, F, f)
        C = (C + C.T) / 2
        return QuadraticCost(C, slope - C @ point, value - slope @ point + 0.5 * point @ C @ point)

    each = jax.vmap(jax.vmap(expand), in_axes=(0, None, None))(xu, fit.F, fit.f)
    return jax.tree.map(lambda x: jnp.mean(x, 0), each)


@eqx.filter_jit
def _round(rollouts, prior, previous, executed, control, kl_step, adapt: bool, trust: bool, reward) -> LocalRound:
    """All starts; `previous` is what the KL is measured from, `executed` what made the rollouts."""

    def one(xu, next_obs, prior, previous, executed, multiplier, before, predicted) -> LocalRound:
        fit = fit_local(xu, next_obs, prior)
        dynamics = LinearDynamics(fit.F, fit.f, fit.cov)
        cost = expanded_cost(reward, fit, xu)
        size = next_obs.shape[-1]
        start, start_cov = xu[0, 0, :size], START_VARIANCE * jnp.eye(size)
        actual = expected_cost(forward(dynamics, executed, start, start_cov), cost)
        if adapt:
            new = adapted_step(multiplier, before, predicted, actual)
            multiplier = jnp.where(control.rounds > 0, new, multiplier)
        bound = kl_step * multiplier * xu.shape[1]
        if trust:
            improvement = improve(dynamics, cost, previous, start, start_cov, bound=bound)
        else:
            improvement = unconstrained(dynamics, cost, previous, start, start_cov)
        return LocalRound(dynamics, cost, improvement, bound, multiplier, actual)

    xu, next_obs = rollouts
    return jax.vmap(one, in_axes=(0, 0, None if prior is None else 0, 0, 0, 0, 0, 0))(
        xu, next_obs, prior, previous, executed, control.multiplier, control.before, control.predicted
    )


def unconstrained(
    dynamics: LinearDynamics, cost: QuadraticCost, previous: LinearPolicy, start: Array, start_cov: Array
) -> Improvement:
    """The maximum-entropy optimum of the local model, however far it is from `previous`."""
    solution = maximum_entropy(backward(dynamics, cost), TEMPERATURE)
    found = jnp.all(solution.convex)
    policy = jax.tree.map(lambda new, old: jnp.where(found, new, old), solution.policy, previous)
    trajectory = forward(dynamics, policy, start, start_cov)
    kl = jnp.sum(policy_kl(policy, previous, trajectory))
    return Improvement(
        policy, trajectory, jnp.ones(()), kl, expected_cost(trajectory, cost), jnp.zeros((), bool), found
    )


def improve_all(
    control: LocalControl,
    rollouts: Rollouts,
    prior: Prior | None,
    reward: RewardFunction,
    *,
    kl_step: float,
    adapt: bool,
    trust: bool,
    reference: LinearPolicy | None = None,
) -> tuple[LocalControl, LocalRound]:
    """The controllers after a round. `reference` takes the place of the controllers as what the KL is measured from."""
    executed = control.controllers.policy
    previous = executed if reference is None else reference
    wide = lambda tree: jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), tree)
    with jax.enable_x64(True):
        data = wide((rollouts.xu, rollouts.next_obs))
        found = _round(
            data, wide(prior), wide(previous), wide(executed), wide(control), float(kl_step), adapt, trust, reward
        )
        found = jax.tree.map(np.asarray, found)
    improvement = found.improvement
    narrow = lambda x: jnp.asarray(np.asarray(x, np.float32))
    controllers = LocalController(jax.tree.map(narrow, improvement.policy), narrow(improvement.trajectory.u))
    multiplier, before, predicted = (narrow(x) for x in (found.multiplier, found.actual, improvement.expected))
    firsts, rounds = jnp.asarray(rollouts.firsts), control.rounds + 1
    return LocalControl(controllers, firsts, multiplier, before, predicted, rounds), found


def metrics(found: LocalRound, rollouts: Rollouts) -> Metrics:
    """Numbers of a round: means over starts, of expected costs medians, as those of one may explode."""
    improvement = found.improvement
    share = improvement.kl / found.bound
    active = np.where(improvement.active & improvement.found, share, 1.0)
    numbers = {
        "local/return": rollouts.reward.sum(-1).mean(),
        "local/expected_cost": np.median(found.actual),
        "local/predicted_cost": np.median(improvement.expected),
        "local/kl": improvement.kl.mean(),
        "local/kl_share_most": share.max(),
        "local/kl_share_least": active.min(),
        "local/eta": np.exp(np.log(improvement.eta).mean()),
        "local/multiplier": found.multiplier.mean(),
        "local/improved": improvement.found.mean(),
    }
    return {name: jnp.asarray(float(value), jnp.float32) for name, value in numbers.items()}


def no_metrics() -> Metrics:
    """Of a round that was left out, because an episode was cut by a stop of the run."""
    names = ("return", "expected_cost", "predicted_cost", "kl", "kl_share_most", "kl_share_least", "eta")
    return {f"local/{name}": jnp.zeros(()) for name in (*names, "multiplier", "improved")}
