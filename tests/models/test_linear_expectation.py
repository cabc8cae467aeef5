"""The linear expectation model against closed forms, computed in NumPy."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.models.linear_expectation import LeastSquares, LinearExpectation
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, Discrete, EnvSpec, Transition

ROWS, SIZE, ACTIONS = 400, 3, 2
SPEC = EnvSpec("linear", SIZE, Discrete(ACTIONS))


@pytest.fixture(scope="module")
def world():
    """A random linear decision process: the matrices and rewards of two actions, and noisy transitions in it."""
    rng = np.random.default_rng(0)
    matrices, rewards = 0.5 * rng.normal(size=(ACTIONS, SIZE, SIZE)), rng.normal(size=(ACTIONS, SIZE))
    obs, action = rng.normal(size=(ROWS, SIZE)), rng.integers(ACTIONS, size=ROWS)
    following = np.einsum("ns,nst->nt", obs, matrices[action])
    reward = np.einsum("ns,ns->n", obs, rewards[action])
    noise = rng.normal(size=(ROWS, SIZE + 1))
    terminated = rng.random(ROWS) < 0.1
    make = lambda noise: Transition(
        *map(jnp.asarray, (obs, action, reward + noise[:, -1], following + noise[:, :-1])),
        jnp.asarray(terminated) & bool(noise.any()),
        jnp.zeros(ROWS, bool),
    )
    float32 = lambda rows: jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype.kind == "f" else x, rows)
    return matrices, rewards, float32(make(0 * noise)), float32(make(0.1 * noise))


def as_numpy(rows):
    following = np.where(np.asarray(rows.terminated)[:, None], 0, np.asarray(rows.next_obs, np.float64))
    return np.asarray(rows.obs, np.float64), np.asarray(rows.action), np.asarray(rows.reward, np.float64), following


def test_least_squares_recovers_a_linear_process_and_online_updates_come_to_the_same(world):
    matrices, rewards, exact, _ = world
    everything = jnp.ones(ROWS, bool)
    model = LinearExpectation.empty(SPEC).fitted(exact, everything)
    np.testing.assert_allclose(model.transition.reshape(ACTIONS, SIZE, SIZE), matrices, atol=1e-4)
    np.testing.assert_allclose(model.weights.reshape(ACTIONS, SIZE), rewards, atol=1e-4)
    online = LinearExpectation.empty(SPEC)
    update = jax.jit(lambda online: online.updated(exact, step_size=0.1))
    for _ in range(5):
        online = update(online)
    np.testing.assert_allclose(online.transition, model.transition, atol=1e-3)
    np.testing.assert_allclose(online.weights, model.weights, atol=1e-3)


def test_least_squares_on_noisy_rows_is_the_closed_form_and_leaves_out_rows_that_are_not_in_use(world):
    *_, noisy = world
    used = np.arange(ROWS) < 300
    model = LinearExpectation.empty(SPEC).fitted(noisy, jnp.asarray(used), ridge=0.0)
    obs, action, reward, following = as_numpy(noisy)
    for a in range(ACTIONS):
        mine = used & (action == a)
        wanted = np.linalg.lstsq(obs[mine], np.c_[following, reward][mine], rcond=None)[0]
        block = slice(a * SIZE, (a + 1) * SIZE)
        np.testing.assert_allclose(np.c_[model.transition, model.weights][block], wanted, atol=1e-4)


def test_the_value_from_the_model_is_that_of_lstd(world):
    *_, noisy = world
    model = LinearExpectation.empty(SPEC, by_action=False).fitted(noisy, jnp.ones(ROWS, bool), ridge=0.0)
    obs, _, reward, following = as_numpy(noisy)
    lstd = np.linalg.solve(obs.T @ (obs - 0.9 * following), obs.T @ reward)
    np.testing.assert_allclose(model.value_weights(0.9), lstd, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="by_action=False"):
        LinearExpectation.empty(SPEC).value_weights(0.9)


def test_it_imagines_with_batches_behind_the_particles_and_with_continuous_actions():
    spec = EnvSpec("line", 1, Box((-1.0,), (1.0,)))
    model = LinearExpectation(spec, jnp.array([[0.9], [0.2], [0.1]]), jnp.array([1.0, 2.0, 3.0]), spec.features, True)
    belief = jax.tree.map(
        lambda x: jnp.broadcast_to(x[:, None], (1, 4, 1)), model.init(jnp.array([2.0]), key=jr.key(0))
    )
    action = jnp.linspace(-1, 1, 4)[None, :, None]
    belief, prediction = model.step(belief, action, key=jr.key(0))
    np.testing.assert_allclose(belief.features[0, :, 0], 1.9 + 0.2 * action[0, :, 0], rtol=1e-6)
    np.testing.assert_allclose(prediction.reward[0], 5 + 2 * action[0, :, 0], rtol=1e-6)


def test_the_learner_fits_all_rows_of_a_replay(world):
    *_, exact, _ = world
    replay = UniformReplay.empty(SPEC, ROWS + 50).add(exact)
    learner, metrics = LeastSquares(LinearExpectation.empty(SPEC)).fit(replay, key=jr.key(0))
    wanted = LinearExpectation.empty(SPEC).fitted(exact, jnp.ones(ROWS, bool))
    np.testing.assert_allclose(learner.model.transition, wanted.transition, atol=1e-5)
    assert float(metrics["model/loss"]) < 1e-8
