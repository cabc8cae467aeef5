"""The ladder of model-based RL (after S. Levine, CS 285, "Model-based reinforcement learning", versions 0.5 to 1.5).

- 0.5: gather random data, fit the model once, then plan and execute whole plans without looking.
- 1.0: as 0.5, but what the plans bring is added to the data and the model refitted.
- 1.5: as 1.0, but only the first action of each plan is executed before planning again.

A whole plan is `planner.horizon` actions; when it is used up the agent plans afresh from where it then is.
Deviation: the lectures leave model and planner open; here any planner, and by default one deterministic network.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ..build import make_learner, make_planner
from ..core import (
    AbstractAgent,
    AbstractLearner,
    AbstractModel,
    AbstractRefiningPlanner,
    Additions,
    Clock,
    Data,
    Schedule,
)
from ..learners.model_planning import ModelState
from ..planners.tree_search import TreeSearch
from ..presets.mpc_ladder import MPCLadderConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Given, Metrics


class LadderMemory(eqx.Module):
    """The plan being executed."""

    plan: PyTree
    position: Int[Array, ""]  # actions of the plan already executed; at the horizon a new plan is due


class MPCLadder(AbstractAgent[ModelState, LadderMemory]):
    """Plans in a learned model, more or less often."""

    spec: EnvSpec
    config: MPCLadderConfig = eqx.field(static=True)
    given: Given
    planner: AbstractRefiningPlanner
    learner: AbstractLearner | None  # a user's own, instead of the network

    def __init__(
        self,
        spec: EnvSpec,
        config: MPCLadderConfig | None = None,
        *,
        given: Given | None = None,
        planner: AbstractRefiningPlanner | None = None,
        learner: AbstractLearner | None = None,
    ):
        """`planner` and `learner` replace the parts that `config` describes. Raises ValueError on sizes that clash."""
        self.spec = spec
        self.config = MPCLadderConfig() if config is None else config
        self.given = Given() if given is None else given
        self.planner = make_planner(spec.action, self.config.planner) if planner is None else planner
        self.learner = learner
        if isinstance(self.planner, TreeSearch):
            raise ValueError("a tree search plans no sequence of actions to execute; use cem, icem, mppi or shooting")
        if self.config.version not in ("0.5", "1.0", "1.5"):
            raise ValueError(f"version={self.config.version!r} must be 0.5, 1.0 or 1.5")

    @property
    def schedule(self) -> Schedule:
        c = self.config
        if self.given.model is not None:
            return Schedule(0, ())
        every = None if c.version == "0.5" else c.update_every
        return Schedule.one_round("model", every, random_steps=c.random_steps)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> ModelState:
        if self.given.model is not None or self.learner is not None:
            return ModelState(self.learner)
        return ModelState(make_learner(self.spec, self.config.model, given=self.given, key=key))

    def model(self, state: ModelState) -> AbstractModel:
        return state.model(self.given)

    def init_memory(self, state: ModelState) -> LadderMemory:
        plan = self.planner.init()
        return LadderMemory(plan, jnp.asarray(plan.actions.shape[0], jnp.int32))

    def act(
        self, state: ModelState, memory: LadderMemory, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, LadderMemory, None]:
        horizon = memory.plan.actions.shape[0]

        def replan(plan: PyTree) -> tuple[PyTree, Array]:
            model = self.model(state)
            init_key, plan_key = jr.split(key)
            _, plan = self.planner(model, model.init(obs, key=init_key), plan, key=plan_key)
            return plan, jnp.zeros((), jnp.int32)

        if self.config.version == "1.5":
            plan, position = replan(memory.plan)
        else:
            # A plan made after another is used up starts afresh: its warm start would be out of date.
            used_up = memory.position >= horizon
            keep = lambda _: (memory.plan, memory.position)
            plan, position = jax.lax.cond(used_up, lambda _: replan(self.planner.init()), keep, None)
        return plan.actions[position], LadderMemory(plan, position + 1), None

    def update(
        self, state: ModelState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[ModelState, Additions, Metrics]:
        state, metrics = state.fitted(data["env"], key=key)
        return state, {}, metrics
