"""PILCO: policy search in Gaussian processes (Deisenroth & Rasmussen 2011, Algorithm 1).

Deviations from the authors' software:
- policies are improved by L-BFGS with at most `evaluations` gradients in all (preset `paper-*`: as many as theirs
  may take, 75 or 150 line searches of at most 30), not by BFGS;
- `restarts` above 1 improve fresh policies beside the last one; theirs starts once;
- `random_hold` above 1 holds the actions of the random trials, theirs change at every step;
- length scales and signals have lognormal priors besides the walls that theirs has; signal to noise is walled at
  1000 (theirs 500) and hyper-parameters are searched for more than once per fit;
- above `max_points` rows prediction goes through inducing points chosen among the rows (FITC, as theirs), while the
  hyper-parameters stay those of the exact processes;
- the reward may be any given function (cubature) or learned (another process), where theirs is the saturating cost in
  closed form, which is used for a `SaturatingReward`;
- imagined episodes go on for `horizon` steps whatever the termination function says;
- the start's mean is that of the first observations where it is not given.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray
from scipy.optimize import minimize

from ..core import AbstractAgent, AbstractModel, Additions, Clock, Data, Schedule
from ..errors import TrainingFault
from ..models.gp import GaussianProcess, GPLearner, check_factors, check_rows, gp_learner
from ..models.policy_evaluation import Imagined, imagine
from ..networks.squashed_policies import AbstractSquashedPolicy, LinearPolicy, RBFPolicy
from ..numerics.float64 import in_float64, lowered
from ..numerics.moment_matching import pair_weights
from ..presets.pilco import PILCOConfig
from ..replay.uniform import UniformReplay
from ..types import Box, EnvSpec, Forecasts, Given, Metrics

KEPT = 16  # forecasts of trials


class PILCOState(eqx.Module):
    """What learning changes."""

    policy: AbstractSquashedPolicy  # float64
    learner: GPLearner
    forecasts: Forecasts  # of the latest trials


class PILCO(AbstractAgent[PILCOState, None]):
    """Fits Gaussian processes after every trial and runs the policy that they promise most of."""

    spec: EnvSpec
    config: PILCOConfig = eqx.field(static=True)
    given: Given

    def __init__(self, spec: EnvSpec, config: PILCOConfig | None = None, *, given: Given | None = None):
        """Raises ValueError for discrete actions, unknown terminations and invalid settings."""
        self.spec = spec
        self.config = PILCOConfig() if config is None else config
        self.given = Given() if given is None else given
        c = self.config
        for name in ("random_steps", "random_hold", "horizon", "centres", "restarts", "evaluations"):
            if getattr(c, name) < 1:
                raise ValueError(f"{name}={getattr(c, name)} must be at least 1")
        if c.policy not in ("rbf", "linear"):
            raise ValueError(f"policy={c.policy!r} must be rbf or linear")
        if c.start_mean is not None and len(c.start_mean) != spec.obs_dim:
            raise ValueError(f"start_mean={c.start_mean} must have obs_dim={spec.obs_dim} numbers, or be left out")
        if not c.start_std > 0:
            raise ValueError(f"start_std={c.start_std} must be above 0")
        self._learner()

    @property
    def schedule(self) -> Schedule:
        c = self.config
        return Schedule.one_round("trial", c.update_every, random_steps=c.random_steps, random_hold=c.random_hold)

    @property
    def traceable(self) -> bool:
        return False  # L-BFGS runs on the host

    def _learner(self) -> GPLearner:
        return gp_learner(self.spec, self.config.model, given=self.given)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> PILCOState:
        shape = (KEPT, self.config.horizon + 1, self.spec.obs_dim)
        none = Forecasts(jnp.zeros(shape), jnp.zeros(shape), jnp.full(KEPT, -1, jnp.int32))
        with jax.enable_x64(True):
            mean = jnp.zeros(self.spec.obs_dim) if self.config.start_mean is None else jnp.array(self.config.start_mean)
            policy = self._fresh(mean, key=key)
        return PILCOState(policy, self._learner(), none)

    def init_memory(self, state: PILCOState) -> None:
        return None

    def act(self, state: PILCOState, memory: None, obs: Array, *, key: PRNGKeyArray, explore: bool):
        action = in_float64(lambda policy, obs: policy(self.spec.features(obs)))(state.policy, obs)
        return action, None, None

    def model(self, state: PILCOState) -> AbstractModel:
        return state.learner.model

    def forecasts(self, state: PILCOState) -> Forecasts:
        return state.forecasts

    def update(
        self, state: PILCOState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[PILCOState, Additions, Metrics]:
        fit_key, policy_key = jr.split(key)
        rows, in_use = jax.tree.map(np.asarray, data["env"].rows())
        count = int(in_use.sum())
        size = bucket(count, self.config.model.max_points)
        first = lambda x: np.concatenate([x[in_use], np.zeros((size - count, *x.shape[1:]), x.dtype)])
        rows, mask = jax.tree.map(first, rows), np.arange(size) < count
        with jax.enable_x64(True):
            try:
                check_rows(rows, mask)
                learner, metrics = _fit(state.learner, rows, mask, fit_key)
                check_factors(learner.model.factors)
            except ValueError as error:
                raise TrainingFault(f"Gaussian processes of {count} steps on {self.spec.name}: {error}") from error
            start = self._start(rows.obs[mask], rows.next_obs[mask])
            policy, imagined, more = self._improved(state.policy, learner.model, size, start, policy_key)
            noise = jnp.exp(2 * learner.model.hyper.log_noise)[: self.spec.obs_dim] / 2
            std = jnp.sqrt(jnp.diagonal(imagined.cov, axis1=1, axis2=2) + noise)
            said = lowered((imagined.mean, std))
        put = lambda store, new: jnp.concatenate([store[1:], new[None]])
        old = state.forecasts
        forecasts = Forecasts(put(old.mean, said[0]), put(old.std, said[1]), put(old.steps, jnp.int32(count)))
        return PILCOState(policy, learner, forecasts), {}, {**metrics, **more}

    def _start(self, obs: np.ndarray, next_obs: np.ndarray) -> tuple[Array, Array]:
        """Mean and covariance of where episodes begin: at observations that no step led to."""
        c = self.config
        if c.start_mean is None:
            led_to = np.any(np.all(obs[:, None] == next_obs[None], -1), 1)
            mean = jnp.asarray(obs[~led_to if not led_to.all() else slice(0, 1)].mean(0), jnp.float64)
        else:
            mean = jnp.array(c.start_mean)
        return mean, c.start_std**2 * jnp.eye(self.spec.obs_dim)

    def _fresh(self, mean: Array, *, key: PRNGKeyArray) -> AbstractSquashedPolicy:
        """A random policy, its centres drawn where episodes begin."""
        action = self.spec.action
        assert isinstance(action, Box)  # the processes have refused others
        if self.config.policy == "linear":
            return LinearPolicy.random(self.spec, action, key=key)
        centre_key, target_key = jr.split(key)
        drawn = jr.normal(centre_key, (self.config.centres, self.spec.obs_dim), jnp.float32)
        centres = self.spec.features(mean + self.config.start_std * drawn)
        return RBFPolicy.random(self.spec, action, centres, key=target_key)

    def _improved(
        self, last: AbstractSquashedPolicy, model: GaussianProcess, size: int, start: Any, key: PRNGKeyArray
    ) -> tuple[AbstractSquashedPolicy, Imagined, Metrics]:
        """The best of the improved policies, what it is expected to do, and metrics. Failed searches are dropped.

        Raises TrainingFault if all have failed.
        """
        points = min(size, self.config.model.max_points)
        factors = model.factors
        factors = factors._replace(
            points=factors.points[:, :points],
            beta=factors.beta[:, :points],
            precision=factors.precision[:, :points, :points],
        )
        noise = jnp.exp(2 * model.hyper.log_noise)[: self.spec.obs_dim] / 2
        known = factors, jax.jit(pair_weights)(factors), noise, start
        task = (self.spec, self.given.reward, self.config.horizon)
        found, evaluations, dropped = [], 0, 0
        for restart in range(self.config.restarts):
            policy = last if restart == 0 else self._fresh(start[0], key=jr.fold_in(key, restart))
            flat, unravel = ravel_pytree(policy)
            of_vector = functools.partial(_value_and_grad, unravel, known, *task)
            best, value, used = search(of_vector, np.asarray(flat), self.config.evaluations)
            evaluations += used
            if best is None:
                dropped += 1
            else:
                found.append((value, unravel(jnp.asarray(best))))
        if not found:
            raise TrainingFault(
                f"all {dropped} searches for a policy on {self.spec.name} met numbers that are not finite; their "
                f"processes' largest condition number is in the metric model/condition; use more random_steps"
            )
        value, policy = min(found, key=lambda one: one[0])
        imagined = _imagine(policy, known, *task)
        metrics = {
            "policy/expected_return": -value * self.config.horizon,
            "policy/evaluations": evaluations,
            "policy/dropped": dropped,
        }
        return policy, imagined, {name: jnp.asarray(x, jnp.float32) for name, x in metrics.items()}


def bucket(count: int, max_points: int) -> int:
    """Rows that `count` are padded to, so that few sizes are compiled: halves of `max_points`, or multiples of it."""
    if count > max_points:
        return -(-count // max_points) * max_points
    size = max_points
    while size // 2 >= max(count, 40):
        size //= 2
    return size


def search(value_and_grad: Any, start: np.ndarray, evaluations: int) -> tuple[np.ndarray | None, float, int]:
    """L-BFGS from `start`: the best point met, its value and the evaluations used; no point where the first failed.

    Where a value or gradient is not finite on the way, the line search is told of a value above all others and
    shortens its step.
    """
    best, least, highest, used = None, np.inf, np.inf, 0

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, least, highest, used
        used += 1
        value, gradient = (np.asarray(x) for x in value_and_grad(jnp.asarray(point)))
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            if best is None:
                raise FloatingPointError
            return highest, np.zeros_like(point)
        if best is None:
            highest = value + abs(value) + 1.0
        if value < least:
            best, least = point.copy(), float(value)
        return float(value), gradient

    try:
        minimize(evaluate, start, jac=True, method="L-BFGS-B", options={"maxfun": evaluations, "maxiter": evaluations})
    except FloatingPointError:
        return None, np.inf, used
    return best, least, used


@eqx.filter_jit
def _fit(learner: GPLearner, rows: Any, mask: Any, key: PRNGKeyArray) -> tuple[GPLearner, Metrics]:
    return learner.fit_rows(rows, jnp.asarray(mask), key=key)


@eqx.filter_jit
def _imagine(policy: AbstractSquashedPolicy, known: Any, spec: EnvSpec, reward: Any, horizon: int) -> Imagined:
    return imagine(policy, *known, spec=spec, reward=reward, horizon=horizon)


@eqx.filter_jit
def _value_and_grad(unravel: Any, known: Any, spec: EnvSpec, reward: Any, horizon: int, flat: Array):
    """Minus the mean expected reward per step, and its gradient as one vector."""

    def loss(flat: Array) -> Array:
        return -jnp.mean(imagine(unravel(flat), *known, spec=spec, reward=reward, horizon=horizon).reward)

    return jax.value_and_grad(loss)(flat)
