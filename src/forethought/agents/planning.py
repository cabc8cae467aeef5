"""Model-predictive control: fit a model to what was met, plan in it, execute the first action or the whole plan.

One agent for PETS, random shooting, the ladder of model-based RL and receding-horizon iLQR. What each paper does and
where this differs from it is said beside its config: `presets/pets.py`, `random_shooting.py`, `mpc_ladder.py` and
`ilqr.py`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

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
from ..learners.exploration import noisy
from ..learners.model_planning import ModelState, ensemble_learner
from ..planners.choice import make_planner
from ..presets.pets import PETSConfig
from ..presets.planning import PlanningConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Given, Metrics


class Execution(eqx.Module):
    """The plan, and how much of it has been executed where whole plans are (None where they are not)."""

    plan: PyTree
    position: Int[Array, ""] | None


class PlanSearch(eqx.Module):
    """The search for one action: where it starts, how far the planner is, and whether a new plan is due."""

    belief: PyTree
    inner: PyTree
    due: Bool[Array, ""] | None  # None: always


class PlanningAgent(AbstractPlanningAgent[ModelState, Execution, PlanSearch]):
    """Plans in a model that it learns, or that is given. The memory holds the plan, from which the next one starts."""

    spec: EnvSpec
    config: PlanningConfig = eqx.field(static=True)
    given: Given
    planner: AbstractRefiningPlanner
    learner: AbstractLearner | None  # a user's own, instead of the networks

    def __init__(
        self,
        spec: EnvSpec,
        config: PlanningConfig | None = None,
        *,
        given: Given | None = None,
        planner: AbstractRefiningPlanner | None = None,
        learner: AbstractLearner | None = None,
    ):
        """`config` is that of one of the papers (default: of PETS); `planner` and `learner` replace the parts that it
        describes. Raises ValueError for sizes that clash."""
        self.spec = spec
        self.config = PETSConfig() if config is None else config
        self.given = Given() if given is None else given
        self.planner = make_planner(spec.action, self.config.planner) if planner is None else planner
        self.learner = learner
        if self.config.planning.whole_plans and not hasattr(self.planner.init(), "actions"):
            raise ValueError("a tree search plans no sequence of actions to execute; use cem, icem, mppi or shooting")

    @property
    def schedule(self) -> Schedule:
        p = self.config.planning
        if self.given.model is not None:
            return Schedule(0, ())
        return Schedule.one_round("model", p.update_every, random_steps=p.random_steps, random_hold=p.random_hold)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> ModelState:
        if self.given.model is not None or self.learner is not None:
            return ModelState(self.learner)
        p = self.config.planning
        old_rows = -(-p.random_steps // self.spec.action_repeat)
        options = {"data_noise": p.data_noise, "new_fraction": p.new_data_fraction, "old_rows": old_rows}
        return ModelState(ensemble_learner(self.spec, self.config.model, given=self.given, **options, key=key))

    def model(self, state: ModelState) -> AbstractModel:
        return state.model(self.given)

    def init_memory(self, state: ModelState) -> Execution:
        plan = self.planner.init()
        used_up = jnp.asarray(plan.actions.shape[0], jnp.int32) if self.config.planning.whole_plans else None
        return Execution(plan, used_up)

    def begin(self, state: ModelState, memory: Execution, obs: Array, *, key: PRNGKeyArray) -> PlanSearch:
        due, start = None, memory.plan
        if memory.position is not None:  # a plan made when another is used up starts afresh: that one is out of date
            due, start = memory.position >= memory.plan.actions.shape[0], self.planner.init()
        return PlanSearch(self.model(state).init(obs, key=key), self.planner.begin(start), due)

    def refine(self, state: ModelState, search: PlanSearch, *, key: PRNGKeyArray, explore: bool) -> PlanSearch:
        better = lambda inner: self.planner.refine(self.model(state), search.belief, inner, key=key)
        due = search.due
        inner = better(search.inner) if due is None else jax.lax.cond(due, better, lambda inner: inner, search.inner)
        return PlanSearch(search.belief, inner, due)

    def best(
        self, state: ModelState, memory: Execution, search: PlanSearch, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, Execution, None]:
        (action, plan), position, due = self.planner.best(search.inner), None, search.due
        if memory.position is not None and due is not None:
            plan = jax.tree.map(lambda new, old: jnp.where(due, new, old), plan, memory.plan)
            position = jnp.where(due, 0, memory.position)
            action, position = plan.actions[position], position + 1
        if explore:
            action = noisy(self.spec.action, action, self.config.planning.action_noise, key=key)
        return action, Execution(plan, position), None

    def update(
        self, state: ModelState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[ModelState, Additions, Metrics]:
        state, metrics = state.fitted(data["env"], key=key)
        return state, {}, metrics
