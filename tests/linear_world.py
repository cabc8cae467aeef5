"""A linear world with Gaussian noise, whose errors have closed forms, and models of it that err on purpose."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from forethought.core import AbstractDistribution, AbstractModel
from forethought.types import Box, EnvSpec, Prediction, Transition

TRUE = np.array([[0.95, 0.1], [-0.1, 0.9]])
PUSH = np.array([0.0, 0.3])
NOISE = 0.2
SPEC = EnvSpec("linear", 2, Box((-1.0,), (1.0,)))
ONE = EnvSpec("one", 1, Box((-1.0,), (1.0,)))


class Normal(AbstractDistribution):
    loc: jax.Array
    var: jax.Array

    def mean(self):
        return self.loc

    def variance(self):
        return self.var

    def log_prob(self, obs):
        return self.log_density(obs).sum(-1)


class Linear(AbstractModel):
    """x' = matrix x + push a + noise; the reward is the first number of x'."""

    matrix: jax.Array
    noise: float
    particles: int = eqx.field(static=True, default=25)
    continuation: float = 1.0
    speaks: bool = eqx.field(static=True, default=True)

    def init(self, obs, *, key):
        obs = jnp.broadcast_to(obs, (self.particles, *obs.shape))
        return obs, Normal(obs, jnp.zeros_like(obs))

    def step(self, belief, action, *, key):
        mean = belief[0] @ jnp.asarray(self.matrix, jnp.float32).T + jnp.asarray(PUSH, jnp.float32) * action
        obs = mean + self.noise * jr.normal(key, mean.shape)
        seen = Normal(mean, jnp.full_like(mean, self.noise**2))
        return (obs, seen), Prediction(obs[..., 0], jnp.full(obs.shape[:-1], self.continuation))

    def observation(self, belief):
        return belief[1] if self.speaks else None

    def drawn(self, belief):
        return belief[0]


class Exact(AbstractModel):
    """One particle that carries the mean and covariance of the true world: no sampling error at any horizon."""

    def init(self, obs, *, key):
        return obs[None], jnp.zeros((1, 2, 2))

    def step(self, belief, action, *, key):
        matrix = jnp.asarray(TRUE, jnp.float32)
        mean = belief[0] @ matrix.T + jnp.asarray(PUSH, jnp.float32) * action
        covariance = matrix @ belief[1] @ matrix.T + NOISE**2 * jnp.eye(2)
        return (mean, covariance), Prediction(mean[..., 0], jnp.ones(mean.shape[:-1]))

    def observation(self, belief):
        return Normal(belief[0], jnp.diagonal(belief[1], axis1=-2, axis2=-1))


class Still(AbstractModel):
    """Nothing ever changes; the reward and the probability of going on are as given."""

    continuation: float = 1.0
    reward: float = 0.0

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        lead = belief.shape[:-1]
        return belief, Prediction(jnp.full(lead, self.reward), jnp.full(lead, self.continuation))

    def observation(self, belief):
        return Normal(belief, jnp.zeros_like(belief))


@functools.cache
def linear_episodes(seed: int = 0, num: int = 200, steps: int = 30) -> Transition:
    """`num` episodes of the true world under uniform actions."""

    def step(obs, key):
        act_key, noise_key = jr.split(key)
        action = jr.uniform(act_key, (1,), minval=-1, maxval=1)
        next_obs = jnp.asarray(TRUE) @ obs + jnp.asarray(PUSH) * action + NOISE * jr.normal(noise_key, (2,))
        no = jnp.array(False)
        return next_obs, Transition(obs, action, next_obs[0], next_obs, no, no)

    run = lambda key: jax.lax.scan(step, jr.normal(key, (2,)), jr.split(key, steps))[1]
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(jr.split(jr.key(seed), num)))


def closed_form_variance(horizon: int) -> np.ndarray:
    """Variance of x[h] given x[0], per horizon and dimension: sum of A^i A^i' noise^2."""
    power, total, found = np.eye(2), np.zeros((2, 2)), []
    for _ in range(horizon):
        total = total + power @ power.T * NOISE**2
        power = power @ TRUE
        found.append(np.diag(total))
    return np.array(found)


def episodes_of(*rows: list[float], terminated: tuple[bool, ...] = (), reward: float = 0.0) -> Transition:
    """Episodes of a one-dimensional task through the given observations, padded with NaN behind their ends.

    `terminated` says whose last step terminates; the others are truncated there.
    """
    longest = max(len(row) for row in rows) - 1
    data = {name: np.full((len(rows), longest), np.nan, np.float32) for name in ("obs", "next_obs", "reward")}
    ended = np.zeros((2, len(rows), longest), bool)
    for i, row in enumerate(rows):
        n = len(row) - 1
        data["obs"][i, :n], data["next_obs"][i, :n], data["reward"][i, :n] = row[:-1], row[1:], reward
        ended[0 if terminated and terminated[i] else 1, i, n - 1] = True
    return Transition(
        data["obs"][..., None],
        np.zeros((len(rows), longest, 1), np.float32),
        data["reward"],
        data["next_obs"][..., None],
        *ended,
    )
