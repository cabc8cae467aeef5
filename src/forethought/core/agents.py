"""What learns: learners, which are models with what it takes to fit them, and agents."""

import abc
from typing import Generic, Self, TypeVar

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..types import EnvSpec, Forecasts, Metrics
from .models import AbstractModel
from .planners import AbstractRefiningPlanner, Search, refined
from .replays import AbstractReplay, Additions, Data
from .schedule import Clock, Schedule

State = TypeVar("State")
Memory = TypeVar("Memory")


class AbstractLearner(eqx.Module):
    """A model together with what it takes to fit it: optimiser state, schedules, or nothing for a closed form."""

    model: eqx.AbstractVar[AbstractModel]

    @abc.abstractmethod
    def fit(self, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        """Refit the model to all data so far. Metrics should hold `model/loss`."""


class AbstractAgent(eqx.Module, Generic[State, Memory]):
    """Learns and acts. Everything that learning changes is in `State`; what an episode changes is in `Memory`."""

    spec: eqx.AbstractVar[EnvSpec]

    @property
    @abc.abstractmethod
    def schedule(self) -> Schedule:
        """Its random steps, and what it learns when."""

    @property
    def traceable(self) -> bool:
        """Whether `update` is pure JAX. Where it does work on the host, only the step driver can run it."""
        return True

    @property
    def sequence_length(self) -> int | None:
        """How many consecutive steps `update` draws at a time from its data set `env`; None where it draws
        transitions."""
        return None

    @abc.abstractmethod
    def init(self, *, key: PRNGKeyArray) -> State:
        """The state before any data."""

    @abc.abstractmethod
    def init_memory(self, state: State) -> Memory:
        """The memory at the start of an episode: plan, belief and previous action, or None."""

    @abc.abstractmethod
    def act(
        self, state: State, memory: Memory, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, Memory, PyTree]:
        """One action `[*action]` for one observation `[obs]`, the memory to carry, and extras to store beside it."""

    @abc.abstractmethod
    def data(self, capacity: int, num_envs: int) -> Data:
        """Its data sets, empty, by name. `env` takes what `num_envs` environments bring, at most `capacity` rows."""

    @abc.abstractmethod
    def update(
        self, state: State, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[State, Additions, Metrics]:
        """One call of the round of this name: the state after it, rows to append to data sets, and metrics.

        Metrics of a round keep the same keys at every call. Nothing is appended where one is not finite.
        """

    def model(self, state: State) -> AbstractModel | None:
        """The model that the agent plans or dreams in, for the diagnostics; None if it has none."""
        return None

    def forecasts(self, state: State) -> Forecasts | None:
        """What it said its latest trials would look like, for the report; None if it says nothing of the kind."""
        return None


class AbstractPlanningAgent(AbstractAgent[State, Memory], Generic[State, Memory, Search]):
    """An agent whose `act` is a search that can be cut short: the step driver can refine until a deadline."""

    planner: eqx.AbstractVar[AbstractRefiningPlanner]

    @abc.abstractmethod
    def begin(self, state: State, memory: Memory, obs: Array, *, key: PRNGKeyArray) -> Search:
        """The search for an action before any model call."""

    @abc.abstractmethod
    def refine(self, state: State, search: Search, *, key: PRNGKeyArray, explore: bool) -> Search:
        """One planner iteration."""

    @abc.abstractmethod
    def best(
        self, state: State, memory: Memory, search: Search, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, Memory, PyTree]:
        """What `act` returns after the refinements so far: the action, with exploration noise if asked for."""

    def act(self, state, memory, obs, *, key, explore):
        begin_key, refine_key, best_key = jr.split(key, 3)
        better = lambda search, key: self.refine(state, search, key=key, explore=explore)
        search = self.begin(state, memory, obs, key=begin_key)
        search = refined(better, search, self.planner.iterations, key=refine_key)
        return self.best(state, memory, search, key=best_key, explore=explore)
