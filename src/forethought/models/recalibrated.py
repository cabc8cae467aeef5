"""A model whose predictions are stretched until its intervals hold what they say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractDistribution, AbstractModel
from ..diagnostics.calibration import Recalibration, score_of, stretch, stretched_moments
from ..diagnostics.open_loop import moments
from ..types import EnvSpec, Given, Prediction, pointwise


class Stretched(AbstractDistribution):
    """`centre + deviation * stretch(score)` for a standard normal score, in every dimension."""

    centre: Float[Array, "*batch obs"]
    deviation: Float[Array, "*batch obs"]  # zero: certain
    table: Float[Array, "obs knots"]

    def mean(self) -> Float[Array, "*batch obs"]:
        return self.centre + self.deviation * stretched_moments(self.table)[0]

    def variance(self) -> Float[Array, "*batch obs"]:
        return self.deviation**2 * stretched_moments(self.table)[1]

    def cdf(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        certain = self.deviation <= 0
        residual = (obs - self.centre) / jnp.where(certain, 1.0, self.deviation)
        below = jax.scipy.stats.norm.cdf(score_of(self.table, residual)[0])
        return jnp.where(certain, 0.5 * (1.0 + jnp.sign(obs - self.centre)), below)

    def log_density(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        score, slope = score_of(self.table, (obs - self.centre) / self.deviation)
        return jax.scipy.stats.norm.logpdf(score) - jnp.log(slope * self.deviation)

    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return self.log_density(obs).sum(-1)


class RecalibratedBelief(eqx.Module):
    """The belief of the model inside, and where its particles stand once stretched."""

    inner: PyTree  # leaves [particles, *batch, ...]
    obs: Float[Array, "particles *batch obs"]
    steps: Int[Array, "particles *batch"]  # imagined so far; all equal


class Recalibrated(AbstractModel[RecalibratedBelief]):
    """Any model, recalibrated: planners imagine in it as in the model itself.

    The model inside imagines as ever; of what it says of step h, a particle z mixture deviations from the mixture's
    mean is moved to the residual that has the rank of a standard normal z at horizon h. This matches moments: moved
    particles are distributed as `observation` where the mixture is about Gaussian, and keep its shape where it is not;
    the coverage that is measured is that of `observation` (see ADR 8). Reward and termination that are given are
    computed from where the particles then are; learned ones are the model's own. `observation` is the whole
    recalibrated distribution for every particle, so that the mixture over particles is it, too. A model with fewer
    particles than the recalibration was made of runs several times side by side.
    """

    model: AbstractModel
    recalibration: Recalibration
    spec: EnvSpec
    given: Given
    particles: int = eqx.field(static=True)  # of the model inside
    copies: int = eqx.field(static=True)  # of it that run side by side

    def __init__(
        self, model: AbstractModel, recalibration: Recalibration, spec: EnvSpec, *, given: Given | None = None
    ):
        """`given` are the functions that the model was given; None: reward and termination are the model's own.

        Raises ValueError if the recalibration is of other observations.
        """
        if recalibration.table.shape[1] != spec.obs_dim:
            raise ValueError(
                f"the recalibration is of {recalibration.table.shape[1]} observations, {spec.name} has "
                f"{spec.obs_dim}; recalibrate the model on episodes of {spec.name}"
            )
        blank = jnp.zeros(spec.obs_dim)
        belief = jax.eval_shape(lambda key: model.init(blank, key=key), jr.key(0))
        self.model, self.recalibration, self.spec = model, recalibration, spec
        self.given = Given() if given is None else Given(given.reward, given.termination)
        self.particles = jax.tree.leaves(belief)[0].shape[0]
        self.copies = -(-recalibration.particles // self.particles)

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> RecalibratedBelief:
        if self.copies == 1:
            inner = self.model.init(obs, key=key)
        else:
            inner = _flat(jax.vmap(lambda k: self.model.init(obs, key=k))(jr.split(key, self.copies)))
        n = self.copies * self.particles
        return RecalibratedBelief(inner, jnp.broadcast_to(obs, (n, *obs.shape)), jnp.zeros(n, jnp.int32))

    def step(
        self, belief: RecalibratedBelief, action: Array, *, key: PRNGKeyArray
    ) -> tuple[RecalibratedBelief, Prediction]:
        inner, said, stood = self._moved(belief.inner, action, key=key)
        steps = belief.steps + 1
        where = self._stretched(inner, steps)
        away = self.spec.difference(stood, where.centre)
        residual = stretch(where.table, away / where.deviation)
        obs = where.centre + where.deviation * residual
        reward, continuation = said.reward, said.continuation
        if self.given.reward is not None:
            reward = pointwise(self.given.reward, self.spec.action)(belief.obs, action, obs)
        if self.given.termination is not None:
            ended = pointwise(self.given.termination, self.spec.action)(belief.obs, action, obs)
            continuation = 1.0 - ended.astype(jnp.float32)
        return RecalibratedBelief(inner, obs, steps), Prediction(reward, continuation, said.extras)

    def observation(self, belief: RecalibratedBelief) -> Stretched | None:
        if self.model.observation(belief.inner) is None:
            return None
        one = self._stretched(belief.inner, belief.steps)
        shape = belief.obs.shape
        return Stretched(jnp.broadcast_to(one.centre, shape), jnp.broadcast_to(one.deviation, shape), one.table)

    def drawn(self, belief: RecalibratedBelief) -> Float[Array, "particles *batch obs"]:
        return belief.obs

    def _seen(self, inner: PyTree) -> AbstractDistribution:
        seen = self.model.observation(inner)
        if seen is None:
            raise ValueError(f"{type(self.model).__name__} does not say what would be seen; it cannot be recalibrated")
        return seen

    def _stretched(self, inner: PyTree, steps: Int[Array, "particles *batch"]) -> Stretched:
        """What would be seen, `[*batch]` without the particles; before any step it is certain."""
        step = steps.reshape(-1)[0]
        row = jnp.clip(step - 1, 0, self.recalibration.horizon - 1)
        seen = self._seen(inner)
        centre, variance = moments(seen.mean(), seen.variance(), self.spec)
        deviation = jnp.sqrt(variance + self.recalibration.floor[row] ** 2)
        return Stretched(centre, jnp.where(step > 0, deviation, 0.0), self.recalibration.table[row])

    def _moved(self, inner: PyTree, action: Array, *, key: PRNGKeyArray) -> tuple[PyTree, Prediction, Array]:
        """One step of the model inside, and where each of its particles then stands; drawn here if it cannot say."""
        # The key as it is where nothing is drawn here: then the luck is the same as without recalibration.
        step_key, draw_key = jr.split(key) if self.model.drawn(inner) is None else (key, key)
        inner, said = self._inner_step(inner, action, key=step_key)
        stood = self.model.drawn(inner)
        if stood is None:
            seen = self._seen(inner)
            mean = seen.mean()
            stood = mean + jnp.sqrt(seen.variance()) * jr.normal(draw_key, mean.shape)
        return inner, said, stood

    def _inner_step(self, inner: PyTree, action: Array, *, key: PRNGKeyArray) -> tuple[PyTree, Prediction]:
        if self.copies == 1:
            return self.model.step(inner, action, key=key)
        apart = lambda tree: jax.tree.map(lambda x: x.reshape(self.copies, self.particles, *x.shape[1:]), tree)
        move = jax.vmap(lambda b, a, k: self.model.step(b, a, key=k))
        return _flat(move(apart(inner), apart(action), jr.split(key, self.copies)))


def _flat(tree: PyTree) -> PyTree:
    """Leaves `[copies, particles, ...]` as `[copies * particles, ...]`."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
