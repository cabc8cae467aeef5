"""Targets for values, and advantages."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


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


def generalised_advantages(
    reward_t: Float[Array, "time *batch"],
    discount_t: Float[Array, "time *batch"],
    value_tm1: Float[Array, "time *batch"],
    value_t: Float[Array, "time *batch"],
    over_t: Bool[Array, "time *batch"],
    lambda_: float,
) -> Float[Array, "time *batch"]:
    """`A_tm1 = delta_t + d_t lambda A_t`, `delta_t = r_t + d_t v_t - v_tm1` (Schulman et al. 2016, eq. 16).

    `value_tm1` and `value_t` are those of `obs` and of the true `next_obs` of each step; inside an episode the latter
    is the former of the next step. `discount_t` is 0 where the episode terminated. `over_t` says where it terminated
    or was truncated: the sum ends there, and a truncated step is bootstrapped from `value_t`, as the last of all is.
    """
    return lambda_returns(reward_t, discount_t, value_t, jnp.where(over_t, 0.0, lambda_)) - value_tm1
