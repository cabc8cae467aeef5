"""Divergences against Monte Carlo, and where their gradients go."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from forethought.losses.kl import categorical_kl, gaussian_kl, with_free_nats


def test_gaussian_kl_matches_monte_carlo():
    mean_p, std_p = jnp.array([0.3, -1.0]), jnp.array([0.5, 1.2])
    mean_q, std_q = jnp.array([-0.2, 0.4]), jnp.array([0.9, 0.7])
    x = mean_p + std_p * jr.normal(jr.key(0), (400_000, 2))
    log = lambda m, s: jax.scipy.stats.norm.logpdf(x, m, s).sum(-1)
    drawn = jnp.mean(log(mean_p, std_p) - log(mean_q, std_q))
    np.testing.assert_allclose(gaussian_kl(mean_p, std_p, mean_q, std_q), drawn, rtol=0.01)
    assert float(gaussian_kl(mean_p, std_p, mean_p, std_p)) == 0.0


def test_categorical_kl_matches_monte_carlo():
    log_p, log_q = (jax.nn.log_softmax(jr.normal(k, (3, 5))) for k in jr.split(jr.key(1)))
    drawn = jr.categorical(jr.key(2), log_p, shape=(400_000, 3))
    of = lambda log: jnp.take_along_axis(log[None], drawn[..., None], -1)[..., 0].sum(-1)
    np.testing.assert_allclose(categorical_kl(log_p, log_q), jnp.mean(of(log_p) - of(log_q)), rtol=0.02)


def test_free_nats_clip_sums_per_step_or_the_mean_of_the_batch():
    kl = jnp.array([0.2, 3.0])
    np.testing.assert_allclose(with_free_nats(kl, 1.0, "step"), 2.0)
    np.testing.assert_allclose(with_free_nats(kl, 1.0, "batch"), 1.6)
    np.testing.assert_array_equal(jax.grad(lambda x: with_free_nats(x, 1.0, "step"))(kl), [0.0, 0.5])
    np.testing.assert_array_equal(jax.grad(lambda x: with_free_nats(x, 1.0, "batch"))(kl), [0.5, 0.5])
    np.testing.assert_array_equal(jax.grad(lambda x: with_free_nats(x, 2.0, "batch"))(kl), [0.0, 0.0])
