"""Dreams and what they are weighted by."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from latent_world import PICTURE, SMALL, VECTOR

from forethought.learners.actor_critic import (
    ReturnScale,
    dream,
    dream_returns,
    dream_weights,
    reach_weights,
    state_returns,
)
from forethought.learners.schedule import GradientSteps, blended
from forethought.models.world_model import WorldModel
from forethought.networks.policies import Actor

STYLE = {"units": 8, "layers": 1, "norm": "rms", "activation": "silu"}


@pytest.mark.parametrize("spec", [VECTOR, PICTURE], ids=lambda s: s.name)
def test_a_dream_is_the_model_stepped_with_the_actor_s_actions(spec):
    model = WorldModel(spec, dataclasses.replace(SMALL, latent="point"), key=jr.key(0))  # nothing is drawn
    actor = Actor(model.rssm.feature_dim, spec.action, **STYLE, key=jr.key(1))
    start = model.rssm.zero((2,))
    found = jax.jit(lambda k: dream(model, actor, start, 3, key=k))(jr.key(2))
    assert found.features.shape == (4, 2, model.rssm.feature_dim) and found.raw.shape[:2] == (3, 2)
    belief = jax.tree.map(lambda x: x[None], start)
    for t in range(3):
        np.testing.assert_allclose(found.features[t], model.features(belief)[0], atol=1e-5)
        action = actor(model.features(belief)).executed(found.raw[t][None])
        belief, _ = model.step(belief, action, key=jr.key(9))
    np.testing.assert_allclose(found.features[3], model.features(belief)[0], atol=1e-5)


def test_a_terminal_start_counts_for_nothing_and_later_states_for_less():
    discount = jnp.array([[1.0, 0.0], [0.5, 1.0], [0.5, 1.0]])
    np.testing.assert_array_equal(dream_weights(discount), [[1.0, 0.0], [0.5, 0.0], [0.25, 0.0]])


def test_returns_take_the_reward_for_reaching_the_next_state():
    reward, ones = jnp.array([[7.0], [1.0], [2.0]]), jnp.ones((3, 1))
    value = jnp.array([[100.0], [10.0], [20.0]])
    np.testing.assert_allclose(dream_returns(reward, ones, value, 1.0)[:, 0], [23.0, 22.0])
    np.testing.assert_allclose(dream_returns(reward, ones, value, 0.0)[:, 0], [11.0, 22.0])


def test_returns_of_states_take_the_reward_for_reaching_the_state_itself():
    reward, ones = jnp.array([[7.0], [1.0], [2.0]]), jnp.ones((3, 1))
    value = jnp.array([[100.0], [10.0], [20.0]])
    np.testing.assert_allclose(state_returns(reward, ones, value, 1.0)[:, 0], [28.0, 21.0])
    np.testing.assert_allclose(state_returns(reward, ones, value, 0.0)[:, 0], [17.0, 21.0])


@pytest.mark.parametrize("lambda_", [0.0, 0.95, 1.0])
def test_nothing_imagined_behind_an_end_counts_and_the_end_counts_with_its_reward(lambda_):
    discount = jnp.array([[0.99], [0.0], [0.99], [0.99], [0.99]])  # state 1 is terminal
    reward = jnp.array([[0.0], [3.0], [62.7], [62.7], [62.7]])
    returns = state_returns(reward, discount, jnp.full((5, 1), 62.7).at[1].set(3.0), lambda_)
    np.testing.assert_allclose(reach_weights(discount)[:, 0], [1.0, 0.99, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(returns[:2, 0], [0.99 * 3.0, 3.0], rtol=1e-6)


def test_return_scale_follows_percentiles_and_is_never_below_one():
    returns = jnp.linspace(0.0, 100.0, 101)
    scale = ReturnScale.start()
    assert float(scale.scale) == 1.0
    assert float(scale.updated(returns / 1e4, 1.0).scale) == 1.0
    np.testing.assert_allclose(scale.updated(returns, 1.0).scale, 90.0, rtol=1e-5)
    np.testing.assert_allclose(scale.updated(returns, 0.5).updated(returns, 0.5).scale, 67.5, rtol=1e-5)
    np.testing.assert_allclose(scale.updated(returns - 1e3, 1.0).scale, 90.0, rtol=1e-4)


def test_the_slow_one_moves_by_its_rate():
    np.testing.assert_allclose(blended({"w": jnp.zeros(2)}, {"w": jnp.ones(2)}, 0.02)["w"], 0.02)


@pytest.mark.parametrize(
    "ratio, repeat, every, updates", [(64, 1, 4, 1), (64, 2, 8, 1), (1024, 1, 1, 4), (256, 1, 1, 1), (384, 1, 1, 2)]
)
def test_schedule_replays_so_many_steps_per_action(ratio, repeat, every, updates):
    schedule = GradientSteps.of(ratio, 8, 32, repeat)
    assert (schedule.update_every, schedule.updates) == (every, updates)


def test_schedule_repeats_with_new_keys_and_averages_metrics():
    step = lambda state, key: (state + 1, {"m": state, "r": jr.uniform(key)})
    state, metrics = GradientSteps(1, 4).repeat(step, jnp.zeros(()), key=jr.key(0))
    assert float(state) == 4.0 and float(metrics["m"]) == 1.5
    expected = jnp.mean(jax.vmap(jr.uniform)(jr.split(jr.key(0), 4)))
    np.testing.assert_allclose(metrics["r"], expected, rtol=1e-6)
