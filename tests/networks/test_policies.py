"""Policies: densities, draws and units."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm

from forethought.networks.actors import PolicyGradientActor
from forethought.networks.policies import (
    Actor,
    NormalPolicy,
    SquashedNormalPolicy,
    TanhNormalPolicy,
    TruncatedNormalPolicy,
    in_units,
    to_unit,
)
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


def test_units_and_back():
    action = jnp.array([[-2.0, 0.0], [1.0, 0.25], [4.0, 1.0]])
    np.testing.assert_allclose(to_unit(BOX, action), [[-1.0, -1.0], [0.0, -0.5], [1.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(in_units(BOX, to_unit(BOX, action)), action, atol=1e-6)


def test_squashed_density_is_that_of_the_action_and_integrates_to_one():
    policy = SquashedNormalPolicy(jnp.array([0.4]), jnp.array([0.7]), Box((-3.0,), (5.0,)))
    action = np.linspace(-1, 1, 20_001)[1:-1]
    density = np.exp(jax.jit(jax.vmap(policy.log_prob))(jnp.arctanh(jnp.asarray(action))[:, None]))
    by_hand = norm.pdf(np.arctanh(action), 0.4, 0.7) / (1 - action**2)
    np.testing.assert_allclose(density, by_hand, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(np.trapezoid(density, action), 1.0, atol=1e-3)


def test_squashed_draws_come_with_their_density():
    policy = SquashedNormalPolicy(jnp.array([0.4, -1.0]), jnp.array([0.7, 2.0]), BOX)
    raw, log_prob = policy.sample_with_log_prob(key=jr.key(0))
    np.testing.assert_array_equal(raw, policy.sample(key=jr.key(0)))
    np.testing.assert_allclose(log_prob, policy.log_prob(raw), rtol=1e-5)
    np.testing.assert_allclose(policy.executed(raw), in_units(BOX, policy.features(raw)))


@pytest.mark.parametrize("std", [jnp.exp(-20.0), 1.0, jnp.exp(2.0)])
def test_squashed_densities_and_their_gradients_are_finite_far_out(std):
    def drawn(mean, log_std):
        policy = SquashedNormalPolicy(mean, jnp.exp(log_std), Box((-1.0,), (1.0,)))
        return jnp.sum(policy.sample_with_log_prob(key=jr.key(0))[1])

    mean = jnp.array([[-1e3], [-30.0], [0.0], [30.0], [1e3]])
    value, slopes = jax.jit(jax.value_and_grad(drawn, (0, 1)))(mean, jnp.full_like(mean, jnp.log(std)))
    assert np.isfinite(value) and all(np.isfinite(s).all() for s in slopes)
    log_prob = SquashedNormalPolicy(jnp.zeros(1), jnp.ones(1), Box((-1.0,), (1.0,))).log_prob(jnp.array([30.0]))
    np.testing.assert_allclose(log_prob, norm.logpdf(30.0) - (np.log(4.0) - 60.0), rtol=1e-5)


def test_entropy_of_a_squashed_policy_is_that_of_its_draws():
    policy = SquashedNormalPolicy(jnp.array([0.4, -1.0]), jnp.array([0.7, 0.5]), BOX)
    log_prob = jax.jit(jax.vmap(lambda k: policy.sample_with_log_prob(key=k)[1]))(jr.split(jr.key(2), 20_000))
    np.testing.assert_allclose(policy.entropy(), -jnp.mean(log_prob), atol=0.02)


def test_actors_of_policy_gradients_start_with_the_same_deviation_everywhere_and_nearly_no_mean():
    actor = PolicyGradientActor(3, BOX, (16, 16), initial_std=0.5, key=jr.key(0))
    policy = actor(jr.normal(jr.key(1), (7, 3)))
    np.testing.assert_allclose(policy.std, 0.5, rtol=1e-6)
    assert np.abs(policy.mean).max() < 0.05
    uniform = PolicyGradientActor(3, Discrete(4), (16,), key=jr.key(0))(jnp.ones(3))
    np.testing.assert_allclose(uniform.log_probs, np.log(0.25), atol=0.05)


def test_normal_draws_are_clipped_where_they_are_executed_and_keep_their_density():
    policy = NormalPolicy(jnp.zeros(2), jnp.ones(2), BOX)
    raw = jnp.array([-3.0, 0.0])
    np.testing.assert_allclose(policy.executed(raw), [-2.0, 0.5])
    np.testing.assert_allclose(policy.log_prob(raw), norm.logpdf(-3.0) + norm.logpdf(0.0), rtol=1e-5)
