"""Objectives of proximal policy optimisation (Schulman et al. 2017), element by element."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def clipped_surrogate(
    log_ratio: Float[Array, "*batch"], advantage: Float[Array, "*batch"], clip: float
) -> Float[Array, "*batch"]:
    """The pessimistic objective of a probability ratio that is clipped to `1 +- clip` (eq. 7); to be maximised."""
    ratio = jnp.exp(log_ratio)
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def value_error(
    value: Float[Array, "*batch"], target: Float[Array, "*batch"], old: Float[Array, "*batch"], clip: float | None
) -> Float[Array, "*batch"]:
    """Half the squared error; with `clip`, flat where the value has moved further than that from the old one towards
    its target, as in the authors' code."""
    error = (value - target) ** 2
    if clip is not None:
        error = jnp.maximum(error, (old + jnp.clip(value - old, -clip, clip) - target) ** 2)
    return 0.5 * error
