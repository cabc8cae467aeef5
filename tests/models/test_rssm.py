"""The recurrent state-space model: alignment, resets, latents and its ablations."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from latent_world import SMALL, VECTOR, random_batch

from forethought.models.latents import LatentShape
from forethought.models.rssm import BlockGRU, LatentBelief, PlainGRU
from forethought.models.world_model import WorldModel
from forethought.presets import dreamer_v1, planet

VARIANTS = {
    "dreamer": SMALL,
    "gaussian": dataclasses.replace(SMALL, cell="gru", latent="gaussian", norm="none", activation="elu"),
    "plain": dataclasses.replace(SMALL, cell="gru-before", latent="gaussian", norm="none", activation="elu"),
    "rnn": dataclasses.replace(SMALL, cell="gru", latent="point", norm="layer"),
    "ssm": dataclasses.replace(SMALL, cell="none", latent="gaussian"),
}


def scanned(model, batch, key=None):
    action, embedding = model.action_features(batch.action), model.encoder(batch.obs)
    first = batch.first.at[:, 0].set(True)
    return jax.jit(lambda k: model.rssm.scan(action, embedding, first, key=k))(jr.key(1) if key is None else key)


def close(left, right, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), left, right)


@pytest.mark.parametrize("name", VARIANTS)
def test_filtering_step_by_step_equals_the_scan(name):
    model, batch = WorldModel(VECTOR, VARIANTS[name], key=jr.key(0)), random_batch(VECTOR, 1, 4)
    beliefs, _ = scanned(model, batch)
    keys = jr.split(jr.key(1), 4)
    observe = jax.jit(lambda belief, action, obs, key: model.observe(belief, action, obs, key=key))
    belief = model.init(batch.obs[0, 0], key=keys[0])
    for t in range(4):
        if t:
            belief = observe(belief, batch.action[0, t], batch.obs[0, t], keys[t])
        close(belief, jax.tree.map(lambda x: x[:, t], beliefs))  # noqa: B023


@pytest.mark.parametrize("name", VARIANTS)
def test_a_reset_inside_a_chunk_equals_two_chunks(name):
    model, batch = WorldModel(VECTOR, VARIANTS[name], key=jr.key(0)), random_batch(VECTOR, 2, 6, resets=(4,))
    action, embedding = model.action_features(batch.action), model.encoder(batch.obs)
    noise = jax.vmap(lambda k: model.rssm.latent.noise((2,), key=k))(jr.split(jr.key(1), 6))
    observe = eqx.filter_jit(model.rssm.observe)
    whole, _ = scanned(model, batch)
    for start, stop in ((0, 4), (4, 6)):
        belief = model.rssm.zero((2,))
        for t in range(start, stop):
            now = (action[:, t], embedding[:, t], jnp.full(2, t == start), noise[t])
            belief, _ = observe(belief, *now)
            close(belief, jax.tree.map(lambda x: x[:, t], whole))  # noqa: B023


def test_what_came_before_a_reset_does_not_matter():
    model, batch = WorldModel(VECTOR, SMALL, key=jr.key(0)), random_batch(VECTOR, 2, 6, resets=(4,))
    other = dataclasses.replace(
        batch, obs=batch.obs.at[:, :4].add(1.0), action=batch.action.at[:, 4].set(3.0)
    )  # the action stored at a reset must not count either
    left, right = scanned(model, batch)[0], scanned(model, other)[0]
    close(left.deter[:, 4:], right.deter[:, 4:])
    assert np.abs(left.deter[:, 3] - right.deter[:, 3]).max() > 1e-3


def test_an_action_changes_the_state_it_led_to_and_none_before():
    model, batch = WorldModel(VECTOR, SMALL, key=jr.key(0)), random_batch(VECTOR, 2, 6)
    other = dataclasses.replace(batch, action=batch.action.at[:, 3].set(-batch.action[:, 3]))
    left, right = scanned(model, batch)[0], scanned(model, other)[0]
    np.testing.assert_array_equal(left.deter[:, :3], right.deter[:, :3])
    assert np.abs(left.deter[:, 3] - right.deter[:, 3]).min(0).max() > 1e-4


def test_without_a_memory_only_the_latent_carries_and_is_seen():
    model = WorldModel(VECTOR, VARIANTS["ssm"], key=jr.key(0))
    belief = LatentBelief(jr.normal(jr.key(2), (2, 16)), jr.normal(jr.key(3), (2, 3)))
    other = LatentBelief(-belief.deter, belief.stoch)
    action, noise = jnp.ones((2, 1)), model.rssm.latent.noise((2,), key=jr.key(4))
    close(model.rssm.imagine(belief, action, noise), model.rssm.imagine(other, action, noise))
    assert model.rssm.feature_dim == 3


def test_the_deterministic_ablation_draws_nothing():
    model = WorldModel(VECTOR, VARIANTS["rnn"], key=jr.key(0))
    batch = random_batch(VECTOR, 2, 4)
    close(scanned(model, batch, jr.key(1)), scanned(model, batch, jr.key(2)), atol=0)


def test_update_gate_keeps_most_of_the_memory_at_first():
    cell = BlockGRU(16, 4, 2, 8, 2, "rms", "silu", key=jr.key(0))
    silent = jax.tree.map(jnp.zeros_like, cell)
    deter = jnp.ones((1, 16))
    np.testing.assert_allclose(silent(deter, jnp.zeros((1, 4)), jnp.zeros((1, 2))), 1 - jax.nn.sigmoid(-1.0), rtol=1e-6)


@pytest.mark.parametrize("after", [False, True])
def test_plain_cells_are_the_published_equations(after):
    """TensorFlow's GRUBlockCell (PlaNet: gate before the matrix, gate biases of 1), Keras's GRUCell (Dreamer v1)."""
    cell = PlainGRU(3, 2, 1, 4, "none", "elu", after=after, key=jr.key(0))
    deter, stoch, action = jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, -0.3]), jnp.array([0.7])
    x = np.array(cell.mix(jnp.concatenate([stoch, action])))
    h, sigmoid = np.array(deter), lambda x: 1 / (1 + np.exp(-x))
    gates = sigmoid(np.concatenate([x, h]) @ np.array(cell.gates.weight) + (0 if after else 1))
    reset, keep, recall = gates[:3], gates[3:], np.array(cell.recall.weight)
    candidate = np.tanh(x @ np.array(cell.candidate.weight) + (reset * (h @ recall) if after else (reset * h) @ recall))
    np.testing.assert_allclose(cell(deter, stoch, action), keep * h + (1 - keep) * candidate, atol=1e-6)


def test_presets_of_the_papers_have_the_cells_of_the_papers():
    cells = [presets["paper"].model.cell for presets in (planet.PRESETS, dreamer_v1.PRESETS)]
    assert cells == ["gru-before", "gru-after"]


def test_blocks_do_not_see_one_another_directly():
    cell = BlockGRU(16, 4, 2, 8, 2, "none", "silu", key=jr.key(0))
    # Without the shared input, each half of the memory depends on itself alone.
    cell = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.zeros_like(x) if "memory_in" in str(path[0]) else x, cell
    )
    jacobian = jax.jacobian(lambda d: cell(d, jnp.zeros(4), jnp.zeros(2)))(jr.normal(jr.key(1), (16,)))
    assert np.abs(jacobian[:8, 8:]).max() == 0 and np.abs(jacobian[:8, :8]).min() > 0


def test_unimix_keeps_every_class_possible():
    shape = LatentShape("categorical", 2, 4, 0.01, 0.1)
    probs = jnp.exp(shape.distribution(jnp.array([100.0, 0, 0, 0, 0, 0, 0, 0])).log_probs)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(probs[0], [0.9925, 0.0025, 0.0025, 0.0025], rtol=1e-5)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_draws_have_the_distribution_that_their_divergence_is_of(kind):
    shape = LatentShape(kind, 2, 3, 0.01, 0.1)
    raw_p, raw_q = jr.normal(jr.key(0), (2, shape.outputs))
    p, q = shape.distribution(raw_p), shape.distribution(raw_q)
    drawn = jax.vmap(p.sample)(shape.noise((200_000,), key=jr.key(1)))
    if kind == "gaussian":
        log = lambda d: jax.scipy.stats.norm.logpdf(drawn, d.mean, d.std).sum(-1)
    else:
        log = lambda d: drawn @ d.log_probs.reshape(-1)
    np.testing.assert_allclose(p.kl(q), jnp.mean(log(p) - log(q)), rtol=0.02)
    np.testing.assert_allclose(p.entropy(), -jnp.mean(log(p)), rtol=0.02)


def test_gradients_pass_straight_through_a_categorical_draw():
    shape = LatentShape("categorical", 1, 3, 0.0, 0.1)
    noise, weight = shape.noise((), key=jr.key(0)), jnp.array([1.0, -2.0, 0.5])
    drawn = lambda raw: shape.distribution(raw).sample(noise) @ weight
    expected = jax.grad(lambda raw: jax.nn.softmax(raw) @ weight)(jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(jax.grad(drawn)(jnp.array([0.1, 0.2, 0.3])), expected, rtol=1e-5)
    np.testing.assert_allclose(sorted(shape.distribution(jnp.zeros(3)).sample(noise)), [0, 0, 1], atol=1e-6)
