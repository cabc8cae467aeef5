"""Divergences between posterior and prior of a latent, and how they are clipped."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

FreeNatsOf = Literal["step", "batch"]


def categorical_kl(
    log_p: Float[Array, "*batch latents classes"], log_q: Float[Array, "*batch latents classes"]
) -> Float[Array, "*batch"]:
    """KL(p || q) of independent categoricals in nats, summed over latents. Arguments are log-probabilities."""
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), (-2, -1))


def gaussian_kl(
    mean_p: Float[Array, "*batch dim"],
    std_p: Float[Array, "*batch dim"],
    mean_q: Float[Array, "*batch dim"],
    std_q: Float[Array, "*batch dim"],
) -> Float[Array, "*batch"]:
    """KL(p || q) of diagonal Gaussians in nats, summed over dimensions."""
    ratio = (std_p / std_q) ** 2
    return 0.5 * jnp.sum(ratio + ((mean_p - mean_q) / std_q) ** 2 - 1 - jnp.log(ratio), -1)


def with_free_nats(kl: Float[Array, "*batch"], free: float, of: FreeNatsOf) -> Float[Array, ""]:
    """The mean divergence, without gradient below `free` nats.

    `step`: each time step's sum over latents is clipped (PlaNet, Dreamer v3). `batch`: the mean over the whole batch
    is (Dreamer v1 and v2). Never single latents.
    """
    if of == "step":
        return jnp.mean(jnp.maximum(kl, free))
    return jnp.maximum(jnp.mean(kl), free)
