"""What chooses actions by imagining."""

import abc
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..types import ActionSpace
from .models import AbstractModel

Plan = TypeVar("Plan")
Search = TypeVar("Search")


class AbstractPlanner(eqx.Module, Generic[Plan]):
    """Chooses an action by imagining. The plan is carried between calls: warm start and diagnostics live in it."""

    action: eqx.AbstractVar[ActionSpace]

    @abc.abstractmethod
    def init(self) -> Plan:
        """The plan before the first call of an episode."""

    @abc.abstractmethod
    def __call__(
        self, model: AbstractModel, belief: PyTree, plan: Plan, *, guide: Any = None, key: PRNGKeyArray
    ) -> tuple[Array, Plan]:
        """The next action `[*action]` and the plan to hand to the next call."""


class AbstractRefiningPlanner(AbstractPlanner[Plan], Generic[Plan, Search]):
    """A planner that can stop early: `begin`, then `refine` as often as time allows, then `best`."""

    iterations: eqx.AbstractVar[int]

    @abc.abstractmethod
    def begin(self, plan: Plan) -> Search:
        """The search before any model call."""

    @abc.abstractmethod
    def refine(
        self, model: AbstractModel, belief: PyTree, search: Search, *, guide: Any = None, key: PRNGKeyArray
    ) -> Search:
        """One improvement; the cost of one planner iteration."""

    @abc.abstractmethod
    def best(self, search: Search) -> tuple[Array, Plan]:
        """The best action found so far and the plan for the next step."""

    def __call__(self, model, belief, plan, *, guide=None, key):
        better = lambda search, key: self.refine(model, belief, search, guide=guide, key=key)
        return self.best(refined(better, self.begin(plan), self.iterations, key=key))


def refined(
    refine: Callable[[Search, PRNGKeyArray], Search], search: Search, iterations: int, *, key: PRNGKeyArray
) -> Search:
    """`search` after `iterations` of `refine(search, key)`; refinement `i` gets `fold_in(key, i)`."""
    better = lambda i, search: refine(search, jr.fold_in(key, i))
    if iterations == 1:  # a loop of one costs a tree search twice the time to compile
        return better(jnp.zeros((), jnp.int32), search)
    return jax.lax.fori_loop(0, iterations, better, search)
