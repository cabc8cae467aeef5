"""Random shooting: the best of many uniformly random action sequences."""

from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..core import AbstractModel, AbstractRefiningPlanner
from ..presets.parts import PlannerConfig
from ..types import ActionSpace
from . import checks
from .plan import SequencePlan, unknown_value
from .rollout import rollout
from .sequences import centre, shifted


class ShootingSearch(eqx.Module):
    """A search under way."""

    actions: Array  # [horizon, *action]: the best candidate so far
    value: Float[Array, ""]  # its return; -inf before the first refinement


class RandomShooting(AbstractRefiningPlanner[SequencePlan[Array], ShootingSearch]):
    """Imagines `population` uniformly random sequences per iteration and keeps the best of all.

    Source: Nagabandi et al. 2018, section IV-C. With `warm_start` (not in the paper) the best sequence so
    far, at first the previous call's moved one step on, takes the place of one candidate. Raises ValueError
    for sizes below 1 and a discount outside [0, 1].
    """

    action: ActionSpace
    horizon: int = eqx.field(static=True)
    population: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True, default=1)
    warm_start: bool = eqx.field(static=True, default=False)
    discount: float = eqx.field(static=True, default=1.0)
    common_noise: bool = eqx.field(static=True, default=False)  # candidates meet the same luck, as `rollout` says

    def __check_init__(self) -> None:
        for name in ("horizon", "population", "iterations"):
            checks.whole_number(name, getattr(self, name))
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
        )

    def init(self) -> SequencePlan[Array]:
        actions = self._centre()
        return SequencePlan(actions, unknown_value(), actions)

    def begin(self, plan: SequencePlan[Array]) -> ShootingSearch:
        return ShootingSearch(plan.warm if self.warm_start else self._centre(), unknown_value())

    def refine(
        self, model: AbstractModel, belief: PyTree, search: ShootingSearch, *, guide: Any = None, key: PRNGKeyArray
    ) -> ShootingSearch:
        sample_key, model_key = jr.split(key)
        candidates = self.action.sample((self.population, self.horizon), key=sample_key)
        if self.warm_start:
            candidates = candidates.at[0].set(search.actions)
        returns = rollout(
            model, belief, candidates, discount=self.discount, common_noise=self.common_noise, key=model_key
        )
        i = jnp.argmax(returns)
        better = returns[i] > search.value
        return ShootingSearch(
            jnp.where(better, candidates[i], search.actions), jnp.where(better, returns[i], search.value)
        )

    def best(self, search: ShootingSearch) -> tuple[Array, SequencePlan[Array]]:
        warm = shifted(search.actions, centre(self.action))
        return search.actions[0], SequencePlan(search.actions, search.value, warm)

    def _centre(self) -> Array:
        return jnp.broadcast_to(centre(self.action), (self.horizon, *self.action.shape))
