"""Soft actor-critic against NumPy in float64."""

import dataclasses

import by_hand
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm

from forethought.learners.sac import SAC
from forethought.presets.sac import SACConfig
from forethought.types import Box, Discrete, EnvSpec, Transition

SPEC = EnvSpec("toy", 3, Box((-1.0, 0.0), (3.0, 0.5)), angle_dims=(1,))
CONFIG = SACConfig(
    hidden=(4,),
    batch_size=5,
    tau=0.1,
    actor_rate=1e-2,
    critic_rate=2e-2,
    temperature_rate=3e-2,
    initial_temperature=0.3,
)
LOW, HIGH = np.array(SPEC.action.low), np.array(SPEC.action.high)
KEY = jr.key(3)
ended = lambda *rows: jnp.isin(jnp.arange(5), jnp.array(rows))
BATCH = Transition(
    2 * jr.normal(jr.key(10), (5, 3)),
    SPEC.action.sample((5,), key=jr.key(11)),
    jr.normal(jr.key(12), (5,)),
    2 * jr.normal(jr.key(13), (5, 3)),
    ended(1),
    ended(2, 3),
)


def learner(**changes):
    """A learner, and a state in which all parts say something and the targets lag behind."""
    sac = SAC(SPEC, dataclasses.replace(CONFIG, **changes))
    state = sac.init(key=jr.key(0))
    other = jax.tree.map(lambda x: 0.8 * x, SAC(SPEC, sac.config).init(key=jr.key(1)).critics)
    actor = eqx.tree_at(lambda a: a.network.out.weight, state.actor, replace_fn=lambda w: 60 * w)
    return sac, eqx.tree_at(lambda s: (s.targets, s.actor), state, (other, actor))


def features(obs):
    obs = np.asarray(obs, np.float64)
    return np.concatenate([obs[:, :1], np.sin(obs[:, 1:2]), obs[:, 2:], np.cos(obs[:, 1:2])], 1)


def drawn(actor, obs, noise):
    """Actions in [-1, 1], and the log-densities of them, that an actor of these weights draws with this noise."""
    mean, log_std = np.split(by_hand.mlp(actor, features(obs)), 2, -1)
    raw = mean + np.exp(log_std) * noise
    return np.tanh(raw), np.sum(norm.logpdf(noise) - log_std - np.log(1 - np.tanh(raw) ** 2), -1)


def values(critics, obs, unit):
    return np.stack([by_hand.mlp(w, np.concatenate([features(obs), unit], 1))[:, 0] for w in critics])


def noise(key):
    return np.asarray(jr.normal(key, (5, 2)), np.float64)


