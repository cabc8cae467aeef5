"""Uniformly random actions: the baseline below every learner, and the data that models are first fitted to."""

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractAgent, AbstractReplay
from ..types import EnvSpec, Metrics


class Uniform(AbstractAgent[None, None]):
    """Draws every action uniformly and learns nothing."""

    spec: EnvSpec
    random_steps: int = eqx.field(static=True, default=0)
    update_every: int | None = eqx.field(static=True, default=None)

    def init(self, *, key: PRNGKeyArray) -> None:
        return None

    def init_memory(self, state: None) -> None:
        return None

    def act(
        self, state: None, memory: None, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, None, None]:
        return self.spec.action.sample(key=key), None, None

    def update(self, state: None, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[None, Metrics]:
        return None, {}
