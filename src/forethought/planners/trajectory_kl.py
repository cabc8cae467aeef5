"""KL-constrained improvement of a local controller: maximum-entropy LQR on `cost / eta - log p_previous(u | x)`.

`min E_p[cost]` subject to `KL(p || p_previous) <= bound`, both under the same linear-Gaussian dynamics, where the KL of
the trajectories is that of the policies in the states that the *new* one visits. The multiplier eta is found by
bracketing, since the KL falls in eta; one at which the surrogate is not convex in the control is too small (Levine &
Abbeel 2014, sec. 4.2). Pure functions of arrays, meant for float64.

Deviations: the bracket is halved in the logarithm of eta until the KL is within 1 % below its bound, where the authors'
code stops within 10 % on either side; an eta without a convex surrogate is treated as one whose KL is too large.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from .lqr import (
    LinearDynamics,
    LinearPolicy,
    QuadraticCost,
    Trajectory,
    backward,
    expected_cost,
    forward,
    inverse_of_positive,
    maximum_entropy,
)

LEAST_ETA, MOST_ETA = 1e-8, 1e16
CLOSE = 0.99  # of the bound: a KL between this and the bound is good
HALVINGS = 60


class Improvement(eqx.Module):
    """An improved controller."""

    policy: LinearPolicy
    trajectory: Trajectory
    eta: Float[Array, ""]
    kl: Float[Array, ""]  # from the previous controller, whole trajectory, in nats
    expected: Float[Array, ""]  # cost that the model expects
    active: Bool[Array, ""]  # False: even the least multiplier keeps the bound
    found: Bool[Array, ""]  # False: no multiplier gives a convex surrogate within the bound; then nothing changed


def surrogate(cost: QuadraticCost, previous: LinearPolicy, eta: Array) -> QuadraticCost:
    """`cost / eta - log p_previous(u | x)` without the normaliser's constant; time leads."""
    cov = _noise(previous)
    precision = jax.vmap(lambda c: inverse_of_positive(c)[0])(cov)
    K, k = previous.K, previous.k
    PK, Pk = precision @ K, jnp.einsum("tij,tj->ti", precision, k)
    KT = jnp.swapaxes(K, 1, 2)
    quadratic = jnp.block([[KT @ PK, -jnp.swapaxes(PK, 1, 2)], [-PK, precision]])
    linear = jnp.concatenate([jnp.einsum("tij,tj->ti", KT, Pk), -Pk], 1)
    constant = 0.5 * jnp.sum(k * Pk, 1)
    return QuadraticCost(cost.C / eta + quadratic, cost.c / eta + linear, cost.constant / eta + constant)


def _noise(policy: LinearPolicy) -> Array:
    """Its covariance. Raises ValueError for a controller without noise, from which no other has a finite KL."""
    if policy.covariance is None:
        raise ValueError("a controller must have a covariance: without noise no other is near it")
    return policy.covariance


def policy_kl(new: LinearPolicy, previous: LinearPolicy, trajectory: Trajectory) -> Float[Array, " time"]:
    """Expected `KL(new(u|x) || previous(u|x))` of each time step, over the states of `trajectory`.

    Their sum is the KL of the trajectories, where both run under the same dynamics and `trajectory` is the new one's.
    """

    def one(new: LinearPolicy, previous: LinearPolicy, x: Array, cov: Array) -> Array:
        cov_new, cov_previous = _noise(new), _noise(previous)
        precision, _ = inverse_of_positive(cov_previous)
        K, k = new.K - previous.K, new.k - previous.k
        mean = K @ x + k
        spread = cov_new + K @ cov @ K.T
        volume = jnp.linalg.slogdet(cov_previous)[1] - jnp.linalg.slogdet(cov_new)[1]
        return 0.5 * (jnp.sum(precision * spread) + mean @ precision @ mean - k.shape[0] + volume)

    return jax.vmap(one)(new, previous, trajectory.x[:-1], trajectory.x_covariance[:-1])


