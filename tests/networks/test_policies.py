"""Policies: densities, draws and units."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.networks.policies import Actor, TanhNormalPolicy, TruncatedNormalPolicy, in_units
from forethought.types import Box, Discrete

STYLE = {"units": 8, "layers": 1, "norm": "rms", "activation": "silu"}
BOX = Box((-2.0, 0.0), (4.0, 1.0))


@pytest.mark.parametrize("space, kind", [(Discrete(3), "bounded"), (BOX, "bounded"), (BOX, "truncated"), (BOX, "tanh")])
def test_log_probability_and_entropy_are_those_of_the_draws(space, kind):
    actor = jax.tree.map(lambda x: 3 * x, Actor(5, space, **STYLE, kind=kind, key=jr.key(0)))
    policy = actor(3 * jr.normal(jr.key(1), (5,)))
    if kind == "tanh":  # as wide as it starts, most draws are at the bounds to the last digit
        policy = TanhNormalPolicy(policy.mean, policy.std / 8, space)
    drawn = jax.vmap(lambda k: policy.sample(key=k))(jr.split(jr.key(2), 20_000))
    log_prob = jax.vmap(policy.log_prob)(drawn)
    np.testing.assert_allclose(policy.entropy(), -jnp.mean(log_prob), rtol=0.02, atol=0.02)
    actions = jax.vmap(policy.executed)(drawn)
    assert actions.shape == (20_000, *space.shape)
    if isinstance(space, Box):
        assert np.all(actions >= np.array(space.low) - 1e-6) and np.all(actions <= np.array(space.high) + 1e-6)


@pytest.mark.parametrize("kind", ["truncated", "tanh"])
def test_gradients_of_draws_are_those_of_their_mean(kind):
    def mean_action(shift):
        policy = TruncatedNormalPolicy if kind == "truncated" else TanhNormalPolicy
        policy = policy(jnp.array([0.2]) + shift, jnp.array([0.7]), Box((-1.0,), (1.0,)))
        return jnp.mean(jax.vmap(lambda k: policy.sample(key=k))(jr.split(jr.key(0), 4000)))

    numeric = (mean_action(0.05) - mean_action(-0.05)) / 0.1
    np.testing.assert_allclose(jax.grad(mean_action)(0.0), numeric, rtol=0.02)


def test_every_action_stays_possible():
    actor = Actor(5, Discrete(4), **STYLE, unimix=0.01, key=jr.key(0))
    sure = jax.tree.map(lambda x: 1e4 * x, actor)
    np.testing.assert_allclose(jnp.exp(sure(jnp.ones(5)).log_probs).min(), 0.01 / 4, rtol=1e-3)


def test_actions_in_units_cover_the_box_and_no_more():
    space = Box((-2.0,), (4.0,))
    np.testing.assert_allclose(in_units(space, jnp.array([[-3.0], [-1.0], [0.0], [1.0]]))[:, 0], [-2, -2, 1, 4])
