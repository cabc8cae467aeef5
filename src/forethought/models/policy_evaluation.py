"""The expected return of a policy in Gaussian processes, by moment matching from step to step (PILCO, Sec. 2.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..networks.squashed_policies import AbstractSquashedPolicy
from ..numerics.moment_matching import GPFactors, feature_moments
from ..types import EnvSpec, RewardFunction
from .gp import expected_reward, moved


class Imagined(NamedTuple):
    """What is expected of an episode: Gaussians over what is true, and rewards. Row 0 is the start."""

    mean: Float[Array, "horizon+1 obs"]
    cov: Float[Array, "horizon+1 obs obs"]
    reward: Float[Array, " horizon"]


def imagine(
    policy: AbstractSquashedPolicy,
    factors: GPFactors,
    weights: Float[Array, "pairs points points"],
    noise: Float[Array, " obs"],
    start: tuple[Float[Array, " obs"], Float[Array, "obs obs"]],
    *,
    spec: EnvSpec,
    reward: RewardFunction | None,
    horizon: int,
) -> Imagined:
    """`horizon` steps of `policy` from a Gaussian start; differentiable with respect to the policy.

    `noise` is the variance of a measurement: the policy sees the truth through it. Half the variance that the
    processes find in changes, which are differences of two measurements. `weights` are `pair_weights(factors)`.
    `reward` None: it is the last output of the processes.
    """

    def step(belief: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
        mean, cov = belief
        seen = feature_moments(mean, cov + jnp.diag(noise), spec.angle_dims)
        action = policy.moments(seen.mean, seen.cov)
        new = moved(spec, factors, weights, mean, cov, (seen, action))
        if reward is None:
            earned = new.extra[0]
        else:
            earned = expected_reward(reward, spec, mean, action.mean, new.mean, new.cov)
        return (new.mean, new.cov), (new.mean, new.cov, earned)

    _, (mean, cov, earned) = jax.lax.scan(step, start, None, length=horizon)
    with_start = lambda first, rest: jnp.concatenate([first[None], rest])
    return Imagined(with_start(start[0], mean), with_start(start[1], cov), earned)
