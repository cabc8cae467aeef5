"""Exact Gaussian processes as a model of the world: one per output, independent given the input.

They predict the change of the observation, and the reward where it is not given, from `EnvSpec.features` and the
action. All numbers inside are float64, whatever the caller's setting.
"""

from typing import Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core import AbstractLearner, AbstractModel, AbstractReplay, replaced
from ..networks.distributions import DiagonalNormal
from ..numerics.float64 import in_float64, in_float64_forwards, raised
from ..numerics.moment_matching import GPFactors, Moments, expected_bell, feature_moments, gp_moments, pair_weights
from ..presets.parts import GPConfig
from ..types import Box, EnvSpec, Given, Metrics, Prediction, SaturatingReward, Transition, pointwise
from .gp_likelihood import Hyperparameters, factorise, fit_hyperparameters, kernel_matrix

Use = Literal["sampled", "expected", "followed"]


class GPBelief(eqx.Module):
    """Where each particle is, and the Gaussian that it was drawn from; in expected use that Gaussian is the belief."""

    obs: Float[Array, "particles *batch obs"]
    mean: Float[Array, "particles *batch obs"]
    cov: Float[Array, "particles *batch obs obs"]


class GaussianProcess(AbstractModel[GPBelief]):
    """Gaussian processes with squared-exponential kernels, a length scale per input, and a constant noise.

    `sampled` use draws every particle's next observation from what the processes say of where it is, anew at every
    step. `expected` use keeps one Gaussian over observations, which is sent through the processes by moment matching;
    the imagined reward is its expectation. Raises ValueError for discrete actions and where the end of an episode
    would have to be learned.
    """

    factors: GPFactors  # leaves [outputs, max_points, ...], float64; all zero before any data
    hyper: Hyperparameters
    spec: EnvSpec
    given: Given
    max_points: int = eqx.field(static=True)
    particles: int = eqx.field(static=True)
    use: Use = eqx.field(static=True)

    def __init__(
        self, spec: EnvSpec, *, given: Given, max_points: int = 400, particles: int = 20, use: Use = "sampled"
    ):
        if not isinstance(spec.action, Box):
            raise ValueError("a Gaussian process takes continuous actions; take an ensemble for discrete ones")
        if given.termination is None:
            raise ValueError("a Gaussian process is told when episodes end: give termination=never, or a function")
        if max_points < 2 or particles < 1:
            raise ValueError(f"max_points={max_points} must be at least 2 and particles={particles} at least 1")
        if use not in ("sampled", "expected", "followed"):
            raise ValueError(f"use={use!r} must be sampled, expected or followed")
        if use != "sampled" and particles != 1:
            raise ValueError(f"particles={particles} must be 1 with use={use!r}, which follows one Gaussian or mean")
        outputs, inputs = spec.obs_dim + (given.reward is None), spec.feature_dim + spec.action.feature_dim
        with jax.enable_x64(True):
            zeros = lambda *shape: jnp.zeros(shape, jnp.float64)
            self.factors = GPFactors(
                zeros(outputs, max_points, inputs),
                zeros(outputs, max_points),
                zeros(outputs, max_points, max_points),
                zeros(outputs, inputs) + 1.0,
                zeros(outputs) + 1.0,
            )
            self.hyper = Hyperparameters(zeros(outputs, inputs), zeros(outputs), zeros(outputs) - jnp.log(10.0))
        self.spec, self.given = spec, Given(given.reward, given.termination)
        self.max_points, self.particles, self.use = max_points, particles, use

    def data(self, rows: Transition) -> tuple[Array, Array]:
        """Inputs `[n, inputs]` and targets `[n, outputs]` of transitions, float64; call where that is enabled."""
        rows = raised(rows)
        x = jnp.concatenate([self.spec.features(rows.obs), self.spec.action.features(rows.action)], -1)
        y = self.spec.difference(rows.next_obs, rows.obs)
        return x, y if self.given.reward is not None else jnp.concatenate([y, rows.reward[..., None]], -1)

    def knowing(self, factors: GPFactors, hyper: Hyperparameters) -> Self:
        """With other data: `factors` of at most `max_points` points, which are padded to that many."""
        more = self.max_points - factors.beta.shape[1]
        wide = lambda x, axes: jnp.pad(x, [(0, more if axis in axes else 0) for axis in range(x.ndim)])
        padded = GPFactors(
            wide(factors.points, (1,)), wide(factors.beta, (1,)), wide(factors.precision, (1, 2)), *factors[3:]
        )
        return eqx.tree_at(lambda m: (m.factors, m.hyper), self, (padded, hyper))

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> GPBelief:
        obs = jnp.broadcast_to(obs, (self.particles, *obs.shape))
        return GPBelief(obs, obs, jnp.zeros((*obs.shape, obs.shape[-1])))

    def step(self, belief: GPBelief, action: Array, *, key: PRNGKeyArray) -> tuple[GPBelief, Prediction]:
        if self.use == "expected":
            return self._expected(belief, action)
        return self._followed(belief, action) if self.use == "followed" else self._sampled(belief, action, key)

    def certain(self) -> "GaussianProcess":
        """The means of the processes."""
        return replaced(self, use="followed", particles=1)

    def _followed(self, belief: GPBelief, action: Array) -> tuple[GPBelief, Prediction]:
        obs, size = belief.obs, self.spec.obs_dim
        inputs = jnp.concatenate([self.spec.features(obs), self.spec.action.features(action)], -1)
        flat = inputs.reshape(-1, inputs.shape[-1])
        known = self.factors.points, self.factors.beta, self.hyper
        mean = in_float64_forwards(_means)(known, flat).reshape(*obs.shape[:-1], -1)
        _, variance = in_float64(_predict)(self.factors, self.hyper, jax.lax.stop_gradient(flat))
        next_obs = obs + mean[..., :size]
        if self.given.reward is None:
            reward = mean[..., size]
        else:
            reward = pointwise(self.given.reward, self.spec.action)(obs, action, next_obs)
        cov = variance.reshape(mean.shape)[..., :size, None] * jnp.eye(size)
        return GPBelief(next_obs, next_obs, cov), Prediction(reward, self._continuation(obs, action, next_obs))

    def _sampled(self, belief: GPBelief, action: Array, key: PRNGKeyArray) -> tuple[GPBelief, Prediction]:
        obs, size = belief.obs, self.spec.obs_dim
        inputs = jnp.concatenate([self.spec.features(obs), self.spec.action.features(action)], -1)
        flat = inputs.reshape(-1, inputs.shape[-1])
        mean, variance = in_float64(_predict)(self.factors, self.hyper, flat)
        mean, variance = (x.reshape(*obs.shape[:-1], -1) for x in (mean, variance))
        drawn = mean + jnp.sqrt(variance) * jr.normal(key, mean.shape)
        next_obs = obs + drawn[..., :size]
        if self.given.reward is None:
            reward = drawn[..., size]
        else:
            reward = pointwise(self.given.reward, self.spec.action)(obs, action, next_obs)
        cov = variance[..., :size, None] * jnp.eye(size)
        belief = GPBelief(next_obs, obs + mean[..., :size], cov)
        return belief, Prediction(reward, self._continuation(obs, action, next_obs))

    def _expected(self, belief: GPBelief, action: Array) -> tuple[GPBelief, Prediction]:
        lead, size = belief.mean.shape[:-1], self.spec.obs_dim
        flat = lambda x, n: x.reshape(-1, *x.shape[-n:])

        def move(factors: GPFactors, hyper: Hyperparameters, mean: Array, cov: Array, action: Array):
            weights = pair_weights(factors)
            certain = lambda a: Moments(a, jnp.zeros((len(a), len(a))), jnp.zeros((self.spec.feature_dim, len(a))))
            step = lambda m, s, a: moved(
                self.spec, factors, weights, m, s, (feature_moments(m, s, self.spec.angle_dims), certain(a))
            )
            out = jax.vmap(step)(mean, cov, action)
            noise = jnp.exp(2 * hyper.log_noise)[:size]
            return out.mean, out.cov + jnp.diag(noise), out.extra

        mean, cov, learned = in_float64(move)(
            self.factors, self.hyper, flat(belief.mean, 1), flat(belief.cov, 2), flat(action, 1)
        )
        if self.given.reward is None:
            reward = learned[:, 0].reshape(lead)
        else:
            expected = lambda o, a, m, s: expected_reward(self.given.reward, self.spec, o, a, m, s)
            reward = jax.vmap(expected)(flat(belief.mean, 1), flat(action, 1), mean, cov).reshape(lead)
        mean, cov = mean.reshape(*lead, size), cov.reshape(*lead, size, size)
        return GPBelief(mean, mean, cov), Prediction(reward, self._continuation(belief.mean, action, mean))

    def _continuation(self, obs: Array, action: Array, next_obs: Array) -> Array:
        assert self.given.termination is not None
        return 1.0 - pointwise(self.given.termination, self.spec.action)(obs, action, next_obs).astype(jnp.float32)

    def observation(self, belief: GPBelief) -> DiagonalNormal:
        return DiagonalNormal(belief.mean, jnp.diagonal(belief.cov, axis1=-2, axis2=-1))

    def drawn(self, belief: GPBelief) -> Float[Array, "particles *batch obs"]:
        return belief.obs


