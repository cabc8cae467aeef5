"""The only imagined return: what every planner asks a model."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractModel

Belief = TypeVar("Belief")


def rollout(
    model: AbstractModel[Belief],
    belief: Belief,
    actions: Array,
    *,
    discount: float = 1.0,
    common_noise: bool = False,
    key: PRNGKeyArray,
) -> Float[Array, " candidates"]:
    """Imagined returns of the sequences `actions` `[candidates, horizon, *action]`, mean over particles.

    Every candidate starts from `belief` (leaves `[particles, ...]`). The reward of step t counts with
    `discount**t` times the probability that the episode was still going on *before* step t, so the reward of
    the terminating step counts and nothing after it does, whatever the model says there. A return that is not
    finite becomes -inf, so that it is never selected (PETS gives such a candidate a cost of 1e6 instead).
    Step t uses `fold_in(key, t)`. With `common_noise` every candidate is imagined with that key alone, so all meet the
    same luck (common random numbers), and drawing noise costs next to nothing; else each draws its own.
    """
    candidates, horizon = actions.shape[:2]
    belief, particles = _spread(belief, candidates)

    advance = model.step_alike if common_noise else model.step

    def step(carry, x):
        belief, weight, total = carry
        t, action = x
        belief, said = advance(belief, _for_all(action, particles), key=jr.fold_in(key, t))
        # A model run on past termination may say NaN or inf, and 0 * NaN is NaN.
        total = total + jnp.where(weight > 0, weight * said.reward, 0)
        return (belief, weight * (discount * said.continuation), total), None

    going = jnp.ones((particles, candidates))
    carry = (belief, going, jnp.zeros_like(going))
    (_, _, total), _ = jax.lax.scan(step, carry, (jnp.arange(horizon), jnp.moveaxis(actions, 1, 0)))
    returns = total.mean(0)
    return jnp.where(jnp.isfinite(returns), returns, -jnp.inf)


def _spread(belief: Belief, candidates: int) -> tuple[Belief, int]:
    """`belief` with a candidate axis behind the particle axis, and the number of particles."""
    leaves = jax.tree.leaves(belief)
    particles = leaves[0].shape[0] if leaves else 1

    def spread(x):
        return jnp.broadcast_to(x[:, None], (x.shape[0], candidates, *x.shape[1:]))

    return jax.tree.map(spread, belief), particles


def _for_all(action: Array, particles: int) -> Array:
    """`action` `[candidates, *action]` as `[particles, candidates, *action]`."""
    return jnp.broadcast_to(action, (particles, *action.shape))
