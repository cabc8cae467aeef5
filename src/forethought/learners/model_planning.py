"""What agents with a learned or given model share: their state, and an ensemble with what it takes to fit it."""

import equinox as eqx
from jaxtyping import PRNGKeyArray

from ..core import AbstractLearner, AbstractModel, AbstractReplay
from ..fit import GradientLearner
from ..models.ensemble import Ensemble
from ..presets.parts import EnsembleConfig
from ..types import EnvSpec, Given, Metrics


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


def ensemble_learner(
    spec: EnvSpec,
    config: EnsembleConfig,
    *,
    given: Given,
    data_noise: float = 0.0,
    new_fraction: float | None = None,
    old_rows: int = 0,
    key: PRNGKeyArray,
) -> GradientLearner:
    """An ensemble with fresh weights and its optimiser; see GradientLearner for the options of the data.

    Raises ValueError if sizes do not fit one another.
    """
    model = Ensemble(
        spec,
        given=given,
        num_members=config.num_members,
        num_elites=config.num_elites,
        hidden=config.hidden,
        particles=config.particles,
        propagation=config.propagation,
        probabilistic=config.probabilistic,
        target=config.target,
        normalise_targets=config.normalise_targets,
        weight_decay=config.weight_decay,
        activation=config.activation,
        initialisation=config.initialisation,
        key=key,
    )
    return GradientLearner(
        model,
        learning_rate=config.learning_rate,
        epochs=config.epochs,
        min_steps=config.min_steps,
        batch_size=config.batch_size,
        holdout_ratio=config.holdout_ratio,
        patience=config.patience,
        bootstrap=config.bootstrap,
        data_noise=data_noise,
        new_fraction=new_fraction,
        old_rows=old_rows,
    )
