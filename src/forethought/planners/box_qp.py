"""Quadratic programs with bounds, by projected Newton steps (Tassa, Mansard & Todorov 2014, sec. II and III-B)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from . import checks
from .lqr import inverse_of_positive

STEPS, HALVINGS = 20, 8  # at most


def solve_box(
    H: Float[Array, "m m"],
    g: Float[Array, " m"],
    low: Float[Array, " m"],
    high: Float[Array, " m"],
) -> tuple[Float[Array, " m"], Float[Array, "m m"], Bool[Array, ""]]:
    """`(x, inverse, positive)`: the minimiser of `1/2 x' H x + g' x` with `low <= x <= high`.

    `inverse` is that of H's block of the entries that no bound holds, and zero elsewhere. Where `positive` is False, H
    is not positive definite and the rest means nothing. Bounds may be infinite. Raises ValueError for crossed bounds.
    """
    checks.limits(low, high)
    if H.shape == (1, 1):  # in closed form
        inverse = 1 / H
        newton = -inverse[0] * g
        x = jnp.clip(newton, low, high)
        return x, jnp.where(newton == x, inverse, 0.0), H[0, 0] > 0
    whole, positive = inverse_of_positive(H)
    value = lambda x: 0.5 * x @ (H @ x) + g @ x

    def held(x: Array) -> Array:
        gradient = H @ x + g
        return ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))

    def inverse_where(free: Array) -> Array:
        both = free[:, None] & free[None, :]
        return jnp.where(both, inverse_of_positive(jnp.where(both, H, jnp.eye(len(g), dtype=H.dtype)))[0], 0.0)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, _, count = carry
        direction = -inverse_where(~held(x)) @ (H @ x + g)
        sizes = 0.5 ** jnp.arange(HALVINGS, dtype=x.dtype)
        tried = jnp.clip(x + sizes[:, None] * direction, low, high)
        values = jax.vmap(value)(tried)
        best = jnp.argmin(values)
        better = values[best] < value(x)
        return jnp.where(better, tried[best], x), better, count + 1

    start = jnp.clip(jnp.where(positive, -whole @ g, 0.0), low, high)
    going = lambda carry: carry[1] & (carry[2] < STEPS)
    first = (start, positive & ~jnp.array_equal(start, -whole @ g), jnp.zeros((), jnp.int32))
    x, _, _ = jax.lax.while_loop(going, step, first)
    return x, inverse_where(~held(x)), positive
