"""Proximal policy optimisation against NumPy in float64."""

import dataclasses

import by_hand
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm

from forethought.learners.ppo import PPO, Examples
from forethought.presets.ppo import PPOConfig
from forethought.types import Box, Discrete, EnvSpec, Transition

BOX = EnvSpec("toy", 3, Box((-1.0, 0.0), (3.0, 0.5)))
CARDS = EnvSpec("cards", 3, Discrete(4))
CONFIG = PPOConfig(
    hidden=(4,), epochs=1, num_minibatches=1, entropy_weight=0.1, learning_rate=1e-2, clip=0.1, max_grad_norm=1e3
)
N = 8


def made(spec=BOX, **changes):
    """A learner, and a state whose policy and values differ from place to place."""
    ppo = PPO(spec, dataclasses.replace(CONFIG, **changes))
    state = ppo.init(key=jr.key(0))
    louder = eqx.tree_at(lambda s: s.learned.actor.network.out.weight, state, replace_fn=lambda w: 60 * w)
    return ppo, louder


def examples(ppo, state) -> Examples:
    """As of a policy that was another one: half of the ratios lie outside of the clipping range."""
    obs = jr.normal(jr.key(1), (N, 3))
    policy = ppo.policy(state, obs)
    raw = policy.sample(key=jr.key(2))
    log_prob = policy.log_prob(raw) + jnp.linspace(-0.3, 0.3, N)
    draws = jr.normal(jr.key(3), (2, N))
    return Examples(obs, raw, log_prob, 2 * draws[0] + 1, draws[1], jnp.ones(N))


def log_prob_and_entropy(actor, spec, obs, raw):
    """Of a policy whose weights are those of its network, then its log standard deviations."""
    if isinstance(spec.action, Discrete):
        logits = by_hand.mlp(actor, obs, np.tanh)
        log_probs = logits - np.log(np.sum(np.exp(logits), -1, keepdims=True))
        return np.sum(raw * log_probs, -1), -np.sum(np.exp(log_probs) * log_probs, -1)
    *network, log_std = actor
    log_prob = np.sum(norm.logpdf(raw, by_hand.mlp(network, obs, np.tanh), np.exp(log_std)), -1)
    return log_prob, np.full(len(obs), np.sum(norm.entropy(0.0, np.exp(log_std))))


@pytest.mark.parametrize("changes", [{}, {"value_clip": 0.2}, {"normalise_advantages": False}], ids=str)
@pytest.mark.parametrize("spec", [BOX, CARDS], ids=["box", "discrete"])
def test_an_update_is_that_of_numpy(spec, changes):
    ppo, state = made(spec, **changes)
    rows = examples(ppo, state)
    after, metrics = eqx.filter_jit(ppo.update)(state, rows, key=jr.key(4))
    obs, raw, old, advantage, value, _ = (np.asarray(x, np.float64) for x in jax.tree.leaves(rows))
    target, scaled = advantage + value, advantage
    if ppo.config.normalise_advantages:
        scaled = (advantage - advantage.mean()) / advantage.std()
    actor, critic = by_hand.weights(state.learned.actor), by_hand.weights(state.learned.critic)

    def parts(weights):
        log_prob, entropy = log_prob_and_entropy(weights[: len(actor)], spec, obs, raw)
        ratio = np.exp(log_prob - old)
        surrogate = np.minimum(ratio * scaled, np.clip(ratio, 0.9, 1.1) * scaled)
        new = by_hand.mlp(weights[len(actor) :], obs, np.tanh)[:, 0]
        error = (new - target) ** 2
        if ppo.config.value_clip:
            error = np.maximum(error, (value + np.clip(new - value, -0.2, 0.2) - target) ** 2)
        return -surrogate.mean(), 0.5 * error.mean(), entropy.mean()

    def loss(weights):
        of_actor, of_critic, entropy = parts(weights)
        return of_actor + 0.5 * of_critic - 0.1 * entropy

    weights = [*actor, *critic]
    of_actor, of_critic, entropy = parts(weights)
    np.testing.assert_allclose(metrics["actor/loss"], of_actor, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["critic/loss"], of_critic, rtol=1e-4)
    np.testing.assert_allclose(metrics["actor/entropy"], entropy, rtol=1e-4)
    grads = by_hand.gradient(loss, weights)
    by_hand.assert_gradients(after.opt_state[1][0].mu, grads)
    by_hand.assert_weights(after.learned, by_hand.adam(weights, grads, 1e-2, eps=1e-5), atol=1e-5)
    assert int(after.version) == 1


