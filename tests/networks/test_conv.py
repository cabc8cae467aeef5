"""Convolutions against XLA's own."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.networks.conv import as_convolution, convolve, convolve_doubled, depths, stages


@pytest.mark.parametrize("size", [1, 3, 5])
def test_values_and_gradients_are_those_of_xla(size):
    x, kernel = jr.normal(jr.key(0), (2, 6, 4, 3)), jr.normal(jr.key(1), (size, size, 3, 2))
    out = jr.normal(jr.key(2), (2, 6, 4, 2))
    of = lambda way: jax.grad(lambda x, k: jnp.sum(out * jnp.tanh(way(x, k))), (0, 1))(x, kernel)
    for ours, theirs in zip(of(convolve), of(as_convolution)):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(convolve(x, kernel), as_convolution(x, kernel), atol=1e-6)


@pytest.mark.parametrize("size", [3, 5])
def test_sub_pixel_form_is_the_convolution_of_the_repeated_image(size):
    x, kernel = jr.normal(jr.key(0), (2, 3, 4, 3)), jr.normal(jr.key(1), (size, size, 3, 2))
    repeated = x.repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(convolve_doubled(x, kernel), as_convolution(repeated, kernel), atol=1e-4)
    out = jr.normal(jr.key(2), (2, 6, 8, 2))
    ours = jax.grad(lambda k: jnp.sum(out * convolve_doubled(x, k)))(kernel)
    theirs = jax.grad(lambda k: jnp.sum(out * as_convolution(repeated, k)))(kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize(
    "image, count", [((64, 64, 3), 4), ((32, 32, 1), 3), ((10, 10, 4), 1), ((10, 5, 1), 0), ((96, 96, 3), 4)]
)
def test_sides_are_halved_down_to_a_few_pixels(image, count):
    assert stages(image) == count
    assert len(depths(4, count)) == max(count, 1)


def test_an_image_that_cannot_be_halved_far_enough_is_refused_with_a_size_that_can():
    with pytest.raises(ValueError, match=r"84.*21x21.*64x64"):
        stages((84, 84, 3))
