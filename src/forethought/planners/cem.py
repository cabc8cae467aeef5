"""The cross-entropy method, as PETS uses it."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..core import AbstractModel, AbstractRefiningPlanner
from ..presets.parts import PlannerConfig
from ..types import ActionSpace
from . import checks
from .plan import SequencePlan, unknown_value
from .rollout import rollout
from .sequences import Sequences, start


class CEMSearch(eqx.Module):
    """A search under way."""

    sequences: Sequences  # what the next population is drawn from
    elite_value: Float[Array, ""]  # mean return of the latest elites; -inf before the first
    actions: Array  # [horizon, *action]: the best candidate so far
    value: Float[Array, ""]  # its return; -inf before the first


class CEM(AbstractRefiningPlanner[SequencePlan[Sequences], CEMSearch]):
    """Draws a population of sequences, moves the distribution to its elites, and repeats.

    Source: Chua et al. 2018 (PETS) and its code: truncated Gaussian whose variance is kept below
    `min(mean - low, high - mean)^2 / 4`, warm start from the shifted mean with a fresh variance.
    Deviations: the number of iterations is fixed (theirs may end early, once the variance is below 1e-3), and
    candidates without a finite return are left out of the elites. Discrete actions use categorical
    distributions.

    With `return_mean` (PETS) the chosen sequence is the distribution's mode, and `plan.value` the mean return
    of the elites that formed it; otherwise it is the best candidate seen, and `plan.value` its return.
    Raises ValueError for sizes below 1, more elites than population, and fractions outside [0, 1].
    """

    action: ActionSpace
    horizon: int = eqx.field(static=True)
    population: int = eqx.field(static=True)
    elites: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)
    momentum: float = eqx.field(static=True, default=0.1)  # share of the OLD mean and variance
    initial_std: float = eqx.field(static=True, default=0.25)  # fraction of the range; Box only
    return_mean: bool = eqx.field(static=True, default=True)
    warm_start: bool = eqx.field(static=True, default=True)
    discount: float = eqx.field(static=True, default=1.0)
    common_noise: bool = eqx.field(static=True, default=False)  # candidates meet the same luck, as `rollout` says
    clipped: bool = eqx.field(static=True, default=False)  # clip a plain Gaussian at the bounds (PlaNet); Box only

    def __check_init__(self) -> None:
        for name in ("horizon", "population", "elites", "iterations"):
            checks.whole_number(name, getattr(self, name))
        checks.at_most("elites", self.elites, "population", self.population)
        checks.fraction("momentum", self.momentum, one=False)
        checks.positive("initial_std", self.initial_std)
        checks.fraction("discount", self.discount)

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
            initial_std=c.initial_std,
            clipped=c.clipped,
        )

    def init(self) -> SequencePlan[Sequences]:
        sequences = start(self.action, self.horizon, self.initial_std)
        return SequencePlan(sequences.mode(), unknown_value(), sequences)

    def begin(self, plan: SequencePlan[Sequences]) -> CEMSearch:
        sequences = plan.warm if self.warm_start else start(self.action, self.horizon, self.initial_std)
        nothing = unknown_value()
        return CEMSearch(sequences, nothing, sequences.mode(), nothing)

    def refine(
        self, model: AbstractModel, belief: PyTree, search: CEMSearch, *, guide: Any = None, key: PRNGKeyArray
    ) -> CEMSearch:
        sample_key, model_key = jax.random.split(key)
        if self.clipped:
            candidates = search.sequences.sample_clipped(self.population, 0.0, key=sample_key)
        else:
            candidates = search.sequences.sample(self.population, key=sample_key)
        returns = rollout(
            model, belief, candidates, discount=self.discount, common_noise=self.common_noise, key=model_key
        )
        elite_returns, index = jax.lax.top_k(returns, self.elites)
        elites = candidates[index]
        finite = jnp.isfinite(elite_returns).astype(returns.dtype)
        mean = jnp.where(finite > 0, elite_returns, 0).sum() / jnp.maximum(finite.sum(), 1)
        better = elite_returns[0] > search.value
        return CEMSearch(
            search.sequences.refit(elites, finite, self.momentum),
            jnp.where(finite.any(), mean, search.elite_value),
            jnp.where(better, elites[0], search.actions),
            jnp.where(better, elite_returns[0], search.value),
        )

    def best(self, search: CEMSearch) -> tuple[Array, SequencePlan[Sequences]]:
        actions = search.sequences.mode(search.actions) if self.return_mean else search.actions
        value = search.elite_value if self.return_mean else search.value
        return actions[0], SequencePlan(actions, value, search.sequences.shift())