def test_the_gradient_s_norm_is_clipped_and_the_step_shrinks_with_what_remains():
    ppo, state = made(max_grad_norm=0.01)
    rows = examples(ppo, state)
    update = eqx.filter_jit(ppo.update)
    whole = update(state, rows, remaining=jnp.asarray(1.0), key=jr.key(4))[0]
    norms = [jnp.sum((x / 0.1) ** 2) for x in jax.tree.leaves(whole.opt_state[1][0].mu)]
    np.testing.assert_allclose(np.sqrt(sum(norms)), 0.01, rtol=1e-4)
    half = update(state, rows, remaining=jnp.asarray(0.5), key=jr.key(4))[0]
    moved = lambda new: np.asarray(new.learned.critic.network.out.weight - state.learned.critic.network.out.weight)
    np.testing.assert_allclose(moved(half), 0.5 * moved(whole), rtol=1e-3, atol=1e-7)


def test_rows_of_weight_zero_do_not_count():
    ppo, state = made()
    rows = examples(ppo, state)
    cut = jax.tree.map(lambda x: x[: N // 2], rows)
    masked = dataclasses.replace(rows, weight=(jnp.arange(N) < N // 2).astype(jnp.float32))
    update = eqx.filter_jit(ppo.update)
    one, other = (update(state, x, key=jr.key(4))[0] for x in (cut, masked))
    by_hand.assert_weights(one.learned, by_hand.weights(other.learned), atol=1e-5)


def test_every_epoch_sees_every_row_once():
    """With a gradient that is linear in the rows and a step size of nearly nothing, minibatches add up."""
    ppo, state = made(epochs=3, num_minibatches=4, learning_rate=1e-9, normalise_advantages=False)
    rows = examples(ppo, state)
    _, metrics = eqx.filter_jit(ppo.update)(state, rows, key=jr.key(4))
    _, all_at_once = ppo.loss(state.learned, rows)
    for name, value in all_at_once.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-6)


def test_advantages_are_those_of_the_learner_s_values_and_raw_actions():
    ppo, state = made()
    obs = jr.normal(jr.key(5), (2, 6, 3))
    no = jnp.zeros((2, 5), bool)
    ends, cut = no.at[0, 2].set(True), no.at[1, 1].set(True)
    raw = jr.normal(jr.key(6), (2, 5, 2))
    next_obs = obs[:, 1:] + 0.5 * (ends | cut)[..., None]  # what follows an end is the next episode's first
    batch = Transition(obs[:, :-1], raw, jr.normal(jr.key(7), (2, 5)), next_obs, ends, cut, raw)
    found = eqx.filter_jit(ppo.advantages)(state, batch)
    value, after = ppo.value(state, batch.obs), ppo.value(state, batch.next_obs)
    for env in range(2):
        later = 0.0
        for t in reversed(range(5)):
            delta = batch.reward[env, t] + 0.99 * (1 - ends[env, t]) * after[env, t] - value[env, t]
            later = delta + 0.99 * 0.95 * (1 - (ends | cut)[env, t]) * later
            np.testing.assert_allclose(found.advantage[5 * env + t], later, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.log_prob, ppo.policy(state, batch.obs).log_prob(raw).ravel(), rtol=1e-5)
    np.testing.assert_allclose(found.value, value.ravel(), rtol=1e-5)


def test_more_minibatches_than_steps_are_refused():
    ppo, state = made(num_minibatches=9)
    with pytest.raises(ValueError, match="num_minibatches=9 must be at most the 8 actions"):
        ppo.update(state, examples(ppo, state), key=jr.key(4))


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": (8, 0)},
        {"num_steps": 0},
        {"gae_lambda": 1.5},
        {"clip": 0.0},
        {"entropy_weight": -1.0},
        {"decay_steps": 0},
    ],
    ids=str,
)
def test_invalid_settings_are_named(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        PPO(BOX, dataclasses.replace(CONFIG, **changes))


def test_examples_that_do_not_count_are_drawn_last():
    ppo, state = made(num_minibatches=1, normalise_advantages=False)
    every = examples(ppo, state)
    some = jax.tree.map(lambda x: x[jnp.array([0, 3, 5, 6])], every)
    weight = jnp.zeros(N).at[jnp.array([0, 3, 5, 6])].set(1.0)
    update = eqx.filter_jit(ppo.update)
    found, _ = update(state, dataclasses.replace(every, weight=weight), 4, key=jr.key(3))
    wanted, _ = update(state, some, key=jr.key(4))
    for a, b in zip(jax.tree.leaves(found.learned), jax.tree.leaves(wanted.learned)):
        np.testing.assert_allclose(a, b, atol=1e-6)
