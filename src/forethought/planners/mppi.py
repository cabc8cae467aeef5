"""MPPI: a softmax-weighted average of noisy action sequences."""

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
from .sequences import GaussianSequences, Sequences, start


class MPPISearch(eqx.Module):
    """A search under way."""

    sequences: Sequences  # its mode is what would be executed now
    value: Float[Array, ""]  # weighted mean return of the latest population; -inf before the first


class MPPI(AbstractRefiningPlanner[SequencePlan[Sequences], MPPISearch]):
    """Draws sequences around the mean and moves it to their average, weighted by exp(return / temperature).

    Source: Williams et al. 2017 (information-theoretic MPC), with the model's return for the negative cost.
    Deviations: no control-cost term (the reward carries it), samples are clipped to the bounds, and
    candidates without a finite return weigh nothing. `beta` > 0 correlates the noise over time, as in iCEM;
    `adapt_variance` also moves the variance within one call. Discrete actions use categorical distributions,
    whose probabilities move to the weighted frequencies; `beta` and `adapt_variance` do not matter to them.
    `plan.value` is the weighted mean return of the last population, an estimate for the mean's own. Raises
    ValueError for sizes below 1, a temperature or noise not above 0, a negative `beta` and bad fractions.
    """

    action: ActionSpace
    horizon: int = eqx.field(static=True)
    population: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True, default=1)
    temperature: float = eqx.field(static=True, default=1.0)  # in units of return
    noise_std: float = eqx.field(static=True, default=0.25)  # fraction of the range; Box only
    beta: float = eqx.field(static=True, default=0.0)  # 0: white noise, 2: Brownian
    momentum: float = eqx.field(static=True, default=0.0)  # share of the OLD mean and variance
    adapt_variance: bool = eqx.field(static=True, default=False)
    warm_start: bool = eqx.field(static=True, default=True)
    discount: float = eqx.field(static=True, default=1.0)
    common_noise: bool = eqx.field(static=True, default=False)  # candidates meet the same luck, as `rollout` says

    def __check_init__(self) -> None:
        for name in ("horizon", "population", "iterations"):
            checks.whole_number(name, getattr(self, name))
        checks.positive("temperature", self.temperature)
        checks.positive("noise_std", self.noise_std)
        checks.not_negative("beta", self.beta)
        checks.fraction("momentum", self.momentum, one=False)
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
            temperature=c.temperature,
            noise_std=c.noise / 2,
            beta=c.noise_beta,
        )

    def init(self) -> SequencePlan[Sequences]:
        sequences = start(self.action, self.horizon, self.noise_std)
        return SequencePlan(sequences.mode(), unknown_value(), sequences)

    def begin(self, plan: SequencePlan[Sequences]) -> MPPISearch:
        sequences = plan.warm if self.warm_start else start(self.action, self.horizon, self.noise_std)
        return MPPISearch(sequences, unknown_value())

    def refine(
        self, model: AbstractModel, belief: PyTree, search: MPPISearch, *, guide: Any = None, key: PRNGKeyArray
    ) -> MPPISearch:
        sample_key, model_key = jax.random.split(key)
        old = search.sequences
        candidates = old.sample_clipped(self.population, self.beta, key=sample_key)
        returns = rollout(
            model, belief, candidates, discount=self.discount, common_noise=self.common_noise, key=model_key
        )
        finite = jnp.isfinite(returns)
        weight = jnp.where(finite, jnp.exp((returns - returns.max()) / self.temperature), 0)
        weight = weight / jnp.where(finite.any(), weight.sum(), 1)
        new = old.refit(candidates, weight, self.momentum)
        if isinstance(old, GaussianSequences) and not self.adapt_variance:
            new = eqx.tree_at(lambda s: s.variance, new, old.variance)
        value = (weight * jnp.where(finite, returns, 0)).sum()
        return MPPISearch(new, jnp.where(finite.any(), value, search.value))

    def best(self, search: MPPISearch) -> tuple[Array, SequencePlan[Sequences]]:
        actions = search.sequences.mode()
        return actions[0], SequencePlan(actions, search.value, search.sequences.shift())
