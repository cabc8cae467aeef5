"""What is imagined in: distributions, models, and models that filter."""

import abc
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import Moves, Prediction

Belief = TypeVar("Belief")


class AbstractDistribution(eqx.Module):
    """What a model expects to see: a diagonal distribution over observations."""

    @abc.abstractmethod
    def mean(self) -> Float[Array, "*batch obs"]:
        """Expected observation."""

    @abc.abstractmethod
    def variance(self) -> Float[Array, "*batch obs"]:
        """Variance of each dimension."""

    @abc.abstractmethod
    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """Log-density, summed over dimensions."""

    def cdf(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """Distribution function of each dimension: Gaussian, unless a distribution says otherwise.

        A variance of zero is a step, one half exactly on it.
        """
        away, variance = obs - self.mean(), self.variance()
        certain = variance <= 0
        spread = jnp.sqrt(jnp.where(certain, 1.0, variance))
        return jnp.where(certain, 0.5 * (1.0 + jnp.sign(away)), jax.scipy.stats.norm.cdf(away / spread))

    def log_density(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """Log-density of each dimension: Gaussian, unless a distribution says otherwise."""
        variance = self.variance()
        return -0.5 * ((obs - self.mean()) ** 2 / variance + jnp.log(2 * jnp.pi * variance))


class AbstractModel(eqx.Module, Generic[Belief]):
    """A world to imagine in.

    Every leaf of a belief has a leading axis `[particles, ...]` (1 for a model without particles). `step` must
    accept further batch axes behind it, `[particles, *batch, ...]`: planners put their candidates there.
    """

    @abc.abstractmethod
    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> Belief:
        """The belief after seeing `obs` at the start of an imagined trajectory; leaves `[particles, ...]`."""

    @abc.abstractmethod
    def step(self, belief: Belief, action: Array, *, key: PRNGKeyArray) -> tuple[Belief, Prediction]:
        """One imagined step; `action` is `[particles, *batch, *action]`."""

    def step_alike(self, belief: Belief, action: Array, *, key: PRNGKeyArray) -> tuple[Belief, Prediction]:
        """As `step` for `[particles, candidates, ...]`, where all candidates of a particle meet the same luck.

        A model may override it to be faster than candidates one by one.
        """
        one = lambda belief, action: self.step(belief, action, key=key)
        return jax.vmap(one, in_axes=1, out_axes=1)(belief, action)

    @abc.abstractmethod
    def observation(self, belief: Belief) -> AbstractDistribution | None:
        """What would be seen now, with batch axes `[particles, *batch]`; None if the model cannot say.

        After `step`, a probabilistic model answers with the distribution that the step drew from.
        """

    def drawn(self, belief: Belief) -> Float[Array, "particles *batch obs"] | None:
        """Where each particle stands: what was drawn from `observation`. None where a belief holds no observation."""
        return None

    def certain(self) -> "AbstractModel[Belief] | None":
        """The same model without chance, with one particle that follows the means; None where there is none."""
        return None

    def moves(self, belief: Belief) -> Moves | None:
        """Legal actions and whose turn it is, `[particles, *batch, ...]`; None: all are legal, and one player acts."""
        return None


class AbstractFilter(AbstractModel[Belief]):
    """A model whose belief takes in real observations as they come."""

    @abc.abstractmethod
    def observe(self, belief: Belief, action: Array, obs: Array, *, key: PRNGKeyArray) -> Belief:
        """The belief after taking `action` and then seeing `obs`."""
