"""Layers and critics."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.networks.critics import Critics, QNetwork
from forethought.networks.layers import MLP, Linear


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_orthogonal_weights_are(shape):
    w = np.asarray(Linear(*shape, scale=2.0, orthogonal=True, key=jr.key(0)).weight)
    product = w.T @ w if shape[0] > shape[1] else w @ w.T
    np.testing.assert_allclose(product, 4.0 * np.eye(3), atol=1e-5)


def test_hidden_layers_have_the_widths_that_are_given():
    network = MLP(3, 2, (5, 4), norm="none", activation="tanh", key=jr.key(0))
    assert [layer.linear.weight.shape for layer in network.layers] == [(3, 5), (5, 4)]
    assert network(jnp.zeros((7, 3))).shape == (7, 2)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_critics_are_networks_of_their_own_on_observation_and_action(layer_norm):
    critics = Critics(3, 2, (8, 8), num_critics=3, layer_norm=layer_norm, key=jr.key(0))
    features, action = jr.normal(jr.key(1), (4, 3)), jr.normal(jr.key(2), (4, 2))
    values = jax.jit(lambda c: c(features, action))(critics)
    x = jnp.concatenate([features, action], -1)
    assert values.shape == (3, 4)
    for row, network in zip(values, critics.networks):
        np.testing.assert_allclose(row, network(x)[:, 0], rtol=1e-5)
    assert np.ptp(np.asarray(values), 0).min() > 0


def test_layer_norm_makes_critics_blind_to_the_scale_of_a_layer():
    critics = Critics(3, 2, (8,), num_critics=1, layer_norm=True, key=jr.key(0))
    x = 100 * jr.normal(jr.key(1), (4, 3)), 100 * jr.normal(jr.key(2), (4, 2))
    np.testing.assert_allclose(critics(*x), critics(*(10 * part for part in x)), rtol=1e-3)


def test_no_critics_are_refused():
    with pytest.raises(ValueError, match="num_critics=0 must be at least 1"):
        Critics(3, 2, (8,), num_critics=0, key=jr.key(0))


def test_a_q_network_has_a_value_for_each_action():
    assert QNetwork(3, 5, (8,), key=jr.key(0))(jnp.zeros((2, 7, 3))).shape == (2, 7, 5)
