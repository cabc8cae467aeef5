"""Linear-Gaussian dynamics, `x' = F [x; u] + f + noise` with a full covariance, fixed or one for every time step."""

from typing import Self, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractLearner, AbstractModel, AbstractReplay
from ..networks.distributions import FullNormal
from ..types import Box, EnvSpec, Given, Metrics, Prediction, RewardFunction, pointwise


class LinearGaussianBelief(eqx.Module):
    """Where each particle is, the Gaussian that it was drawn from, and the time step."""

    obs: Float[Array, "particles *batch obs"]
    mean: Float[Array, "particles *batch obs"]
    cov: Float[Array, "particles *batch obs obs"]
    time: Int[Array, "particles *batch"]  # steps since `init`


class LinearGaussian(AbstractModel[LinearGaussianBelief]):
    """`x' ~ N(F[t] [x; u] + f[t], cov[t])`. Time-invariant where there is one time step; past the last, the last holds.

    With `noisy` off a step goes to the mean. Termination is never, unless given. Raises ValueError for shapes that do
    not fit, for discrete actions, and where the reward is not given.
    """

    F: Float[Array, "time obs obs+action"]
    f: Float[Array, "time obs"]
    cov: Float[Array, "time obs obs"]
    given: Given
    spec: EnvSpec
    particles: int = eqx.field(static=True, default=1)
    noisy: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if not isinstance(self.spec.action, Box):
            raise ValueError("a linear model needs continuous actions (Box), got Discrete")
        if self.given.reward is None:
            raise ValueError("a linear model predicts no reward; give one: a function of (obs, action, next_obs)")
        size, actions = self.spec.obs_dim, self.spec.action.feature_dim
        wanted = (len(self.F), size, size + actions), (len(self.F), size), (len(self.F), size, size)
        if (got := (self.F.shape, self.f.shape, self.cov.shape)) != wanted or not len(self.F):
            raise ValueError(f"shapes of F, f, cov={got} must be {wanted}, time first and at least one step")

    @classmethod
    def still(cls, spec: EnvSpec, given: Given, *, noisy: bool = True) -> Self:
        """A time-invariant model in which nothing moves, before any data."""
        actions = spec.action.feature_dim
        F = jnp.concatenate([jnp.eye(spec.obs_dim), jnp.zeros((spec.obs_dim, actions))], 1)
        given = Given(given.reward, given.termination)
        return cls(F[None], jnp.zeros((1, spec.obs_dim)), jnp.eye(spec.obs_dim)[None], given, spec, noisy=noisy)

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> LinearGaussianBelief:
        obs = jnp.broadcast_to(obs, (self.particles, *obs.shape))
        cov = jnp.zeros((*obs.shape, obs.shape[-1]), obs.dtype)
        return LinearGaussianBelief(obs, obs, cov, jnp.zeros(self.particles, jnp.int32))

    def step(
        self, belief: LinearGaussianBelief, action: Array, *, key: PRNGKeyArray
    ) -> tuple[LinearGaussianBelief, Prediction]:
        lead = action.shape[:-1]
        obs = jnp.broadcast_to(belief.obs, (*lead, self.spec.obs_dim))
        now = belief.time.reshape(belief.time.shape + (1,) * (len(lead) - belief.time.ndim))
        now = jnp.broadcast_to(now, lead)
        at = jnp.minimum(now, len(self.F) - 1)
        mean = jnp.einsum("...ij,...j->...i", self.F[at], jnp.concatenate([obs, action], -1)) + self.f[at]
        cov, next_obs = self.cov[at], mean
        if self.noisy:
            # Roots of all time steps at once: singular covariances have one too, which Cholesky would refuse.
            next_obs = mean + jnp.einsum("...ij,...j->...i", square_root(self.cov)[at], jr.normal(key, mean.shape))
        reward = pointwise(cast(RewardFunction, self.given.reward), self.spec.action)(obs, action, next_obs)
        go_on = jnp.ones_like(reward)
        if self.given.termination is not None:
            go_on = 1.0 - pointwise(self.given.termination, self.spec.action)(obs, action, next_obs).astype(go_on.dtype)
        return LinearGaussianBelief(next_obs, mean, cov, now + 1), Prediction(reward, go_on)

    def observation(self, belief: LinearGaussianBelief) -> FullNormal:
        return FullNormal(belief.mean, belief.cov)

    def drawn(self, belief: LinearGaussianBelief) -> Float[Array, "particles *batch obs"]:
        return belief.obs


def square_root(cov: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The symmetric square root of a covariance that may be singular."""
    values, vectors = jnp.linalg.eigh(cov)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)


class LinearGaussianLearner(AbstractLearner):
    """A time-invariant model, fitted to all transitions by least squares; `ridge` is relative to their spread."""

    model: LinearGaussian
    ridge: float = eqx.field(static=True, default=1e-6)

    def fit(self, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        rows, in_use = replay.rows()
        weight = in_use[:, None]
        inputs = jnp.where(weight, jnp.concatenate([rows.obs, rows.action], -1), 0.0)
        outputs = jnp.where(weight, rows.next_obs, 0.0)
        count = jnp.maximum(jnp.sum(in_use), 1)
        centre, target = jnp.sum(inputs, 0) / count, jnp.sum(outputs, 0) / count
        x, y = jnp.where(weight, inputs - centre, 0.0), jnp.where(weight, outputs - target, 0.0)
        scale = jnp.sqrt(jnp.sum(x**2, 0) / count)
        scale = jnp.where(scale > 1e-6 * (1 + jnp.abs(centre)), scale, 1.0)
        x = x / scale
        gram = x.T @ x / count + self.ridge * jnp.eye(x.shape[1])
        F = jax.scipy.linalg.solve(gram, x.T @ y / count, assume_a="pos").T
        error = y - x @ F.T
        F = F / scale
        freedom = jnp.maximum(count - x.shape[1] - 1, 1)
        cov = error.T @ error / freedom
        fitted = (F[None], (target - F @ centre)[None], cov[None])
        model = eqx.tree_at(lambda m: (m.F, m.f, m.cov), self.model, fitted)
        return eqx.tree_at(lambda s: s.model, self, model), {"model/loss": jnp.trace(cov)}
