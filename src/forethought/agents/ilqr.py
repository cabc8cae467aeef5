"""Receding-horizon iLQR (Tassa, Erez & Todorov 2012, "Synthesis and stabilization of complex behaviors through online
trajectory optimization"): at every step a few iterations from the previous plan, and the first action is executed.

Deviations from the paper:
- rewards instead of costs; the Hessians of minus the reward are made convex before they are used;
- control limits as in box-DDP (Tassa, Mansard & Todorov 2014), where theirs are in the cost;
- several sequences can be improved side by side, all but one of them from random starts, and the best is executed;
- the model may be learned: one deterministic network, fitted to all data so far.
"""

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..build import make_learner, make_planner
from ..core import (
    AbstractLearner,
    AbstractModel,
    AbstractPlanningAgent,
    AbstractRefiningPlanner,
    Additions,
    Clock,
    Data,
    Schedule,
)
from ..learners.model_planning import ModelSearch, ModelState
from ..presets.ilqr import ILQRConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Given, Metrics


class ILQRControl(AbstractPlanningAgent[ModelState, PyTree, ModelSearch]):
    """Plans by iLQR at every step; the plan is carried along an episode."""

    spec: EnvSpec
    config: ILQRConfig = eqx.field(static=True)
    given: Given
    planner: AbstractRefiningPlanner
    learner: AbstractLearner | None  # a user's own, instead of the network

    def __init__(
        self,
        spec: EnvSpec,
        config: ILQRConfig | None = None,
        *,
        given: Given | None = None,
        planner: AbstractRefiningPlanner | None = None,
        learner: AbstractLearner | None = None,
    ):
        """`planner` and `learner` replace the parts that `config` describes. Raises ValueError for Discrete actions and
        sizes that clash."""
        self.spec = spec
        self.config = ILQRConfig() if config is None else config
        self.given = Given() if given is None else given
        self.planner = make_planner(spec.action, self.config.planner) if planner is None else planner
        self.learner = learner

    @property
    def schedule(self) -> Schedule:
        c = self.config
        if self.given.model is not None:
            return Schedule(0, ())
        return Schedule.one_round("model", c.update_every, random_steps=c.random_steps)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> ModelState:
        if self.given.model is not None or self.learner is not None:
            return ModelState(self.learner)
        return ModelState(make_learner(self.spec, self.config.model, given=self.given, key=key))

    def model(self, state: ModelState) -> AbstractModel:
        return state.model(self.given)

    def init_memory(self, state: ModelState) -> PyTree:
        return self.planner.init()

    def begin(self, state: ModelState, memory: PyTree, obs: Array, *, key: PRNGKeyArray) -> ModelSearch:
        return ModelSearch(self.model(state).init(obs, key=key), self.planner.begin(memory))

    def refine(self, state: ModelState, search: ModelSearch, *, key: PRNGKeyArray) -> ModelSearch:
        inner = self.planner.refine(self.model(state), search.belief, search.inner, key=key)
        return ModelSearch(search.belief, inner)

    def best(self, state: ModelState, memory: PyTree, search: ModelSearch) -> tuple[Array, PyTree]:
        return self.planner.best(search.inner)

    def update(
        self, state: ModelState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[ModelState, Additions, Metrics]:
        state, metrics = state.fitted(data["env"], key=key)
        return state, {}, metrics
