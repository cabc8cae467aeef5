"""A logarithm for numbers of either sign."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def symlog(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`sign(x) ln(1 + |x|)`: near 0 the identity, far away a logarithm (Hafner et al. 2023, eq. 9)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The inverse of `symlog`: `sign(x) (exp(|x|) - 1)`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))
