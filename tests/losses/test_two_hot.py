"""Two-hot targets in raw space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.losses import two_hot

NUMBERS = jnp.array([-1e6, -123.4, -1.0, -1e-3, 0.0, 1e-3, 0.07, 1.0, 123.4, 1e6])


def test_bins_are_symexp_of_even_steps_and_exactly_symmetric():
    place = np.asarray(two_hot.bins())
    np.testing.assert_allclose(place[[0, 127, 254]], [1 - np.exp(20), 0, np.exp(20) - 1], rtol=1e-6)
    np.testing.assert_allclose(place[128], np.expm1(20 / 127), rtol=1e-6)
    np.testing.assert_array_equal(place, -place[::-1])


def test_mean_of_a_two_hot_is_the_number():
    weights = two_hot.two_hot(NUMBERS)
    np.testing.assert_allclose(weights @ two_hot.bins(), NUMBERS, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(two_hot.mean(jnp.log(weights + 1e-37)), NUMBERS, rtol=1e-4, atol=1e-4)
    assert np.all(np.sum(np.asarray(weights) > 0, -1) <= 2)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)


def test_equal_probabilities_mean_exactly_zero():
    assert float(two_hot.mean(jnp.zeros(255))) == 0.0
    assert float(jax.jit(two_hot.mean)(jnp.zeros((3, 255)))[1]) == 0.0


@pytest.mark.parametrize("number, edge", [(1e12, -1), (-1e12, 0)])
def test_numbers_beyond_the_bins_are_the_outermost_bin(number, edge):
    weights = two_hot.two_hot(jnp.array(number))
    assert float(weights[edge]) == 1.0 and float(weights.sum()) == 1.0


def test_loss_is_cross_entropy_and_least_at_the_target():
    log_probs = jax.nn.log_softmax(jnp.log(two_hot.two_hot(jnp.array(0.07)) + 1e-6))
    even = jnp.full(255, -jnp.log(255.0))
    np.testing.assert_allclose(two_hot.cross_entropy(even, jnp.array(3.0)), np.log(255), rtol=1e-6)
    near, far = two_hot.cross_entropy(log_probs, jnp.array(0.07)), two_hot.cross_entropy(log_probs, jnp.array(2.0))
    assert float(near) < 1 < 10 < float(far)
    assert float(jax.grad(lambda t: two_hot.cross_entropy(log_probs, t))(0.07)) == 0.0
