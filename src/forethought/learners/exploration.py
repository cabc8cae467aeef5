"""Noise on actions while collecting."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from ..types import ActionSpace, Box


def noisy(space: ActionSpace, action: Array, amount: float, *, key: PRNGKeyArray) -> Array:
    """`action` `[*action]` with Gaussian noise of standard deviation `amount`, in units of half the range, cut at the
    bounds; a Discrete action gives way to a uniform one with probability `amount`."""
    if not isinstance(space, Box):
        uniform_key, choice_key = jr.split(key)
        return jnp.where(jr.uniform(choice_key) < amount, space.sample(key=uniform_key), action)
    low, high = jnp.array(space.low), jnp.array(space.high)
    return jnp.clip(action + amount * (high - low) / 2 * jr.normal(key, action.shape), low, high)