def _means(known: tuple[Array, Array, Hyperparameters], x: Float[Array, "n inputs"]) -> Float[Array, "n outputs"]:
    """What the processes expect; `known` are their points, weights and hyper-parameters."""
    one = lambda points, beta, hyper: kernel_matrix(x, points, hyper) @ beta
    return jax.vmap(one)(*known).T


def _predict(factors: GPFactors, hyper: Hyperparameters, x: Float[Array, "n inputs"]) -> tuple[Array, Array]:
    """Mean and variance, noise included, `[n, outputs]`."""

    def one(points: Array, beta: Array, precision: Array, hyper: Hyperparameters) -> tuple[Array, Array]:
        kernel = kernel_matrix(x, points, hyper)
        explained = jnp.sum((kernel @ precision) * kernel, 1)
        noise = jnp.exp(2 * hyper.log_noise)
        return kernel @ beta, jnp.maximum(jnp.exp(2 * hyper.log_signal) - explained, 0.0) + noise

    mean, variance = jax.vmap(one)(factors.points, factors.beta, factors.precision, hyper)
    return mean.T, variance.T


class Moved(eqx.Module):
    """A Gaussian over observations one step later."""

    mean: Float[Array, " obs"]
    cov: Float[Array, "obs obs"]
    extra: Float[Array, " extra"]  # expectations of outputs beside the observation's changes: a learned reward


