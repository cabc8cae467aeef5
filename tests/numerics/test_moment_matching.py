"""Moment matching against a million samples, and its gradient against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.networks.squashed_policies import LinearPolicy, RBFPolicy
from forethought.numerics import moment_matching as mm
from forethought.types import Box, EnvSpec

SAMPLES = 1_000_000
MEAN = np.array([0.4, -0.3, 0.8])
ROOT = np.array([[0.5, 0.0, 0.0], [0.2, 0.3, 0.0], [-0.2, 0.1, 0.4]])
COV = ROOT @ ROOT.T


@pytest.fixture(scope="module")
def inputs():
    return MEAN + np.random.default_rng(0).normal(size=(SAMPLES, 3)) @ ROOT.T


def processes() -> mm.GPFactors:
    """Two processes of ten points."""
    rng = np.random.default_rng(1)
    points = np.broadcast_to(rng.normal(size=(10, 3)), (2, 10, 3))
    scales, signal = np.array([[0.9, 1.3, 1.1], [1.5, 0.8, 2.0]]), np.array([1.0, 2.0])
    kernel = np.stack([s * bumps(p, p, x) for s, p, x in zip(signal, points, scales)])
    precision = np.linalg.inv(kernel + 0.05 * np.eye(10))
    targets = np.stack([np.sin(2 * points[0, :, 0]) + points[0, :, 1], points[1, :, 2] ** 2])
    return mm.GPFactors(points, np.einsum("ijk,ik->ij", precision, targets), precision, scales, signal)


def bumps(a, b, scales):
    a, b = a / scales, b / scales
    return np.exp(a @ b.T - 0.5 * np.sum(a**2, 1)[:, None] - 0.5 * np.sum(b**2, 1))


def assert_close_to_samples(found, x, y):
    """Mean within 1 %, covariance and covariance with the input within 3 %, relative to the largest entry."""
    joint = np.cov(np.concatenate([x, y], 1).T)
    across, cov = joint[:3, 3:], joint[3:, 3:]
    gap = lambda a, b: np.abs(np.asarray(a) - b).max() / np.abs(b).max()
    assert gap(found.mean, y.mean(0)) < 0.01
    assert gap(found.cov, cov) < 0.03
    assert gap(COV @ found.gain, across) < 0.03


@pytest.fixture(scope="module")
def matched():
    """Moments of the processes, and the gradient of a function of them, by both ways; the first with idle points."""

    def value_and_gradient(moments, mean, cov):
        def score(mean, cov):
            out = moments(mean, cov)
            return sum(jnp.sum(jnp.sin(part)) for part in out), out

        return jax.value_and_grad(score, (0, 1), has_aux=True)(mean, cov)

    def both(mean, cov):
        factors = jax.tree.map(jnp.asarray, processes())
        more = [jnp.pad(x, [(0, 10 * (axis in (1, 2) and n == 10)) for axis, n in enumerate(x.shape)]) for x in factors]
        padded = mm.GPFactors(*more)
        weights, wide = mm.pair_weights(factors), mm.pair_weights(padded)
        fast = lambda m, s: mm.gp_moments(padded, m, s, wide)
        plain = lambda m, s: mm._gp_moments(factors, m, s, weights, mm._weighted_sum, factors.signal)
        return value_and_gradient(fast, mean, cov), value_and_gradient(plain, mean, cov)

    with jax.enable_x64(True):
        return jax.device_get(jax.jit(both)(jnp.asarray(MEAN), jnp.asarray(COV)))


@pytest.mark.slow
def test_moments_of_gaussian_processes_are_those_of_a_million_samples(matched, inputs):
    factors, rng = processes(), np.random.default_rng(2)
    y = []
    for output in range(2):
        k = factors.signal[output] * bumps(inputs, factors.points[output], factors.scales[output])
        variance = factors.signal[output] - np.sum(k @ factors.precision[output] * k, 1)
        y.append(k @ factors.beta[output] + np.sqrt(variance) * rng.normal(size=SAMPLES))
    assert_close_to_samples(matched[0][0][1], inputs, np.stack(y, 1))


def test_constant_weights_and_idle_points_change_neither_moments_nor_gradient(matched):
    fast, plain = matched
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), fast, plain)


SPEC = EnvSpec("angles", 3, Box((-2.0, 0.0), (2.0, 6.0)), angle_dims=(0, 2))


@pytest.fixture(scope="module")
def closed_forms():
    """Features, squashing, the bell, and of both policies the moments and samples; of one program, arrays of NumPy."""

    def of_policy(policy, features, drawn):
        raw = policy.raw_moments(features.mean, features.cov)
        return (
            raw,
            policy.moments(features.mean, features.cov).gain,
            *jax.vmap(lambda x: (policy.raw(x), policy(x)))(drawn),
        )

    def all_of_them(mean, cov):
        features = mm.feature_moments(mean, cov, SPEC.angle_dims)
        key = jax.random.key(0)
        normal = jax.random.normal(key, (100_000, 5), jnp.float32)
        drawn = features.mean + normal @ jnp.linalg.cholesky(features.cov).T
        linear = jax.tree.map(lambda x: 5 * x, LinearPolicy.random(SPEC, SPEC.action, key=key))
        rbf = RBFPolicy.random(SPEC, SPEC.action, drawn[:6], key=key)
        policies = [of_policy(policy, features, drawn) for policy in (linear, rbf)]
        return features, mm.squash_moments(mean, cov), mm.expected_bell(mean, cov, 0.7), policies

    with jax.enable_x64(True):
        return jax.device_get(jax.jit(all_of_them)(jnp.asarray(MEAN), jnp.asarray(COV)))


def test_sines_cosines_squashing_and_cost_have_the_moments_of_samples(closed_forms, inputs):
    features, squashed, bell, _ = closed_forms
    angles = inputs[:, [0, 2]]
    seen = np.concatenate([np.sin(angles[:, :1]), inputs[:, 1:2], np.sin(angles[:, 1:]), np.cos(angles)], 1)
    assert_close_to_samples(features, inputs, seen)
    assert_close_to_samples(squashed, inputs, (9 * np.sin(inputs) + np.sin(3 * inputs)) / 8)
    assert bell == pytest.approx(np.exp(-np.sum(inputs**2, 1) / (2 * 0.7**2)).mean(), rel=0.01)


def test_policies_have_the_moments_of_samples_and_act_within_their_bounds(closed_forms):
    for raw, gain, drawn, actions in closed_forms[3]:
        np.testing.assert_allclose(raw.mean, drawn.mean(0), rtol=0.02, atol=0.01)
        np.testing.assert_allclose(raw.cov, np.cov(drawn.T), rtol=0.04, atol=0.01)
        assert np.all(np.abs(actions - [0, 3]) <= [2, 3]) and np.all(actions.std(0) > 0.01)
        assert gain.shape == (5, 2)
