"""Linear-Gaussian dynamics: recovered from data, stepped through time, refused where they cannot be."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.models.linear_gaussian import LinearGaussian, LinearGaussianLearner, square_root
from forethought.networks.distributions import FullNormal
from forethought.planners import lqr
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, Discrete, EnvSpec, Given, Transition

SPEC = EnvSpec("linear", 2, Box((-1.0,), (1.0,)))
GIVEN = Given(lambda obs, action, next_obs: -jnp.sum(next_obs**2))
F = np.array([[1.0, 0.1, 0.0], [-0.2, 0.9, 0.3]])
OFFSET = np.array([0.05, -0.1])
NOISE = 1e-2 * np.array([[0.04, 0.018], [0.018, 0.01]])  # correlation 0.9


def replay_of(n: int, capacity: int) -> UniformReplay:
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(n, 2)), rng.uniform(-1, 1, (n, 1))
    noise = rng.multivariate_normal(np.zeros(2), NOISE, n)
    next_obs = np.concatenate([obs, action], 1) @ F.T + OFFSET + noise
    rows = [jnp.asarray(x, jnp.float32) for x in (obs, action, np.zeros(n), next_obs)]
    no = jnp.zeros(n, bool)
    return UniformReplay.empty(SPEC, capacity).add(Transition(*rows, no, no))


@pytest.fixture(scope="module")
def fitted():
    learner = LinearGaussianLearner(LinearGaussian.still(SPEC, GIVEN))
    return eqx.filter_jit(learner.fit)(replay_of(4000, 5000), key=jr.key(0))[0].model


def test_known_system_is_recovered_within_sampling_error(fitted):
    # Standard errors: of F sqrt(noise / n / spread of the input), of a variance noise sqrt(2 / n).
    spread = np.array([1.0, 1.0, 1 / 3])
    error = np.sqrt(np.diag(NOISE)[:, None] / 4000 / spread)
    assert (np.abs(fitted.F[0] - F) < 4 * error).all()
    assert (np.abs(fitted.f[0] - OFFSET) < 4 * np.sqrt(np.diag(NOISE) / 4000)).all()
    root = np.sqrt(np.diag(NOISE))
    assert (np.abs(fitted.cov[0] - NOISE) < 4 * np.sqrt(2 / 4000) * np.outer(root, root)).all()


def test_recovered_system_drives_lqr_to_the_gain_of_riccati(fitted):
    cost = lqr.QuadraticCost(jnp.eye(3), jnp.zeros(3), jnp.zeros(()))
    gains = [
        np.asarray(lqr.stationary(lqr.LinearDynamics(jnp.asarray(m), jnp.zeros(2)), cost).policy.K)
        for m in (F, fitted.F[0])
    ]
    np.testing.assert_allclose(gains[1], gains[0], atol=0.02)
    assert np.abs(gains[0]).max() > 0.3


@pytest.fixture(scope="module")
def stepped():
    """A model of three time steps with 4000 particles, stepped four times with action 1."""
    matrices = jnp.asarray(np.stack([np.zeros((2, 3)), F, np.eye(2, 3)]), jnp.float32)
    offsets = jnp.asarray([[5.0, 6.0], [0.0, 0.0], [1.0, 1.0]])
    model = LinearGaussian(matrices, offsets, jnp.tile(jnp.asarray(NOISE, jnp.float32), (3, 1, 1)), GIVEN, SPEC, 4000)

    def run(belief, key):
        return model.step(belief, jnp.ones((4000, 1)), key=key)

    belief, out = model.init(jnp.array([9.0, 9.0]), key=jr.key(0)), []
    for i in range(4):
        belief, prediction = jax.jit(run)(belief, jr.key(i))
        out.append((belief, prediction))
    return model, out


def test_every_time_step_has_its_dynamics_and_the_last_one_stays(stepped):
    means = [np.asarray(belief.obs.mean(0)) for belief, _ in stepped[1]]
    np.testing.assert_allclose(means[0], [5, 6], atol=0.02)
    np.testing.assert_allclose(means[1], F @ [5, 6, 1], atol=0.03)
    np.testing.assert_allclose(means[2], means[1] + 1, atol=0.03)
    np.testing.assert_allclose(means[3], means[1] + 2, atol=0.04)


def test_particles_spread_with_the_full_covariance_and_observation_tells_it(stepped):
    model, ((belief, prediction), *_) = stepped
    np.testing.assert_allclose(np.cov(np.asarray(belief.obs).T), NOISE, atol=3e-5)
    seen = model.observation(belief)
    np.testing.assert_allclose(seen.cov[7], NOISE, rtol=1e-6)
    np.testing.assert_allclose(prediction.reward, -(np.asarray(belief.obs) ** 2).sum(-1), rtol=1e-5)
    assert (prediction.continuation == 1).all()


def test_log_density_of_a_full_gaussian_is_that_of_scipy():
    from scipy.stats import multivariate_normal

    x = np.array([0.3, -0.2])
    got = FullNormal(jnp.zeros(2), jnp.asarray(NOISE)).log_prob(jnp.asarray(x))
    np.testing.assert_allclose(got, multivariate_normal(np.zeros(2), NOISE).logpdf(x), rtol=1e-4)


def test_square_root_exists_where_a_covariance_is_singular():
    flat = jnp.array([[1.0, 1.0], [1.0, 1.0]])
    root = square_root(flat)
    np.testing.assert_allclose(root @ root.T, flat, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "given", "shape", "message"),
    [
        (EnvSpec("bits", 2, Discrete(2)), GIVEN, (1, 2, 3), "continuous"),
        (SPEC, Given(), (1, 2, 3), "no reward"),
        (SPEC, GIVEN, (1, 2, 4), "shapes of F"),
    ],
)
def test_what_no_linear_model_can_be_made_of_is_refused(spec, given, shape, message):
    with pytest.raises(ValueError, match=message):
        LinearGaussian(jnp.zeros(shape), jnp.zeros((1, 2)), jnp.zeros((1, 2, 2)), given, spec)
