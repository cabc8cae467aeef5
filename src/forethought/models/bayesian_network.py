"""Bayesian neural network: a Gaussian network with a last-layer Laplace posterior and a noise of its own.

The last layer of the mean is a Bayesian linear regression on the features below it, so its Laplace posterior is exact
given these: precision = prior + sum of phi phi^T / sigma^2(x) (MacKay 1992, "A practical Bayesian framework for
backpropagation networks"; last layer: Snoek et al. 2015, "Scalable Bayesian optimization using deep neural networks";
Daxberger et al. 2021, "Laplace redux"). A second network says the noise sigma^2(x). Deviations:
- a network that follows its data leaves residuals below the noise. After the gradient steps the noise is fitted again
  by expectation maximisation: to the expected squared residual under the posterior, r^2 + phi^T Sigma phi;
- the prior's precision is the number of features over `prior_scale`^2, not fitted to the evidence;
- the features are a point estimate, and so is the logit of a termination that is learned. Their weights' prior has the
  precision 1 / `prior_scale`^2: with that of the last layer, MAP estimates of wide networks would ignore their data.
"""

from typing import NamedTuple, Self, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core import AbstractLearner
from ..fit import AbstractFittable, GradientLearner, adam
from ..networks.distributions import DiagonalNormal
from ..networks.layers import Linear
from ..networks.normaliser import Normaliser
from ..types import EnvSpec, Given, Metrics, Prediction, Transition, pointwise


class Layers(eqx.Module):
    """Linear layers with a swish behind each but, unless `open_end`, the last."""

    layers: list[Linear]
    open_end: bool = eqx.field(static=True)

    def __init__(self, sizes: list[int], *, open_end: bool, key: PRNGKeyArray):
        keys = jr.split(key, len(sizes))
        self.layers = [Linear(i, o, key=k) for i, o, k in zip(sizes[:-1], sizes[1:], keys)]
        self.open_end = open_end

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if not self.open_end or i < len(self.layers) - 1:
                x = jax.nn.silu(x)
        return x

    def squares(self) -> Float[Array, ""]:
        """Sum of the squared weights."""
        return sum((jnp.sum(x.weight**2) for x in self.layers), jnp.zeros(()))


class Examples(NamedTuple):
    """What the network is shown and what it is to say."""

    inputs: Float[Array, "*batch inputs"]
    targets: Float[Array, "*batch targets"]
    terminated: Bool[Array, "*batch"]


class NetworkBelief(eqx.Module):
    """Where each particle is, and the Gaussian that it was drawn from."""

    obs: Float[Array, "particles *batch obs"]
    mean: Float[Array, "particles *batch obs"]
    variance: Float[Array, "particles *batch obs"]


