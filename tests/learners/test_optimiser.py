"""LaProp and adaptive gradient clipping against hand-worked numbers."""

import jax.numpy as jnp
import numpy as np

from forethought.learners.optimiser import clip_adaptively, dreamer_optimiser, laprop


def by_hand(grads, rate, warmup, b1=0.9, b2=0.999):
    """Steps of one weight: the scaled gradient is averaged, not scaled after averaging."""
    square = momentum = 0.0
    for t, g in enumerate(grads):
        square = b2 * square + (1 - b2) * g**2
        momentum = b1 * momentum + (1 - b1) * g / np.sqrt(square / (1 - b2 ** (t + 1)))
        yield -rate * min(t / warmup, 1) * momentum / (1 - b1 ** (t + 1))


def test_laprop_scales_before_it_averages():
    grads = np.array([1.0, -3.0, 0.01, 40.0])
    optimiser = laprop(0.1, warmup=2)
    state = optimiser.init(jnp.zeros(()))
    for grad, expected in zip(grads, by_hand(grads, 0.1, 2)):
        step, state = optimiser.update(jnp.asarray(grad), state)
        np.testing.assert_allclose(step, expected, rtol=1e-4, atol=1e-9)


def test_laprop_takes_steps_of_the_learning_rate_whatever_the_gradient_s_size():
    optimiser = laprop(0.1, warmup=0)
    for size in (1e-9, 1.0, 1e9):
        step, _ = optimiser.update(jnp.asarray(size), optimiser.init(jnp.zeros(())))
        np.testing.assert_allclose(step, -0.1, rtol=1e-4)


def test_clipping_compares_each_tensor_with_its_own_weights():
    weights = {"big": jnp.full(4, 5.0), "small": jnp.full(4, 0.05), "zero": jnp.zeros(4)}
    grads = {"big": jnp.ones(4), "small": jnp.ones(4), "zero": jnp.ones(4)}
    clipped, _ = clip_adaptively(0.3).update(grads, clip_adaptively().init(weights), weights)
    norms = {name: float(jnp.linalg.norm(g)) for name, g in clipped.items()}
    np.testing.assert_allclose([norms["big"], norms["small"], norms["zero"]], [2.0, 0.03, 0.3e-3], rtol=1e-4)


def test_a_gradient_of_zero_moves_nothing():
    optimiser = dreamer_optimiser(0.1, warmup=0, clip=0.3)
    weights = jnp.ones(3)
    step, _ = optimiser.update(jnp.zeros(3), optimiser.init(weights), weights)
    np.testing.assert_array_equal(step, 0.0)
