"""PETS: probabilistic ensembles with trajectory sampling (Chua et al. 2018, Algorithm 1).

Deviations from the authors' code:
- changes of the observation are normalised before they are learned (`normalise_targets=False` restores the paper);
- the last minibatch of a pass wraps round to keep its shape, where theirs is shorter;
- candidates share each particle's noise (`planner.common_noise` False restores the paper);
- a learned reward, which the paper does not have, has two parts (steps that go on and steps that end the episode), is
  weighted in the loss (`Ensemble.losses`), and is imagined as an expectation;
- TS1 with common noise deals the particles of all candidates in one order;
- MM matches the exact moments of the next observations, where theirs matches sample moments of the changes;
- angles named by the environment are seen as sine and cosine by the networks, on every task;
- presets other than `paper-*` use smaller networks and populations, and `min_steps` more passes while data are few.
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
from ..presets.pets import PETSConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Given, Metrics


class PETS(AbstractPlanningAgent[ModelState, PyTree, ModelSearch]):
    """Plan through an ensemble, execute the first action, replan. The memory is the planner's warm start."""

    spec: EnvSpec
    config: PETSConfig = eqx.field(static=True)
    given: Given
    planner: AbstractRefiningPlanner
    learner: AbstractLearner | None  # a user's own, instead of the ensemble

    def __init__(
        self,
        spec: EnvSpec,
        config: PETSConfig | None = None,
        *,
        given: Given | None = None,
        planner: AbstractRefiningPlanner | None = None,
        learner: AbstractLearner | None = None,
    ):
        """`planner` and `learner` replace the parts that `config` describes. Raises ValueError on sizes that clash."""
        self.spec = spec
        self.config = PETSConfig() if config is None else config
        self.given = Given() if given is None else given
        self.planner = make_planner(spec.action, self.config.planner) if planner is None else planner
        self.learner = learner
        if self.config.random_hold < 1:
            raise ValueError(f"random_hold={self.config.random_hold} must be at least 1")

    @property
    def schedule(self) -> Schedule:
        c = self.config
        if self.given.model is not None:
            return Schedule(0, ())
        return Schedule.one_round("model", c.update_every, random_steps=c.random_steps, random_hold=c.random_hold)

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
        return ModelSearch(search.belief, self.planner.refine(self.model(state), search.belief, search.inner, key=key))

    def best(self, state: ModelState, memory: PyTree, search: ModelSearch) -> tuple[Array, PyTree]:
        return self.planner.best(search.inner)

    def update(
        self, state: ModelState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[ModelState, Additions, Metrics]:
        state, metrics = state.fitted(data["env"], key=key)
        return state, {}, metrics