class BayesianNetwork(AbstractFittable):
    """Predicts the change of the observation, and where they are not given the reward and the end of the episode.

    Each particle keeps a last layer of its own, drawn from the posterior when it was fitted, along all it imagines, and
    draws its own noise, one for all candidates of a plan. `predictive` has both uncertainties in closed form.
    """

    trunk: Layers
    noise: Layers
    stop: Linear
    weight: Float[Array, "targets features"]  # of the last layer; the features' last is 1
    factor: Float[Array, "targets features features"]  # lower Cholesky factor of the posterior precision
    draws: Float[Array, "particles targets features"]
    inputs: Normaliser
    targets: Normaliser
    min_logvar: Float[Array, " targets"]  # learned soft bounds, in normalised units
    max_logvar: Float[Array, " targets"]
    count: Float[Array, ""]  # rows that the normalisers saw: what the prior is weighed against
    spec: EnvSpec
    given: Given
    particles: int = eqx.field(static=True)
    prior_scale: float = eqx.field(static=True)
    num_members: int = eqx.field(static=True)

    def __init__(
        self,
        spec: EnvSpec,
        *,
        given: Given,
        hidden: tuple[int, ...] = (64, 64),
        particles: int = 10,
        prior_scale: float = 1.0,
        key: PRNGKeyArray,
    ):
        """`prior_scale` is about how far outputs may be from their mean before any data, in deviations of the targets.

        Raises ValueError for sizes below 1.
        """
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden={hidden} must hold at least one width, each at least 1")
        if particles < 1 or not 0 < prior_scale < float("inf"):
            raise ValueError(f"particles={particles} must be at least 1 and prior_scale={prior_scale} above 0")
        sizes, size = [spec.feature_dim + spec.action.feature_dim, *hidden], hidden[-1] + 1
        outputs = spec.obs_dim + (given.reward is None)
        keys = jr.split(key, 4)
        self.trunk = Layers(sizes, open_end=False, key=keys[0])
        self.noise = Layers([*sizes, outputs], open_end=True, key=keys[1])
        self.stop = Linear(hidden[-1], 1, key=keys[2])
        self.weight = 0.1 * jr.normal(keys[3], (outputs, size)) / size**0.5
        self.prior_scale = prior_scale
        self.factor = jnp.broadcast_to(self.prior_precision**0.5 * jnp.eye(size), (outputs, size, size))
        self.draws = jnp.broadcast_to(self.weight, (particles, outputs, size))
        self.inputs, self.targets = Normaliser.identity(sizes[0]), Normaliser.identity(outputs)
        self.min_logvar, self.max_logvar = jnp.full(outputs, -10.0), jnp.full(outputs, 0.5)
        self.count = jnp.ones(())
        self.spec, self.given = spec, Given(given.reward, given.termination)
        self.particles, self.num_members = particles, 1

    # ---- prediction

    @property
    def prior_precision(self) -> float:
        """Of the last layer's weights."""
        return (self.weight.shape[1] - 1) / self.prior_scale**2

    def features(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """What the last layer sees of normalised inputs; the last is 1."""
        phi = self.trunk(x)
        return jnp.concatenate([phi, jnp.ones_like(phi[..., :1])], -1)

    def logvar(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch targets"]:
        """Logarithm of the noise's variance, in normalised units, softly bounded as the ensemble's."""
        below = self.max_logvar - jax.nn.softplus(self.max_logvar - self.noise(x))
        return self.min_logvar + jax.nn.softplus(below - self.min_logvar)

    def doubt(self, phi: Float[Array, "*batch features"]) -> Float[Array, "*batch targets"]:
        """phi^T Sigma phi: variance of the mean under the posterior, in normalised units."""
        flat = phi.reshape(-1, phi.shape[-1]).T
        back = jax.vmap(lambda factor: jnp.sum(solve_triangular(factor, flat, lower=True) ** 2, 0))(self.factor)
        return back.T.reshape(*phi.shape[:-1], -1)

    def encode(self, obs: Float[Array, "*batch obs"], action: Array) -> Float[Array, "*batch inputs"]:
        """Normalised network inputs."""
        return self.inputs(jnp.concatenate([self.spec.features(obs), self.spec.action.features(action)], -1))

    def predictive(self, obs: Float[Array, "*batch obs"], action: Array) -> DiagonalNormal:
        """The next observation, noise and doubt together, in closed form."""
        x = self.encode(obs, action)
        phi, size = self.features(x), self.spec.obs_dim
        mean, variance = phi @ self.weight.T, jnp.exp(self.logvar(x)) + self.doubt(phi)
        mean, variance = self.targets.inverse(mean), variance * self.targets.scale**2
        return DiagonalNormal(obs + mean[..., :size], variance[..., :size])

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> NetworkBelief:
        obs = jnp.broadcast_to(obs, (self.particles, *obs.shape))
        return NetworkBelief(obs, obs, jnp.zeros_like(obs))

    def step(self, belief: NetworkBelief, action: Array, *, key: PRNGKeyArray) -> tuple[NetworkBelief, Prediction]:
        obs, size = belief.obs, self.spec.obs_dim
        x = self.encode(obs, action)
        phi = self.features(x)
        mean = self.targets.inverse(jnp.einsum("p...f,ptf->p...t", phi, self.draws))
        variance = jnp.exp(self.logvar(x)) * self.targets.scale**2
        luck = jr.normal(key, (self.particles, *[1] * (mean.ndim - 2), mean.shape[-1]))
        drawn = mean + jnp.sqrt(variance) * luck
        next_obs = obs + drawn[..., :size]
        if self.given.reward is None:
            reward = drawn[..., size]
        else:
            reward = pointwise(self.given.reward, self.spec.action)(obs, action, next_obs)
        if self.given.termination is None:
            stop = jax.nn.sigmoid(self.stop(phi[..., :-1])[..., 0])
        else:
            stop = pointwise(self.given.termination, self.spec.action)(obs, action, next_obs).astype(jnp.float32)
        return NetworkBelief(next_obs, obs + mean[..., :size], variance[..., :size]), Prediction(reward, 1.0 - stop)

    def observation(self, belief: NetworkBelief) -> DiagonalNormal:
        return DiagonalNormal(belief.mean, belief.variance)

    def drawn(self, belief: NetworkBelief) -> Float[Array, "particles *batch obs"]:
        return belief.obs

    # ---- fitting by gradient steps (called by fit.GradientLearner)

    def target(self, data: Transition) -> Float[Array, "*batch targets"]:
        """Change of the observation, then the reward if learned, in their own units."""
        delta = self.spec.difference(data.next_obs, data.obs)
        return delta if self.given.reward is not None else jnp.concatenate([delta, data.reward[..., None]], -1)

    def normalised(self, data: Transition, mask: Bool[Array, " n"]) -> Self:
        """With input and target statistics, and the number, of the rows of `data` where `mask`."""
        x = jnp.concatenate([self.spec.features(data.obs), self.spec.action.features(data.action)], -1)
        new = (Normaliser.of(x, mask), Normaliser.of(self.target(data), mask), jnp.sum(mask).astype(jnp.float32))
        return eqx.tree_at(lambda m: (m.inputs, m.targets, m.count), self, new)

    def examples(self, data: Transition) -> Examples:
        """Normalised inputs and targets of transitions."""
        return Examples(self.encode(data.obs, data.action), self.targets(self.target(data)), data.terminated)

    def losses(self, batch: Examples) -> tuple[Float[Array, " members"], Float[Array, " members"]]:
        """Mean of `(mean - y)^2 exp(-logvar) + logvar`, and squared error; leaves of `batch` are `[1, n, ...]`."""
        phi, logvar = self.features(batch.inputs), self.logvar(batch.inputs)
        square = (phi @ self.weight.T - batch.targets) ** 2
        loss = jnp.mean(square * jnp.exp(-logvar) + logvar, (1, 2))
        if self.given.termination is None:
            logit = self.stop(phi[..., :-1])[..., 0]
            loss = loss + jnp.mean(jax.nn.softplus(logit) - batch.terminated * logit, 1)
        return loss, jnp.mean(square, (1, 2))

    def regulariser(self) -> Float[Array, ""]:
        """The prior's part in the mean loss, and what draws the bounds of the log-variance together."""
        last = self.prior_precision * jnp.sum(self.weight[:, :-1] ** 2)
        share = jax.lax.stop_gradient(jnp.maximum(self.count, 1.0) * self.weight.shape[0])
        below = (self.trunk.squares() + self.noise.squares()) / self.prior_scale**2
        prior = (last + below) / share
        return prior + 0.01 * (jnp.sum(self.max_logvar) - jnp.sum(self.min_logvar))

    def keep(self, better: Bool[Array, " members"], other: Self) -> Self:
        """This model where `better`, else `other`."""
        new, static = eqx.partition(self, eqx.is_array)
        old = eqx.filter(other, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda n, o: jnp.where(better[0], n, o), new, old), static)

    def with_elites(self, error: Float[Array, " members"]) -> Self:
        """Itself: there is one network."""
        return self

    # ---- the posterior

    def with_posterior(self, data: Examples, mask: Bool[Array, " n"]) -> Self:
        """With the posterior of the last layer given features and noise: mean and precision in closed form."""
        phi = jnp.where(mask[:, None], self.features(data.inputs), 0.0)
        y = jnp.where(mask[:, None], data.targets, 0.0)
        weigh = jnp.where(mask[:, None], jnp.exp(-self.logvar(data.inputs)), 0.0)
        # The bias is free: its prior is a thousandth of that of the other weights.
        prior = self.prior_precision * jnp.ones(phi.shape[1]).at[-1].set(1e-3)

        def one(weigh: Float[Array, " n"], y: Float[Array, " n"]) -> tuple[Array, Array]:
            precision = (phi * weigh[:, None]).T @ phi + jnp.diag(prior)
            # What float32 cannot tell from singular counts as known that well.
            precision = precision + 1e-6 * jnp.mean(jnp.diagonal(precision)) * jnp.eye(len(prior))
            factor = jnp.linalg.cholesky(precision)
            return factor, cho_solve((factor, True), phi.T @ (weigh * y))

        factor, weight = jax.vmap(one, in_axes=1)(weigh, y)
        return eqx.tree_at(lambda m: (m.factor, m.weight), self, (factor, weight))

    def with_draws(self, key: PRNGKeyArray) -> Self:
        """With a last layer for each particle, drawn from the posterior."""
        luck = jr.normal(key, self.draws.shape)
        away = jax.vmap(lambda f, z: solve_triangular(f, z.T, lower=True, trans=1).T, (0, 1), 1)(self.factor, luck)
        return eqx.tree_at(lambda m: m.draws, self, self.weight + away)


class LaplaceLearner(AbstractLearner):
    """Gradient steps on all weights, then the posterior and its noise in turn (expectation maximisation).

    Each of `rounds` takes the posterior in closed form and then `noise_steps` Adam steps on the noise alone.
    """

    gradient: GradientLearner
    rounds: int = eqx.field(static=True)
    noise_steps: int = eqx.field(static=True)

    def __init__(self, gradient: GradientLearner, *, rounds: int = 20, noise_steps: int = 500):
        """Raises ValueError unless `gradient` fits a BayesianNetwork; `rounds` 0 leaves the noise as it was."""
        if not isinstance(gradient.model, BayesianNetwork):
            raise ValueError(f"LaplaceLearner fits a BayesianNetwork, got {type(gradient.model).__name__}")
        if rounds < 0 or noise_steps < 1:
            raise ValueError(f"rounds={rounds} must be at least 0 and noise_steps={noise_steps} at least 1")
        self.gradient, self.rounds, self.noise_steps = gradient, rounds, noise_steps

    @property
    def model(self) -> BayesianNetwork:
        return cast(BayesianNetwork, self.gradient.model)  # as the constructor has checked

    def fit(self, replay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        fit_key, noise_key, draw_key = jr.split(key, 3)
        gradient, metrics = self.gradient.fit(replay, key=fit_key)
        rows, mask = replay.rows()
        model = cast(BayesianNetwork, gradient.model)
        data = model.examples(rows)
        model = model.with_posterior(data, mask)
        dynamic, static = eqx.partition(model, eqx.is_array)

        def one_round(i: Array, dynamic: BayesianNetwork) -> BayesianNetwork:
            model = self._with_noise(eqx.combine(dynamic, static), data, mask, key=jr.fold_in(noise_key, i))
            return eqx.filter(model.with_posterior(data, mask), eqx.is_array)

        model = eqx.combine(jax.lax.fori_loop(0, self.rounds, one_round, dynamic), static)
        metrics["model/doubt"] = jnp.sum(
            jnp.where(mask[:, None], model.doubt(model.features(data.inputs)), 0.0)
        ) / jnp.maximum(jnp.sum(mask) * model.weight.shape[0], 1)
        return eqx.tree_at(lambda s: s.gradient.model, self, model.with_draws(draw_key)), metrics

    def _with_noise(
        self, model: BayesianNetwork, data: Examples, mask: Bool[Array, " n"], *, key: PRNGKeyArray
    ) -> BayesianNetwork:
        """With the noise fitted to the expected squared residual under the posterior, by minibatches."""
        phi = model.features(data.inputs)
        square = (phi @ model.weight.T - data.targets) ** 2 + model.doubt(phi)
        used = jnp.argsort(~mask, stable=True)
        size, batch = jnp.maximum(jnp.sum(mask), 1), 4 * self.gradient.batch_size
        parts = lambda m: (m.noise, m.min_logvar, m.max_logvar)
        optimiser = adam(self.gradient.learning_rate)

        def loss(part: tuple, rows: Array) -> Array:
            other = eqx.tree_at(parts, model, part)
            logvar = other.logvar(data.inputs[rows])
            return jnp.mean(square[rows] * jnp.exp(-logvar) + logvar) + other.regulariser()

        def step(i: Array, carry: tuple) -> tuple:
            part, state = carry
            rows = used[jr.randint(jr.fold_in(key, i), (batch,), 0, size)]
            updates, state = optimiser.update(jax.grad(loss)(part, rows), state)
            return eqx.apply_updates(part, updates), state

        part = parts(model)
        end, _ = jax.lax.fori_loop(0, self.noise_steps, step, (part, optimiser.init(part)))
        return eqx.tree_at(parts, model, end)
