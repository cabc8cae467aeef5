"""iCEM: the cross-entropy method with coloured noise and elites that live on."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractModel, AbstractRefiningPlanner
from ..presets.parts import PlannerConfig
from ..types import ActionSpace
from . import checks
from .plan import SequencePlan, unknown_value
from .rollout import rollout
from .sequences import Sequences, centre, shifted, start


class ICEMWarm(eqx.Module):
    """Where the next search starts."""

    sequences: Sequences
    kept: Array  # [kept, horizon, *action]: the best elites, moved one step on
    has_kept: Bool[Array, ""]  # False before the first search of an episode


class ICEMSearch(eqx.Module):
    """A search under way."""

    sequences: Sequences  # what the next population is drawn from
    kept: Array  # [kept, horizon, *action]: the best elites of the last iteration
    has_kept: Bool[Array, ""]
    iteration: Int[Array, ""]  # refinements so far
    actions: Array  # [horizon, *action]: the best candidate so far
    value: Float[Array, ""]  # its return; -inf before the first


class ICEM(AbstractRefiningPlanner[SequencePlan[ICEMWarm], ICEMSearch]):
    """CEM that explores with coloured noise, keeps elites between iterations and calls, executes the best.

    Source: Pinneri et al. 2020 (iCEM). `beta` is the exponent of the noise's spectrum, `keep_fraction` the
    share of elites that joins the next population (and, one step on with a random last action, the next
    call's first); the mean joins the last iteration's population; samples are clipped to the bounds.
    Deviations: the population does not decay over the iterations (every refinement costs the same, so that a
    deadline can cut anywhere), kept elites are imagined anew at every iteration, the momentum acts on the
    variance where theirs acts on the standard deviation, and candidates without a finite return are left out
    of the elites. Discrete actions use categorical distributions, to which `beta` does not matter. Raises
    ValueError for sizes below 1, more elites than population, a negative `beta` and bad fractions.
    """

    action: ActionSpace
    horizon: int = eqx.field(static=True)
    population: int = eqx.field(static=True)
    elites: int = eqx.field(static=True, default=10)
    iterations: int = eqx.field(static=True, default=3)
    beta: float = eqx.field(static=True, default=2.0)  # 0: white noise, 2: Brownian
    keep_fraction: float = eqx.field(static=True, default=0.3)  # of the elites
    momentum: float = eqx.field(static=True, default=0.1)  # share of the OLD mean and variance
    initial_std: float = eqx.field(static=True, default=0.25)  # fraction of the range; Box only
    warm_start: bool = eqx.field(static=True, default=True)
    discount: float = eqx.field(static=True, default=1.0)
    common_noise: bool = eqx.field(static=True, default=False)  # candidates meet the same luck, as `rollout` says

    def __check_init__(self) -> None:
        for name in ("horizon", "population", "elites", "iterations"):
            checks.whole_number(name, getattr(self, name))
        checks.at_most("elites", self.elites, "population", self.population)
        checks.not_negative("beta", self.beta)
        checks.fraction("keep_fraction", self.keep_fraction, one=False)
        checks.fraction("momentum", self.momentum, one=False)
        checks.positive("initial_std", self.initial_std)
        checks.fraction("discount", self.discount)

    @property
    def num_kept(self) -> int:
        """Elites that live on."""
        return int(self.keep_fraction * self.elites)

    @classmethod
    def from_config(cls, action: ActionSpace, config: PlannerConfig) -> Self:
        """As configured. Raises ValueError for sizes that clash."""
        c = config
        return cls(
            action,
            horizon=c.horizon,
            discount=c.discount,
            common_noise=c.common_noise,
            population=c.population,
            iterations=c.iterations,
            elites=c.elites,
            momentum=c.momentum,
            beta=c.noise_beta,
            keep_fraction=c.keep_elites,
        )

    def init(self) -> SequencePlan[ICEMWarm]:
        warm = self._cold()
        return SequencePlan(warm.sequences.mode(), unknown_value(), warm)

    def begin(self, plan: SequencePlan[ICEMWarm]) -> ICEMSearch:
        warm = plan.warm if self.warm_start else self._cold()
        iteration, value = jnp.zeros((), jnp.int32), unknown_value()
        return ICEMSearch(warm.sequences, warm.kept, warm.has_kept, iteration, warm.sequences.mode(), value)

    def refine(
        self, model: AbstractModel, belief: PyTree, search: ICEMSearch, *, guide: Any = None, key: PRNGKeyArray
    ) -> ICEMSearch:
        sample_key, model_key = jax.random.split(key)
        candidates = self._population(search, sample_key)
        returns = rollout(
            model, belief, candidates, discount=self.discount, common_noise=self.common_noise, key=model_key
        )
        elite_returns, index = jax.lax.top_k(returns, self.elites)
        elites = candidates[index]
        finite = jnp.isfinite(elite_returns).astype(returns.dtype)
        better = elite_returns[0] > search.value
        return ICEMSearch(
            search.sequences.refit(elites, finite, self.momentum),
            elites[: self.num_kept],
            jnp.array(True),
            search.iteration + 1,
            jnp.where(better, elites[0], search.actions),
            jnp.where(better, elite_returns[0], search.value),
        )

    def best(self, search: ICEMSearch) -> tuple[Array, SequencePlan[ICEMWarm]]:
        kept = jax.vmap(lambda elite: shifted(elite, centre(self.action)))(search.kept)
        warm = ICEMWarm(search.sequences.shift(), kept, search.has_kept)
        return search.actions[0], SequencePlan(search.actions, search.value, warm)

    def _population(self, search: ICEMSearch, key: PRNGKeyArray) -> Array:
        """Fresh samples; some give way to the kept elites and, in the last iteration, to the mean."""
        candidates = search.sequences.sample_clipped(self.population, self.beta, key=key)
        fresh = candidates[: self.num_kept]
        last = jnp.where(search.iteration == 0, fresh[:, -1], search.kept[:, -1])
        kept = jnp.where(search.has_kept, search.kept.at[:, -1].set(last), fresh)
        candidates = candidates.at[: self.num_kept].set(kept)
        final = search.iteration >= self.iterations - 1
        return candidates.at[-1].set(jnp.where(final, search.sequences.mode(), candidates[-1]))

    def _cold(self) -> ICEMWarm:
        sequences = start(self.action, self.horizon, self.initial_std)
        middle = sequences.mode()
        return ICEMWarm(sequences, jnp.broadcast_to(middle, (self.num_kept, *middle.shape)), jnp.array(False))
