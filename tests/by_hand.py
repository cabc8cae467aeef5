"""Networks, gradients and optimiser steps in NumPy and float64, for tests of a whole update."""

import jax
import numpy as np

RELU = lambda x: np.maximum(x, 0.0)


def weights(network) -> list[np.ndarray]:
    """Weights and biases of an MLP without norms, layer by layer, in float64."""
    return [np.asarray(x, np.float64) for x in jax.tree.leaves(network)]


def mlp(weights, x, bend=RELU):
    """The output `[batch, outputs]` of an MLP of these weights."""
    layers = list(zip(weights[::2], weights[1::2]))
    for w, b in layers[:-1]:
        x = bend(x @ w + b)
    return x @ layers[-1][0] + layers[-1][1]


def gradient(loss, parameters, step=1e-6):
    """Central differences of `loss(parameters)`, for a list of arrays."""
    found = [np.zeros_like(p) for p in parameters]
    for grad, parameter in zip(found, parameters):
        for i in np.ndindex(parameter.shape):
            kept = parameter[i]
            parameter[i] = kept + step
            up = loss(parameters)
            parameter[i] = kept - step
            down = loss(parameters)
            parameter[i], grad[i] = kept, (up - down) / (2 * step)
    return found


def adam(parameters, grads, rate, eps=1e-8):
    """Parameters after Adam's first step: both moments are the gradient's, once their bias is corrected."""
    return [p - rate * g / (np.abs(g) + eps) for p, g in zip(parameters, grads)]


def assert_gradients(moments, grads, atol=1e-5):
    """Adam's first moments after its first step are a tenth of the gradients."""
    for moment, grad in zip(jax.tree.leaves(moments), grads, strict=True):
        np.testing.assert_allclose(np.asarray(moment) / 0.1, grad, rtol=2e-3, atol=atol)


def assert_weights(network, expected, atol=2e-6):
    """The weights of a network are these."""
    for found, wanted in zip(jax.tree.leaves(network), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=atol)
