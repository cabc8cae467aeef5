"""What agents that plan in a model, learned or given, share: their state, and the search for one action."""

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

from ..core import AbstractLearner, AbstractModel, AbstractReplay
from ..types import Given, Metrics


class ModelState(eqx.Module):
    """What learning changes; nothing when the true model is given."""

    learner: AbstractLearner | None

    def model(self, given: Given) -> AbstractModel:
        """The learner's model, or the given one where nothing is learned."""
        return given.model if self.learner is None else self.learner.model

    def fitted(self, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple["ModelState", Metrics]:
        """After a fit to all data so far."""
        if self.learner is None:
            return self, {}
        learner, metrics = self.learner.fit(replay, key=key)
        return ModelState(learner), metrics


class ModelSearch(eqx.Module):
    """The search for one action: where it starts, and how far the planner is."""

    belief: PyTree
    inner: PyTree