def moved(
    spec: EnvSpec,
    factors: GPFactors,
    weights: Float[Array, "pairs points points"],
    mean: Float[Array, " obs"],
    cov: Float[Array, "obs obs"],
    said: tuple[Moments, Moments],
) -> Moved:
    """A Gaussian over what is true sent through the processes (Deisenroth & Rasmussen 2011, Sec. 2.2), without noise.

    `said` are the features as the action was chosen from them, with their gain from the observation, and the action,
    with its gain from these features. `weights` are `pair_weights(factors)`.
    """
    seen, action = said
    features = feature_moments(mean, cov, spec.angle_dims)
    across = features.cov @ action.gain
    joint_mean = jnp.concatenate([features.mean, action.mean])
    joint = jnp.block([[features.cov, across], [across.T, action.cov]])
    change = gp_moments(factors, joint_mean, joint, weights)
    size = spec.obs_dim
    gain = jnp.concatenate([features.gain, seen.gain @ action.gain], 1) @ change.gain[:, :size]
    with_change = cov @ gain
    moved_cov = cov + change.cov[:size, :size] + with_change + with_change.T
    return Moved(mean + change.mean[:size], (moved_cov + moved_cov.T) / 2, change.mean[size:])


def expected_reward(reward, spec: EnvSpec, obs: Array, action: Array, mean: Array, cov: Array) -> Float[Array, ""]:
    """Expectation of a given reward where the next observation is Gaussian.

    In closed form for a `SaturatingReward`; any other by the 2 d points of the third-degree spherical cubature rule.
    """
    if isinstance(reward, SaturatingReward):
        features = feature_moments(mean, cov, spec.angle_dims)
        weights = jnp.array(reward.weights)
        away = weights @ features.mean - jnp.array(reward.target)
        return expected_bell(away, weights @ features.cov @ weights.T, reward.width)
    size = len(mean)
    root = jnp.linalg.cholesky(cov + 1e-9 * (1.0 + jnp.trace(cov)) * jnp.eye(size)) * size**0.5
    points = jnp.concatenate([mean + root.T, mean - root.T])
    return jnp.mean(jax.vmap(lambda point: reward(obs, action, point))(points))


