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
from ..core import AbstractLearner, AbstractModel, AbstractPlanningAgent, AbstractRefiningPlanner, AbstractReplay
from ..presets.ilqr import ILQRConfig
from ..types import EnvSpec, Given, Metrics


class ILQRState(eqx.Module):
    """What learning changes; nothing when the true model is given."""

    learner: AbstractLearner | None


class ILQRAgentSearch(eqx.Module):
    """The search for one action."""

    belief: PyTree
    inner: PyTree


class ILQRControl(AbstractPlanningAgent[ILQRState, PyTree, ILQRAgentSearch]):
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
    def random_steps(self) -> int:
        return 0 if self.given.model is not None else self.config.random_steps

    @property
    def update_every(self) -> int | None:
        return None if self.given.model is not None else self.config.update_every

    def init(self, *, key: PRNGKeyArray) -> ILQRState:
        if self.given.model is not None or self.learner is not None:
            return ILQRState(self.learner)
        return ILQRState(make_learner(self.spec, self.config.model, given=self.given, key=key))

    def model(self, state: ILQRState) -> AbstractModel:
        return self.given.model if state.learner is None else state.learner.model

    def init_memory(self, state: ILQRState) -> PyTree:
        return self.planner.init()

    def begin(self, state: ILQRState, memory: PyTree, obs: Array, *, key: PRNGKeyArray) -> ILQRAgentSearch:
        return ILQRAgentSearch(self.model(state).init(obs, key=key), self.planner.begin(memory))

    def refine(self, state: ILQRState, search: ILQRAgentSearch, *, key: PRNGKeyArray) -> ILQRAgentSearch:
        inner = self.planner.refine(self.model(state), search.belief, search.inner, key=key)
        return ILQRAgentSearch(search.belief, inner)

    def best(self, state: ILQRState, memory: PyTree, search: ILQRAgentSearch) -> tuple[Array, PyTree]:
        return self.planner.best(search.inner)

    def update(self, state: ILQRState, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[ILQRState, Metrics]:
        if state.learner is None:
            return state, {}
        learner, metrics = state.learner.fit(replay, key=key)
        return ILQRState(learner), metrics