class _Try(eqx.Module):
    """What one multiplier gives."""

    policy: LinearPolicy
    trajectory: Trajectory
    kl: Array  # infinite where the surrogate is not convex


def _attempt(dynamics, cost, previous, start, start_cov, eta) -> _Try:
    solution = maximum_entropy(backward(dynamics, surrogate(cost, previous, eta)), 1.0)
    trajectory = forward(dynamics, solution.policy, start, start_cov)
    kl = jnp.sum(policy_kl(solution.policy, previous, trajectory))
    good = jnp.all(solution.convex) & jnp.isfinite(kl)
    return _Try(solution.policy, trajectory, jnp.where(good, kl, jnp.inf))


def improve(
    dynamics: LinearDynamics,
    cost: QuadraticCost,
    previous: LinearPolicy,
    start: Float[Array, " x"],
    start_cov: Float[Array, "x x"],
    *,
    bound: Array | float,
) -> Improvement:
    """The controller of least expected cost within `bound` nats of `previous`; an infinite bound is none.

    `start` and `start_cov` are of the first state. Raises ValueError if `previous` has no noise, and for a bound that
    is not above 0.
    """
    if not isinstance(bound, Tracer) and not bound > 0:
        raise ValueError(f"bound={bound} must be above 0, in nats; inf for none")
    attempt = lambda eta: _attempt(dynamics, cost, previous, start, start_cov, eta)
    dtype = dynamics.F.dtype
    low, high = jnp.log(jnp.asarray(LEAST_ETA, dtype)), jnp.log(jnp.asarray(MOST_ETA, dtype))

    def go_on(carry: tuple) -> Array:
        low, high, best, i = carry
        return (i < HALVINGS) & ~((best.kl <= bound) & (best.kl >= CLOSE * bound)) & (high - low > 1e-9)

    def halve(carry: tuple) -> tuple:
        low, high, best, i = carry
        middle = (low + high) / 2
        tried = attempt(jnp.exp(middle))
        keeps = tried.kl <= bound
        best = jax.tree.map(lambda new, old: jnp.where(keeps, new, old), tried, best)
        return jnp.where(keeps, low, middle), jnp.where(keeps, middle, high), best, i + 1

    least, most = attempt(jnp.exp(low)), attempt(jnp.exp(high))
    inactive = least.kl <= bound
    low = jnp.where(inactive, high, low)  # then there is nothing to search
    _, high, best, _ = jax.lax.while_loop(go_on, halve, (low, high, most, jnp.zeros((), jnp.int32)))
    best = jax.tree.map(lambda a, b: jnp.where(inactive, a, b), least, best)
    eta = jnp.exp(jnp.where(inactive, jnp.log(jnp.asarray(LEAST_ETA, dtype)), high))
    found = jnp.isfinite(best.kl) & (best.kl <= bound)
    policy = jax.tree.map(lambda new, old: jnp.where(found, new, old), best.policy, previous)
    trajectory = forward(dynamics, policy, start, start_cov)
    return Improvement(
        policy,
        trajectory,
        eta,
        jnp.where(found, best.kl, 0.0),
        expected_cost(trajectory, cost),
        ~inactive,
        found,
    )


def adapted_step(
    multiplier: Array, before: Array, predicted: Array, actual: Array, *, least: float = 0.01, most: float = 10.0
) -> Float[Array, ""]:
    """The multiplier of the bound for the next round, from the last one's expected and true cost.

    `before` is the expected cost of the controller before it was improved, `predicted` what the model then in use said
    of the improved one, `actual` what the model fitted to the improved one's rollouts says of it. The multiplier grows
    where the model was right (Levine & Abbeel 2014, sec. 4.3; limits of the authors' code). Raises ValueError unless
    `0 < least <= most`.
    """
    if not 0 < least <= most:
        raise ValueError(f"least={least} and most={most}: wanted 0 < least <= most")
    promised, got = before - predicted, before - actual
    factor = promised / (2 * jnp.maximum(1e-4, promised - got))
    return jnp.clip(jnp.clip(factor, 0.1, 5.0) * multiplier, least, most)