def targets(state, join=np.min, discount=0.99):
    unit, log_prob = drawn(by_hand.weights(state.actor), BATCH.next_obs, noise(jr.split(KEY)[0]))
    value = join(values([by_hand.weights(n) for n in state.targets.networks], BATCH.next_obs, unit), 0) - 0.3 * log_prob
    alive = np.array([1, 0, 1, 1, 1])  # row 1 terminates; rows 2 and 3 are truncated only
    return np.asarray(BATCH.reward, np.float64) + discount * alive * value


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, targets),
        ({"target": "mean"}, lambda s: targets(s, np.mean)),
        ({"target_bounds": (-0.5, 0.2)}, lambda s: np.clip(targets(s), -0.5, 0.2)),
        ({"num_critics": 3}, targets),
    ],
    ids=["min", "mean", "bounds", "three"],
)
def test_targets_are_soft_values_and_only_termination_ends_the_future(changes, expected):
    sac, state = learner(**changes)
    found = eqx.filter_jit(sac.targets)(state, BATCH, key=jr.split(KEY)[0])
    np.testing.assert_allclose(found, expected(state), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("join", ["min", "mean"])
def test_an_update_is_that_of_numpy(join):
    sac, state = learner(target=join)
    after, metrics = eqx.filter_jit(sac.update)(state, BATCH, key=KEY)
    joined = {"min": np.min, "mean": np.mean}[join]
    unit = 2 * (np.asarray(BATCH.action, np.float64) - LOW) / (HIGH - LOW) - 1
    critics = [by_hand.weights(n) for n in state.critics.networks]
    target = targets(state, joined)

    def critic_loss(flat):
        return 0.5 * np.sum(np.mean((values([flat[:4], flat[4:]], BATCH.obs, unit) - target) ** 2, -1))

    flat = [*critics[0], *critics[1]]
    grads = by_hand.gradient(critic_loss, flat)
    np.testing.assert_allclose(metrics["critic/loss"], critic_loss(flat), rtol=1e-4)
    by_hand.assert_gradients(after.opt_state["critics"][0].mu, grads)
    stepped = by_hand.adam(flat, grads, 2e-2)
    by_hand.assert_weights(after.critics, stepped)
    slow = [0.9 * np.asarray(t, np.float64) + 0.1 * c for t, c in zip(jax.tree.leaves(state.targets), stepped)]
    by_hand.assert_weights(after.targets, slow)

    actor = by_hand.weights(state.actor)

    def actor_loss(actor):
        unit, log_prob = drawn(actor, BATCH.obs, noise(jr.split(KEY)[1]))
        return np.mean(0.3 * log_prob - joined(values([stepped[:4], stepped[4:]], BATCH.obs, unit), 0))

    grads = by_hand.gradient(actor_loss, actor)
    np.testing.assert_allclose(metrics["actor/loss"], actor_loss(actor), rtol=1e-4)
    by_hand.assert_gradients(after.opt_state["actor"][0].mu, grads)
    by_hand.assert_weights(after.actor, by_hand.adam(actor, grads, 1e-2))

    log_prob = np.mean(drawn(actor, BATCH.obs, noise(jr.split(KEY)[1]))[1])
    slope = -(log_prob - 2.0)  # of -log_temperature (log_prob + target), the target being -2
    np.testing.assert_allclose(after.opt_state["temperature"][0].mu / 0.1, slope, rtol=1e-4)
    np.testing.assert_allclose(after.log_temperature, np.log(0.3) - 3e-2 * np.sign(slope), rtol=1e-5)


def test_a_fixed_temperature_stays():
    sac, state = learner(learn_temperature=False)
    after, _ = eqx.filter_jit(sac.update)(state, BATCH, key=KEY)
    assert float(after.log_temperature) == float(state.log_temperature)


def test_several_updates_are_those_of_a_loop_and_metrics_are_means():
    sac, state = learner()
    draw = lambda key: jax.tree.map(lambda x: x[jr.randint(key, (5,), 0, 5)], BATCH)
    found, metrics = eqx.filter_jit(lambda s, k: sac.updates(s, draw, 3, key=k))(state, KEY)
    losses, one = [], eqx.filter_jit(sac.update)
    for key in jr.split(KEY, 3):
        draw_key, update_key = jr.split(key)
        state, said = one(state, draw(draw_key), key=update_key)
        losses.append(said["critic/loss"])
    by_hand.assert_weights(found.actor, by_hand.weights(state.actor), atol=1e-5)
    np.testing.assert_allclose(metrics["critic/loss"], np.mean(losses), rtol=1e-4)


def test_first_targets_equal_the_critics_on_buffers_of_their_own():
    state = SAC(SPEC, CONFIG).init(key=KEY)
    for a, b in zip(jax.tree.leaves(state.critics), jax.tree.leaves(state.targets)):
        np.testing.assert_array_equal(a, b)
        assert a.unsafe_buffer_pointer() != b.unsafe_buffer_pointer()


def test_discrete_actions_are_refused():
    with pytest.raises(ValueError, match="sac needs continuous actions"):
        SAC(EnvSpec("cart", 4, Discrete(2)), CONFIG)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": (8, 0)},
        {"num_critics": 0},
        {"batch_size": 0},
        {"updates_per_step": 0},
        {"discount": 1.5},
        {"tau": -0.1},
        {"critic_rate": 0.0},
        {"target": "max"},
        {"target_bounds": (1.0, -1.0)},
        {"initial_temperature": float("nan")},
    ],
    ids=str,
)
def test_invalid_settings_are_named(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        SAC(SPEC, dataclasses.replace(CONFIG, **changes))
