"""Mixture of Gaussians by expectation-maximisation."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from forethought.models.gmm import Mixture, fit_mixture

MEANS = np.array([[0.0, 0.0], [500.0, 0.0], [0.0, 4.0]])  # units that differ much
COVS = np.array([[[900.0, 0.0], [0.0, 1.0]], [[400.0, 15.0], [15.0, 1.0]], [[400.0, 0.0], [0.0, 0.25]]])
SIZES = (300, 200, 100)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.multivariate_normal(m, c, n) for m, c, n in zip(MEANS, COVS, SIZES)])
    room = np.full((700, 2), np.nan)  # rows that are not in use may hold anything
    room[:600] = rng.permutation(rows)
    with jax.enable_x64(True):
        fit = jax.jit(lambda x, n: fit_mixture(x, jnp.arange(700) < n, clusters=3, least_rows=40, key=jr.key(0)))
        return rows, fit(jnp.asarray(room), 600), fit(jnp.asarray(room), 79)


def test_three_clusters_are_found(fitted):
    mixture = fitted[1].mixture
    for mean, cov, size in zip(MEANS, COVS, SIZES):
        k = int(np.argmin(np.abs((np.asarray(mixture.mean) - mean) / [100, 1]).sum(1)))
        spread = np.sqrt(np.diag(cov))
        assert (np.abs(mixture.mean[k] - mean) < 4 * spread / np.sqrt(size)).all()
        np.testing.assert_allclose(mixture.cov[k] / np.outer(spread, spread), cov / np.outer(spread, spread), atol=0.35)
        assert np.exp(mixture.log_weight[k]) == pytest.approx(size / 600, abs=0.03)


def test_it_has_converged_before_its_rounds_are_over(fitted):
    assert 1 < int(fitted[1].rounds) < 50 and np.isfinite(fitted[1].log_likelihood)


def test_too_few_rows_make_fewer_clusters(fitted):
    weights = np.exp(np.asarray(fitted[2].mixture.log_weight))
    assert sorted(weights) == [0, 0, 1] and np.isfinite(fitted[2].mixture.cov).all()


def test_densities_are_those_of_scipy_and_moments_those_of_samples(fitted):
    rows, fit, _ = fitted
    mixture: Mixture = fit.mixture
    wanted = [multivariate_normal(m, c).logpdf(rows[:50]) for m, c in zip(mixture.mean, mixture.cov)]
    wanted = np.array(wanted).T + np.asarray(mixture.log_weight)
    with jax.enable_x64(True):
        joint, (mean, cov) = jax.jit(lambda m, x: (m.log_joint(x[:50]), m.moments(x)))(mixture, jnp.asarray(rows))
    np.testing.assert_allclose(joint, wanted, rtol=1e-8)
    # All responsibilities together are the mixture's own weights, so these are the moments of all rows.
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-2, atol=0.01)
    np.testing.assert_allclose(cov, np.cov(rows.T, bias=True), rtol=2e-2, atol=2)


def test_no_clusters_are_refused():
    with pytest.raises(ValueError, match="clusters=0"):
        fit_mixture(jnp.zeros((4, 2)), jnp.ones(4, bool), clusters=0, key=jr.key(0))
