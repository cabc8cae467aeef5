"""Uniformly random actions: the baseline below every learner, and the data that models are first fitted to."""

from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractAgent, Additions, Clock, Data, Schedule
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Metrics


class Uniform(AbstractAgent[None, None]):
    """Draws every action uniformly and learns nothing."""

    spec: EnvSpec

    @property
    def schedule(self) -> Schedule:
        return Schedule(0, ())

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> None:
        return None

    def init_memory(self, state: None) -> None:
        return None

    def act(
        self, state: None, memory: None, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, None, None]:
        return self.spec.action.sample(key=key), None, None

    def update(
        self, state: None, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[None, Additions, Metrics]:
        return None, {}, {}
