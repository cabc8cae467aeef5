"""Lambda returns against the sum of n-step returns, and advantages against a loop."""

import jax.numpy as jnp
import numpy as np
import pytest

from forethought.losses.returns import generalised_advantages, lambda_returns

T = 6
RNG = np.random.default_rng(0)
REWARD, VALUE = RNG.normal(size=T), RNG.normal(size=T)
DISCOUNT = RNG.uniform(0.5, 1.0, T)


def n_step(start: int, n: int) -> float:
    """Discounted rewards of `n` steps and the value after them."""
    total, weight = 0.0, 1.0
    for t in range(start, start + n):
        total, weight = total + weight * REWARD[t], weight * DISCOUNT[t]
    return total + weight * VALUE[start + n - 1]


def brute_force(start: int, share: float) -> float:
    """(1 - l) sum_n l^(n-1) G_n, with what is left on the longest return."""
    left = T - start
    mixed = sum((1 - share) * share ** (n - 1) * n_step(start, n) for n in range(1, left))
    return mixed + share ** (left - 1) * n_step(start, left)


def ours(share, discount=DISCOUNT):
    columns = (jnp.asarray(x, jnp.float32)[:, None] for x in (REWARD, discount, VALUE))
    return lambda_returns(*columns, share)[:, 0]


@pytest.mark.parametrize("share", [0.0, 0.4, 0.95, 1.0])
def test_equal_to_the_mixture_of_n_step_returns(share):
    np.testing.assert_allclose(ours(share), [brute_force(t, share) for t in range(T)], rtol=1e-5)


def test_nothing_counts_after_a_discount_of_zero():
    ended = DISCOUNT.copy()
    ended[2] = 0.0
    np.testing.assert_allclose(ours(0.9, ended)[2], REWARD[2], rtol=1e-6)


def test_a_lambda_of_zero_at_one_step_cuts_the_trace_there_only():
    share = jnp.full((T, 1), 0.9).at[2].set(0.0)
    cut = ours(share)
    np.testing.assert_allclose(cut[2], REWARD[2] + DISCOUNT[2] * VALUE[2], rtol=1e-5)
    np.testing.assert_allclose(cut[3:], ours(0.9)[3:], rtol=1e-6)


def test_advantages_are_those_of_a_loop_with_episodes_that_end_in_the_middle():
    rng = np.random.default_rng(1)
    reward, value, ends = rng.normal(size=(3, T))
    terminated, truncated = np.zeros(T, bool), np.zeros(T, bool)
    terminated[1], truncated[3] = True, True
    after = np.where(terminated | truncated, ends, np.append(value[1:], ends[-1]))  # an episode goes on where it was
    discount = 0.9 * (1 - terminated)
    expected, later = np.zeros(T), 0.0
    for t in reversed(range(T)):
        delta = reward[t] + discount[t] * after[t] - value[t]
        later = expected[t] = delta + (0.0 if terminated[t] or truncated[t] else 0.9 * 0.8 * later)
    columns = (jnp.asarray(x)[:, None] for x in (reward, discount, value, after, terminated | truncated))
    np.testing.assert_allclose(generalised_advantages(*columns, 0.8)[:, 0], expected, rtol=1e-5)
