"""Local linear dynamics, by regression and with a prior."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.pendulum import Pendulum
from forethought.models.gmm import fit_mixture
from forethought.models.local_linear import Prior, fit_local, linearised_prior, mixture_prior
from forethought.models.simulator import Simulator

STEPS = 4
RNG = np.random.default_rng(0)
F = RNG.normal(size=(STEPS, 2, 3))
OFFSET = RNG.normal(size=(STEPS, 2))
NOISE = 0.1


def rollouts(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    xu = rng.normal(size=(n, STEPS, 3))
    return xu, np.einsum("tij,ntj->nti", F, xu) + OFFSET + NOISE * rng.normal(size=(n, STEPS, 2))


def test_every_time_step_is_recovered_from_many_rollouts():
    with jax.enable_x64(True):
        fit = jax.jit(fit_local)(*map(jnp.asarray, rollouts(2000)))
    np.testing.assert_allclose(fit.F, F, atol=4 * NOISE / np.sqrt(2000))
    np.testing.assert_allclose(fit.f, OFFSET, atol=4 * NOISE / np.sqrt(2000))
    np.testing.assert_allclose(fit.cov, np.tile(NOISE**2 * np.eye(2), (STEPS, 1, 1)), atol=1e-3)


def test_posterior_is_that_of_the_normal_inverse_wishart_written_out():
    xu, after = rollouts(5)
    z = np.concatenate([xu, after], -1)
    rng = np.random.default_rng(1)
    root = rng.normal(size=(STEPS, 5, 5))
    mean, scatter, m, n0 = rng.normal(size=(STEPS, 5)), root @ root.swapaxes(1, 2), 2.0, 3.0
    with jax.enable_x64(True):
        prior = Prior(*map(jnp.asarray, (mean, scatter, m, n0)))
        fit = jax.jit(fit_local)(jnp.asarray(xu), jnp.asarray(after), prior)
    for t in range(STEPS):
        centre = z[:, t].mean(0)
        joint = 5 * np.cov(z[:, t].T, bias=True) + scatter[t]
        joint = (joint + 5 * m / (5 + m) * np.outer(centre - mean[t], centre - mean[t])) / (5 + n0)
        middle = (5 * centre + m * mean[t]) / (5 + m)
        gain = joint[3:, :3] @ np.linalg.inv(joint[:3, :3])
        np.testing.assert_allclose(fit.F[t], gain, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(fit.f[t], middle[3:] - gain @ middle[:3], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(fit.cov[t], joint[3:, 3:] - gain @ joint[:3, 3:], rtol=1e-4, atol=1e-5)


def test_with_five_rollouts_a_mixture_of_earlier_ones_halves_the_error_of_plain_regression():
    """The same linear system at every time step, so what was seen elsewhere tells of here."""
    matrix = np.array([[1.0, 0.1, 0.0, 0.0, 0.0], [0, 1, 0, 0.1, 0], [0, 0, 1, 0, 0.1]])
    rng = np.random.default_rng(2)
    xu = rng.normal(size=(60, STEPS, 5))
    after = xu @ matrix.T + 0.05 * rng.normal(size=(60, STEPS, 3))
    z = np.concatenate([xu, after], -1)
    with jax.enable_x64(True):
        rows = jnp.asarray(z[10:50].reshape(-1, 8))

        @jax.jit
        def fit(rows, z):
            mixture = fit_mixture(rows, jnp.ones(160, bool), clusters=2, least_rows=40, key=jr.key(0)).mixture
            return [fit_local(z[..., :5], z[..., 5:], p) for p in (mixture_prior(mixture, z), None)]

        fits = fit(rows, jnp.asarray(z[:5]))
    held = slice(50, 60)
    errors = [np.mean((np.einsum("tij,ntj->nti", f.F, xu[held]) + np.asarray(f.f) - after[held]) ** 2) for f in fits]
    assert errors[0] < 0.5 * errors[1]


def test_a_model_as_a_prior_gives_its_slope_where_there_are_no_data():
    env = Pendulum()
    xu = jnp.tile(jnp.array([np.cos(0.3), np.sin(0.3), 0.5, 0.2]), (2, STEPS, 1))

    @jax.jit
    def run(xu):
        prior = linearised_prior(Simulator(env), xu, 3, strength=1.0, key=jr.key(0))
        fit = fit_local(xu, jnp.tile(prior.mean[:1, 4:], (2, STEPS, 1)), prior)
        step = lambda point: env.step(env.state_from(point[:3]), point[3:], key=jr.key(0))[1]
        return fit, step(xu[0, 0]), jax.jacfwd(step)(xu[0, 0])

    fit, after, slope = run(xu)
    np.testing.assert_allclose(fit.F[2], slope, atol=5e-2)
    np.testing.assert_allclose(fit.F[2] @ xu[0, 0] + fit.f[2], after, atol=1e-3)


def test_a_model_that_does_not_say_what_it_sees_is_no_prior():
    from linear_world import Linear

    model = Linear(jnp.eye(2), 0.1, particles=1, speaks=False)
    with pytest.raises(ValueError, match="can be no prior"):
        jax.eval_shape(lambda xu: linearised_prior(model, xu, 2, key=jr.key(0)), jnp.zeros((2, 1, 3)))
