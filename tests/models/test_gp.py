"""Gaussian processes: against the textbook's formulas, fitted to data of known origin, and as a model to imagine in."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.models.gp import GaussianProcess, GPLearner, check_factors, check_rows
from forethought.models.gp_likelihood import Hyperparameters, factorise
from forethought.planners.ilqr_planner import ILQR
from forethought.types import Box, Discrete, EnvSpec, Given, SaturatingReward, Transition, never_terminates

SPEC = EnvSpec("slide", 2, Box((-1.0,), (1.0,)))
REWARD = SaturatingReward(SPEC, ((1.0, 0.0),), (1.0,), 0.5)
GIVEN = Given(REWARD, never_terminates)
NOISE = 0.02


def rows(count: int, capacity: int) -> tuple[Transition, np.ndarray]:
    """x' = x + sin(2 y) / 2 + noise, y' = y + a / 2 + noise; rows past `count` are NaN and not in use."""
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (capacity, 2)).astype(np.float32)
    action = rng.uniform(-1, 1, (capacity, 1)).astype(np.float32)
    change = np.stack([np.sin(2 * obs[:, 1]) / 2, action[:, 0] / 2], 1) + NOISE * rng.normal(size=(capacity, 2))
    no = np.zeros(capacity, bool)
    mask = np.arange(capacity) < count
    blank = lambda x: np.where(mask[:, None], x, np.nan).astype(np.float32)
    data = Transition(blank(obs), blank(action), np.zeros(capacity, np.float32), blank(obs + change), no, no)
    return data, mask


@pytest.fixture(scope="module")
def fitted():
    """A learner that has seen 40 of 48 rows, in a program of single precision; and its metrics."""
    model = GaussianProcess(SPEC, given=GIVEN, max_points=48, particles=500)
    learner = GPLearner(model, restarts=1, iterations=40)
    return eqx.filter_jit(lambda learner, data, mask, key: learner.fit_rows(data, mask, key=key))(
        learner, *jax.tree.map(jnp.asarray, rows(40, 48)), jr.key(0)
    )


@pytest.mark.slow
def test_fitting_finds_the_noise_and_the_inputs_that_matter(fitted):
    learner, metrics = fitted
    hyper = learner.model.hyper
    np.testing.assert_allclose(np.exp(hyper.log_noise), NOISE, rtol=0.35)
    scales = np.exp(np.asarray(hyper.log_scales))
    assert scales[0, 1] < 0.3 * min(scales[0, [0, 2]]) and scales[1, 2] < scales[1, :2].min()
    assert np.isfinite(float(metrics["model/loss"])) and 1 < float(metrics["model/condition"]) < 1e8


def test_predictions_are_the_textbooks(fitted):
    model, (data, mask) = fitted[0].model, rows(40, 48)
    x = np.concatenate([data.obs, data.action], 1)[mask].astype(np.float64)
    y = (data.next_obs.astype(np.float64) - data.obs)[mask]
    at, action = np.array([0.2, -0.4]), np.array([0.3])
    mean, variance = [], []
    for k in range(2):
        scale, signal = np.exp(np.asarray(model.hyper.log_scales[k])), np.exp(2 * float(model.hyper.log_signal[k]))
        noise = np.exp(2 * float(model.hyper.log_noise[k]))
        kernel = lambda a, b, c=scale, s=signal: s * np.exp(-0.5 * np.sum(((a[:, None] - b) / c) ** 2, -1))
        inverse = np.linalg.inv(kernel(x, x) + noise * np.eye(len(x)))
        across = kernel(np.concatenate([at, action])[None], x)[0]
        mean.append(at[k] + across @ inverse @ y[:, k])
        variance.append(signal - across @ inverse @ across + noise)
    belief = model.init(jnp.asarray(at, jnp.float32), key=jr.key(0))
    step = eqx.filter_jit(lambda m, b, a: m.step(b, a, key=jr.key(1)))
    belief, prediction = step(model, belief, jnp.broadcast_to(jnp.asarray(action, jnp.float32), (500, 1)))
    said = model.observation(belief)
    assert said.mean().dtype == jnp.float32
    np.testing.assert_allclose(said.mean()[0], mean, rtol=1e-5)
    np.testing.assert_allclose(said.variance()[0], variance, rtol=1e-4)
    np.testing.assert_allclose(belief.obs.std(0), np.sqrt(variance), rtol=0.15)
    np.testing.assert_allclose(prediction.reward, np.exp(-2 * (belief.obs[:, 0] - 1) ** 2), rtol=1e-4)


@pytest.mark.slow
def test_expected_use_follows_the_particles_of_sampled_use(fitted):
    sampled, fresh = fitted[0].model, GaussianProcess(SPEC, given=GIVEN, max_points=48, particles=1, use="expected")
    expected = fresh.knowing(sampled.factors, sampled.hyper)

    def imagine(model, actions):
        def step(belief, given):
            action, key = given
            return model.step(belief, jnp.broadcast_to(action, (model.particles, 1)), key=key)

        belief = model.init(jnp.array([-0.5, 0.2]), key=jr.key(0))
        belief, predictions = jax.lax.scan(step, belief, (actions, jr.split(jr.key(1), len(actions))))
        return predictions.reward.sum(0).mean(), belief

    actions = jnp.array([[0.5], [0.8], [0.3]])
    with_slope = eqx.filter_jit(lambda m, a: jax.value_and_grad(lambda a: imagine(m, a), has_aux=True)(a))
    total, cloud = eqx.filter_jit(imagine)(sampled, actions)
    (value, gaussian), slope = with_slope(expected, actions)
    np.testing.assert_allclose(gaussian.mean[0], cloud.obs.mean(0), atol=0.02)
    np.testing.assert_allclose(jnp.sqrt(jnp.diagonal(gaussian.cov[0])), cloud.obs.std(0), rtol=0.15)
    assert float(value) == pytest.approx(float(total), abs=0.03)
    nudged = [with_slope(expected, actions.at[0, 0].add(e))[0][0] for e in (1e-2, -1e-2)]
    assert float(slope[0, 0]) == pytest.approx(float(nudged[0] - nudged[1]) / 2e-2, rel=0.02)


def test_inducing_points_among_the_rows_say_nearly_what_all_rows_say(fitted):
    model = fitted[0].model
    with jax.enable_x64(True):
        data, mask = jax.tree.map(jnp.asarray, rows(40, 48))
        x, y = model.data(data)
        whole, few = jax.device_get(
            jax.jit(lambda: [factorise(x, y, mask, model.hyper, max_points=n)[0] for n in (48, 24)])()
        )
    at = np.random.default_rng(1).uniform(-1, 1, (50, 3))
    for k in range(2):
        kernel = lambda f, k=k: (
            f.signal[k] * np.exp(-0.5 * np.sum(((at[:, None] - f.points[k]) / f.scales[k]) ** 2, -1))
        )
        np.testing.assert_allclose(kernel(few) @ few.beta[k], kernel(whole) @ whole.beta[k], atol=0.01)
    assert few.beta.shape == (2, 24)


def test_a_kernel_matrix_that_is_singular_is_named():
    with jax.enable_x64(True):
        hyper = Hyperparameters(jnp.zeros((1, 3)), jnp.zeros(1), jnp.full(1, -60.0))
        repeated = jax.jit(
            lambda: factorise(jnp.zeros((3, 3)), jnp.ones((3, 1)), jnp.ones(3, bool), hyper, max_points=3)
        )
        factors, _ = repeated()
        with pytest.raises(ValueError, match="kernel matrix of output 0 is singular"):
            check_factors(factors)


def test_rows_that_are_not_finite_are_named():
    data, mask = rows(4, 6)
    check_rows(data, mask)
    with pytest.raises(ValueError, match=r"row 4 of the data has obs=\[nan, nan\], wanted finite"):
        check_rows(data, np.ones(6, bool))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"action": Discrete(3)}, {}, "continuous actions"),
        ({}, {"given": Given(REWARD)}, "told when episodes end"),
        ({}, {"max_points": 1}, "max_points=1 must be at least 2"),
        ({}, {"use": "expected", "particles": 2}, "must be 1 with use='expected'"),
    ],
)
def test_what_cannot_be_is_refused(change, options, message):
    with pytest.raises(ValueError, match=message):
        GaussianProcess(dataclasses.replace(SPEC, **change), **{"given": GIVEN, **options})


@pytest.mark.slow
def test_followed_means_have_the_derivatives_of_the_processes_forwards_and_of_second_order(fitted):
    model = fitted[0].model
    sure = model.certain()
    assert (sure.particles, sure.use) == (1, "followed")

    def after(point):
        return sure.step(sure.init(point[:2], key=jr.key(0)), point[None, 2:], key=jr.key(0))[0].mean[0]

    at = jnp.array([0.2, -0.4, 0.3])
    mean, slope, bend = jax.jit(lambda at: (after(at), jax.jacfwd(after)(at), jax.jacfwd(jax.jacfwd(after))(at)))(at)
    with jax.enable_x64(True):
        kernels = jax.tree.map(np.asarray, model.hyper)
        points, beta = np.asarray(model.factors.points), np.asarray(model.factors.beta)

        def textbook(x):
            away = (x - points) / np.exp(kernels.log_scales)[:, None]
            signal = np.exp(2 * kernels.log_signal)[:, None]
            return x[:2] + jnp.sum(signal * jnp.exp(-0.5 * jnp.sum(away**2, -1)) * beta, 1)

        x = jnp.asarray(np.asarray(at, np.float64))
        wanted = textbook(x), jax.jacfwd(textbook)(x), jax.hessian(textbook)(x)
    for found, right in zip((mean, slope, bend), wanted):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
    batched = jax.vmap(jax.jacfwd(after))(jnp.stack([at, at + 0.1]))
    np.testing.assert_allclose(batched[0], slope, rtol=1e-5)


@pytest.mark.slow
def test_ilqr_plans_in_the_means_of_the_processes(fitted):
    """From (0, 0) to x = 1: y must rise first, as x moves with sin(2 y)."""
    model, planner = fitted[0].model, ILQR(SPEC.action, horizon=3, iterations=6)

    @jax.jit
    def plan(obs):
        belief = model.init(obs, key=jr.key(0))
        refine = lambda turn, search: planner.refine(model, belief, search, key=jr.fold_in(jr.key(0), turn))
        search = jax.lax.fori_loop(0, planner.iterations, refine, planner.begin(planner.init()))
        return planner.best(search)[1]

    def worth(actions):
        """The true returns of sequences `[n, horizon]`."""
        x, total = np.zeros((len(actions), 2)), 0.0
        for action in actions.T:
            x = x + np.stack([np.sin(2 * x[:, 1]) / 2, action / 2], 1)
            total = total + np.exp(-0.5 * (x[:, 0] - 1) ** 2 / REWARD.width**2)
        return total

    found = np.asarray(plan(jnp.zeros(2)).actions)[:, 0]
    others = np.random.default_rng(0).uniform(-1, 1, (3000, 3))
    assert np.abs(found).max() <= 1 and worth(found[None])[0] > 0.98 * worth(others).max()
    assert worth(np.zeros((1, 3)))[0] < 0.6 * worth(found[None])[0]
