"""The Bayesian network against Bayesian linear regression in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import empty_replay, random_rows

from forethought.fit import GradientLearner
from forethought.models.bayesian_network import BayesianNetwork, LaplaceLearner
from forethought.types import Box, EnvSpec, Given, never_terminates

SPEC = EnvSpec("line", 1, Box((-1.0,), (1.0,)))
GIVEN = Given(lambda obs, action, next_obs: next_obs[0], never_terminates)
ROWS, IN_USE = random_rows(40, SPEC), jnp.arange(40) < 30


@pytest.fixture(scope="module")
def model():
    """Of random features, with the posterior of 30 rows."""

    @eqx.filter_jit
    def made(key):
        fresh = BayesianNetwork(SPEC, given=GIVEN, hidden=(5,), particles=3000, key=key).normalised(ROWS, IN_USE)
        return fresh.with_posterior(fresh.examples(ROWS), IN_USE).with_draws(jr.fold_in(key, 1))

    return made(jr.key(0))


def regression(model) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the weights, in float64."""
    data = model.examples(ROWS)
    phi, y = (np.asarray(x, np.float64)[:30] for x in (model.features(data.inputs), data.targets[:, 0]))
    noise = np.exp(np.asarray(model.logvar(data.inputs), np.float64))[:30, 0]
    prior = np.diag([5.0] * 5 + [5e-3])
    covariance = np.linalg.inv(prior + (phi / noise[:, None]).T @ phi)
    return covariance @ (phi.T @ (y / noise)), covariance


def test_the_posterior_of_the_last_layer_is_that_of_bayesian_linear_regression(model):
    mean, covariance = regression(model)
    np.testing.assert_allclose(model.weight[0], mean, atol=1e-2)
    phi = np.asarray(model.features(jr.normal(jr.key(2), (6, 2))), np.float64)
    np.testing.assert_allclose(
        model.doubt(jnp.asarray(phi))[:, 0], np.einsum("nf,fg,ng->n", phi, covariance, phi), rtol=1e-2
    )


def test_particles_spread_as_the_closed_form_says_and_keep_their_layer(model):
    obs, action = jnp.array([2.0]), jnp.full((3000, 1), 0.5)
    first, _ = model.step(model.init(obs, key=jr.key(0)), action, key=jr.key(1))
    said = model.predictive(obs, action[0])
    np.testing.assert_allclose(first.obs.mean(), said.mean()[0], atol=0.1)
    np.testing.assert_allclose(first.obs.var(), said.variance()[0], rtol=0.1)
    other, _ = model.step(model.init(obs, key=jr.key(5)), action, key=jr.key(6))
    np.testing.assert_allclose(first.mean, other.mean, rtol=1e-5)  # other luck, the same layers
    assert float(first.mean.std()) > 0.1


def test_doubt_grows_away_from_the_data(model):
    near, far = (model.doubt(model.features(model.encode(jnp.array([x]), jnp.zeros(1))))[0] for x in (0.0, 8.0))
    assert far > 5 * near


def test_candidates_share_a_particles_luck(model):
    belief = jax.tree.map(lambda x: jnp.repeat(x[:, None], 2, 1), model.init(jnp.zeros(1), key=jr.key(0)))
    after, said = model.step(belief, jnp.zeros((3000, 2, 1)), key=jr.key(1))
    np.testing.assert_array_equal(after.obs[:, 0], after.obs[:, 1])
    assert said.reward.shape == said.continuation.shape == (3000, 2)


@pytest.mark.slow
def test_a_fit_finds_noise_that_differs_and_learns_reward_and_termination():
    rows = random_rows(200, SPEC)
    loud = rows.obs[:, :1] > 0
    change = jnp.where(loud, 1.0, 0.1) * jr.normal(jr.key(3), (200, 1))
    rows = eqx.tree_at(lambda r: (r.next_obs, r.terminated), rows, (rows.obs + change, rows.obs[:, 0] > 0))
    network = BayesianNetwork(SPEC, given=Given(), hidden=(8,), particles=2, key=jr.key(0))
    learner = LaplaceLearner(
        GradientLearner(network, learning_rate=1e-2, min_steps=400, bootstrap=False), rounds=2, noise_steps=100
    )
    fit = jax.jit(lambda replay, key: learner.fit(replay, key=key))
    fitted, metrics = fit(empty_replay(256, SPEC).add(rows), jr.key(1))
    assert all(np.isfinite(float(v)) for v in metrics.values()) and float(metrics["model/doubt"]) > 0
    said = fitted.model.predictive(jnp.array([[-1.0], [1.0]]), jnp.zeros((2, 1)))
    quiet, loud = jnp.sqrt(said.variance())[:, 0]
    assert 0.05 < quiet < 0.3 and 0.7 < loud < 1.5
    belief = fitted.model.init(jnp.array([1.5]), key=jr.key(0))
    _, ends = fitted.model.step(belief, jnp.zeros((2, 1)), key=jr.key(0))
    assert ends.reward.shape == (2,) and float(ends.continuation.max()) < 0.3


def test_sizes_and_models_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"hidden=\(\) must hold at least one width"):
        BayesianNetwork(SPEC, given=GIVEN, hidden=(), key=jr.key(0))
    with pytest.raises(ValueError, match="particles=0 must be at least 1"):
        BayesianNetwork(SPEC, given=GIVEN, particles=0, key=jr.key(0))
    network = BayesianNetwork(SPEC, given=GIVEN, hidden=(2,), key=jr.key(0))
    with pytest.raises(ValueError, match="noise_steps=0 at least 1"):
        LaplaceLearner(GradientLearner(network), noise_steps=0)
