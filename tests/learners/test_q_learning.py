"""Deep Q-learning against NumPy in float64."""

import dataclasses

import by_hand
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.learners.q_learning import QLearning
from forethought.presets.dqn import DQNConfig
from forethought.types import Box, Discrete, EnvSpec, Transition

SPEC = EnvSpec("toy", 3, Discrete(4))
CONFIG = DQNConfig(hidden=(5,), batch_size=6, learning_rate=1e-2, tau=0.1, layer_norm=False)
ended = lambda *rows: jnp.isin(jnp.arange(6), jnp.array(rows))
BATCH = Transition(
    jr.normal(jr.key(10), (6, 3)),
    jnp.array([0, 1, 2, 3, 1, 1]),
    jr.normal(jr.key(12), (6,)) * jnp.array([1, 1, 1, 1, 9, 9]),  # some errors lie beyond Huber's bend
    jr.normal(jr.key(13), (6, 3)),
    ended(1),
    ended(2, 4),
)


def made(**changes):
    """A learner, and a state whose target network is another one."""
    learner = QLearning(SPEC, dataclasses.replace(CONFIG, **changes))
    state = learner.init(key=jr.key(0))
    return learner, dataclasses.replace(state, target=learner.init(key=jr.key(1)).network)


def targets(state, double):
    next_obs = np.asarray(BATCH.next_obs, np.float64)
    slow = by_hand.mlp(by_hand.weights(state.target), next_obs)
    chosen = np.argmax(by_hand.mlp(by_hand.weights(state.network), next_obs) if double else slow, -1)
    alive = np.array([1, 0, 1, 1, 1, 1])  # row 1 terminates; rows 2 and 4 are truncated only
    return np.asarray(BATCH.reward, np.float64) + 0.99 * alive * slow[np.arange(6), chosen]


@pytest.mark.parametrize(
    ("double", "clip", "remaining"), [(True, 1.0, 1.0), (False, 1.0, 0.5), (True, None, 1.0), (False, 0.5, 1.0)]
)
def test_an_update_is_that_of_numpy(double, clip, remaining):
    learner, state = made(double=double, error_clip=clip)
    after, metrics = eqx.filter_jit(learner.update)(state, BATCH, remaining=remaining)
    target, obs = targets(state, double), np.asarray(BATCH.obs, np.float64)
    assert not np.allclose(targets(state, True), targets(state, False))

    def loss(weights):
        error = np.abs(by_hand.mlp(weights, obs)[np.arange(6), np.asarray(BATCH.action)] - target)
        bend = np.inf if clip is None else clip
        linear = 0.0 if clip is None else clip * (error - clip / 2)
        return np.mean(np.where(error < bend, 0.5 * error**2, linear))

    weights = by_hand.weights(state.network)
    np.testing.assert_allclose(learner.targets(state, BATCH), target, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["critic/loss"], loss(weights), rtol=1e-5)
    grads = by_hand.gradient(loss, weights)
    by_hand.assert_gradients(after.opt_state[1][0].mu, grads)
    stepped = by_hand.adam(weights, grads, 1e-2 * remaining)
    by_hand.assert_weights(after.network, stepped, atol=1e-5)
    slow = [0.9 * t + 0.1 * w for t, w in zip(by_hand.weights(state.target), stepped)]
    by_hand.assert_weights(after.target, slow, atol=1e-5)


def test_the_target_network_is_copied_every_so_many_updates_only():
    learner, state = made(target_every=3, tau=1.0)
    before, update = state.target, eqx.filter_jit(learner.update)
    for count in (1, 2, 3):
        state, _ = update(state, BATCH)
        expected = state.network if count == 3 else before
        by_hand.assert_weights(state.target, by_hand.weights(expected))


def test_the_gradient_s_norm_is_clipped():
    learner, state = made(max_grad_norm=0.01)
    after, _ = eqx.filter_jit(learner.update)(state, BATCH)
    norm = np.sqrt(sum(float(jnp.sum((x / 0.1) ** 2)) for x in jax.tree.leaves(after.opt_state[1][0].mu)))
    np.testing.assert_allclose(norm, 0.01, rtol=1e-4)


def test_exploration_falls_linearly_and_stays():
    learner = QLearning(SPEC, dataclasses.replace(CONFIG, epsilon_steps=100, epsilon_last=0.1))
    found = [float(learner.epsilon(jnp.int32(steps))) for steps in (0, 50, 100, 1000)]
    np.testing.assert_allclose(found, [1.0, 0.55, 0.1, 0.1], rtol=1e-6)


def test_a_round_is_the_configured_number_of_updates_on_batches_of_their_own():
    learner, state = made(updates=3)
    draw = lambda key: jax.tree.map(lambda x: x[jr.randint(key, (6,), 0, 6)], BATCH)
    found, _ = eqx.filter_jit(lambda s: learner.updates(s, draw, key=jr.key(5)))(state)
    for key in jr.split(jr.key(5), 3):
        state, _ = eqx.filter_jit(learner.update)(state, draw(key))
    assert int(found.count) == 3
    by_hand.assert_weights(found.network, by_hand.weights(state.network), atol=1e-5)


def test_continuous_actions_are_refused():
    with pytest.raises(ValueError, match="dqn needs discrete actions; those of toy are continuous: take sac or ppo"):
        QLearning(EnvSpec("toy", 3, Box((-1.0,), (1.0,))), CONFIG)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": (0,)},
        {"target_every": 0},
        {"epsilon_first": 1.5},
        {"error_clip": 0.0},
        {"decay_steps": 0},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_invalid_settings_are_named(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        QLearning(SPEC, dataclasses.replace(CONFIG, **changes))
