"""Targets for values."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def lambda_returns(
    reward_t: Float[Array, "time *batch"],
    discount_t: Float[Array, "time *batch"],
    value_t: Float[Array, "time *batch"],
    lambda_: Float[Array, "time *batch"] | float,
) -> Float[Array, "time *batch"]:
    """`G_tm1 = r_t + d_t ((1 - lambda_t) v_t + lambda_t G_t)`, bootstrapped from the last value (Sutton & Barto 2018,
    eq. 12.18 with a discount per step).

    Index t is the step *reached*: its reward, the discount of everything after it (0 if it is terminal, not if it is
    truncated), and its value. Result i is the return of the state *before* step i. A `lambda_` of 0 at a step cuts
    the trace there, as at the end of an episode inside a replayed chunk.
    """
    lambda_ = jnp.broadcast_to(jnp.asarray(lambda_, reward_t.dtype), reward_t.shape)

    def back(later, x):
        reward, discount, value, share = x
        now = reward + discount * ((1 - share) * value + share * later)
        return now, now

    _, returns = jax.lax.scan(back, value_t[-1], (reward_t, discount_t, value_t, lambda_), reverse=True)
    return returns