class GPLearner(AbstractLearner):
    """Gaussian processes and how they are fitted to all data so far, from the last hyper-parameters and afresh."""

    model: GaussianProcess
    restarts: int = eqx.field(static=True, default=2)
    iterations: int = eqx.field(static=True, default=100)
    max_rows: int = eqx.field(static=True, default=400)  # rows that hyper-parameters are fitted to, drawn if more

    def __check_init__(self) -> None:
        for name in ("restarts", "iterations", "max_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def fit(self, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        """As `AbstractLearner.fit`; pure JAX, at the size of the replay's capacity."""
        rows, in_use = replay.rows()
        return self.fit_rows(rows, in_use, key=key)

    def fit_rows(self, rows: Transition, mask: Bool[Array, " n"], *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        """The same for transitions `[n, ...]` of which those count where `mask`.

        The metric `model/loss` is the mean negative log posterior per row, NaN where no search ended well.
        """
        with jax.enable_x64(True):
            x, y = self.model.data(rows)
            choice = x, y, mask
            draw_key, fit_key = jr.split(key)
            if len(mask) > self.max_rows:
                drawn = jr.uniform(draw_key, mask.shape, jnp.float32)
                order = jax.lax.sort_key_val(jnp.where(mask, drawn, 2.0), jnp.arange(len(mask)))[1][: self.max_rows]
                choice = x[order], y[order], mask[order]
            first = jnp.all(self.model.factors.beta == 0)
            start = jax.tree.map(lambda a, b: jnp.where(first, a, b), Hyperparameters.of(*choice), self.model.hyper)
            hyper, loss = fit_hyperparameters(
                *choice, start, restarts=self.restarts, iterations=self.iterations, key=fit_key
            )
            factors, condition = factorise(x, y, mask, hyper, max_points=self.model.max_points)
            metrics = {
                "model/loss": jnp.mean(loss).astype(jnp.float32),
                "model/condition": jnp.max(condition).astype(jnp.float32),
                "model/signal_to_noise": jnp.exp(jnp.max(hyper.log_signal - hyper.log_noise)).astype(jnp.float32),
            }
            return eqx.tree_at(lambda learner: learner.model, self, self.model.knowing(factors, hyper)), metrics


def check_rows(rows: Transition, mask: np.ndarray) -> None:
    """Raises ValueError naming the first row that is not finite; leaves `[n, ...]` of NumPy."""
    for name in ("obs", "action", "reward", "next_obs"):
        value = np.asarray(getattr(rows, name)).reshape(len(mask), -1)
        bad = mask & ~np.all(np.isfinite(value), 1)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(f"row {row} of the data has {name}={value[row].tolist()}, wanted finite numbers")


def check_factors(factors: GPFactors) -> None:
    """Raises ValueError naming the first output whose kernel matrix could not be factorised."""
    for output, good in enumerate(np.all(np.isfinite(np.asarray(factors.beta)), 1)):
        if not good:
            raise ValueError(
                f"the kernel matrix of output {output} is singular: inputs repeat and the noise is too small; use "
                "a larger noise, or leave repeated rows out"
            )


def gp_learner(spec: EnvSpec, config: GPConfig, *, given: Given) -> GPLearner:
    """Gaussian processes without data. Raises ValueError for discrete actions, an end to learn, and bad sizes."""
    model = GaussianProcess(spec, given=given, max_points=config.max_points)
    return GPLearner(model, config.restarts, config.iterations, config.max_rows)
