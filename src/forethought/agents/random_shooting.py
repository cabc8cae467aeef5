"""Random-shooting MPC with data aggregation (Nagabandi et al. 2017, Sec. IV, the model-based part of MB-MF).

Deviations from the authors' code:
- the reward of imagined steps is the given function of (obs, action, next_obs), or learned where none is given;
  theirs is always given;
- minibatches hold the share of new data in expectation, drawn with replacement, not as two fixed halves;
- networks are warm-started between fits and see angles as sine and cosine;
- networks have swish units and PETS's truncated-normal weights; `paper-half-cheetah` has the paper's ReLU and Xavier's;
- noise on the training data has a share of each feature's standard deviation, theirs of the absolute value of its mean,
  and noise on the start state of rollouts is left out: it is the environment's;
- noise on executed actions is a share of half the action range, off in all presets (theirs begins after many rounds).
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
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
from ..presets.random_shooting import RandomShootingConfig
from ..replay.uniform import UniformReplay
from ..types import Box, EnvSpec, Given, Metrics


class RandomShootingMPC(AbstractPlanningAgent[ModelState, PyTree, ModelSearch]):
    """Executes the first action of the best of many random sequences, and aggregates what happens."""

    spec: EnvSpec
    config: RandomShootingConfig = eqx.field(static=True)
    given: Given
    planner: AbstractRefiningPlanner
    learner: AbstractLearner | None  # a user's own, instead of the network

    def __init__(
        self,
        spec: EnvSpec,
        config: RandomShootingConfig | None = None,
        *,
        given: Given | None = None,
        planner: AbstractRefiningPlanner | None = None,
        learner: AbstractLearner | None = None,
    ):
        """`planner` and `learner` replace the parts that `config` describes. Raises ValueError on sizes that clash."""
        self.spec = spec
        self.config = RandomShootingConfig() if config is None else config
        self.given = Given() if given is None else given
        self.planner = make_planner(spec.action, self.config.planner) if planner is None else planner
        self.learner = learner
        if not 0 <= self.config.action_noise < float("inf"):
            raise ValueError(f"action_noise={self.config.action_noise} must be at least 0")

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
        c = self.config
        learner = make_learner(
            self.spec,
            c.model,
            given=self.given,
            data_noise=c.data_noise,
            new_fraction=c.new_data_fraction,
            old_rows=-(-c.random_steps // self.spec.action_repeat),
            key=key,
        )
        return ModelState(learner)

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

    def perturb(self, action: Array, memory: PyTree, *, key: PRNGKeyArray) -> tuple[Array, PyTree]:
        if not self.config.action_noise or not isinstance(self.spec.action, Box):
            return action, memory
        low, high = jnp.array(self.spec.action.low), jnp.array(self.spec.action.high)
        noise = self.config.action_noise * (high - low) / 2 * jr.normal(key, action.shape)
        return jnp.clip(action + noise, low, high), memory

    def update(
        self, state: ModelState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[ModelState, Additions, Metrics]:
        state, metrics = state.fitted(data["env"], key=key)
        return state, {}, metrics
