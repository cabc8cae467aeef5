"""PETS: probabilistic ensembles with trajectory sampling (Chua et al. 2018, Algorithm 1).

Deviations from the authors' code:
- changes of the observation are normalised before they are learned (`normalise_targets=False` restores the paper);
- the last minibatch of a pass wraps round to keep its shape, where theirs is shorter;
- candidates share each particle's noise (`common_noise=False` restores the paper);
- a learned reward, which the paper has not, is weighted in the loss (`Ensemble.losses`);
- angles named by the environment are seen as sine and cosine by the networks, on every task;
- presets other than `paper-*` use smaller networks and populations, and `min_steps` more passes while data are few.
"""

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..build import make_learner, make_planner
from ..core import AbstractLearner, AbstractModel, AbstractPlanningAgent, AbstractRefiningPlanner, AbstractReplay
from ..presets.pets import PETSConfig
from ..types import EnvSpec, Given, Metrics


class PETSState(eqx.Module):
    """What learning changes; nothing when the true model is given."""

    learner: AbstractLearner | None


class PETSSearch(eqx.Module):
    """The search for one action."""

    belief: PyTree
    inner: PyTree


class PETS(AbstractPlanningAgent):
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
    def random_steps(self) -> int:
        return 0 if self.given.model is not None else self.config.random_steps

    @property
    def random_hold(self) -> int:
        return self.config.random_hold

    @property
    def update_every(self) -> int | None:
        return None if self.given.model is not None else self.config.update_every

    def init(self, *, key: PRNGKeyArray) -> PETSState:
        if self.given.model is not None or self.learner is not None:
            return PETSState(self.learner)
        return PETSState(make_learner(self.spec, self.config.model, given=self.given, key=key))

    def model(self, state: PETSState) -> AbstractModel:
        return self.given.model if state.learner is None else state.learner.model

    def init_memory(self, state: PETSState) -> PyTree:
        return self.planner.init()

    def begin(self, state: PETSState, memory: PyTree, obs: Array, *, key: PRNGKeyArray) -> PETSSearch:
        return PETSSearch(self.model(state).init(obs, key=key), self.planner.begin(memory))

    def refine(self, state: PETSState, search: PETSSearch, *, key: PRNGKeyArray) -> PETSSearch:
        return PETSSearch(search.belief, self.planner.refine(self.model(state), search.belief, search.inner, key=key))

    def best(self, state: PETSState, memory: PyTree, search: PETSSearch) -> tuple[Array, PyTree]:
        return self.planner.best(search.inner)

    def update(self, state: PETSState, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[PETSState, Metrics]:
        if state.learner is None:
            return state, {}
        learner, metrics = state.learner.fit(replay, key=key)
        return PETSState(learner), metrics
