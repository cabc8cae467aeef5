"""What a run is carried out by, whichever kind of environment it has: one driver and one evaluator interface."""

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from jaxtyping import PRNGKeyArray

from ..core import AbstractAgent, AbstractReplay

if TYPE_CHECKING:
    from .actor import Latency
    from .evaluate import Evaluation
    from .film import Film
    from .progress import Progress


class AbstractDriver(abc.ABC):
    """Trains one agent in one environment, or in several side by side."""

    agent: AbstractAgent
    latency: "Latency | None" = None  # how long actions took, where they have a deadline
    yields_every_step = False  # whether `train` yields after every step, rather than now and then

    @abc.abstractmethod
    def start(self, data: dict[str, AbstractReplay], *, seed: int) -> "Progress":
        """The progress before the first step; `data` are the agent's data sets, empty."""

    @abc.abstractmethod
    def train(
        self, progress: "Progress", *, total_steps: int, pause_every: int | None = None, notes: list[str] | None = None
    ) -> "Iterator[Progress]":
        """Goes on from `progress` until `total_steps`, yielding it first, then after calls of rounds and now and then,
        at every multiple of `pause_every` environment steps at the latest.

        What is learned does not depend on where it yields. What a user should know is put into `notes`. Raises
        EnvironmentFault or TrainingFault where a number is not finite.
        """


class AbstractEvaluator(abc.ABC):
    """Plays episodes without exploration, from starts of their own."""

    films = False  # whether it films episodes while it plays them
    matches = False  # whether episodes are games against an opponent

    @abc.abstractmethod
    def steps(
        self,
        state: Any,
        *,
        key: PRNGKeyArray,
        clock: int | None = None,
        films: "Sequence[Film]" = (),
        enough: Callable[[], bool] = lambda: False,
    ) -> "Iterator[float | Evaluation]":
        """Yields the part done, in (0, 1), and in the end the evaluation of the policy that `state` holds.

        `clock` is the run's step, for tasks that change. Where it `films`, one episode goes into each of `films`; where
        episodes come one after another, none begins once there are `enough`. Raises EnvironmentFault or TrainingFault
        where a number that counts is not finite.
        """

    def __call__(self, state: Any, *, key: PRNGKeyArray) -> "Evaluation":
        """The evaluation of the policy that `state` holds."""
        return finished(self.steps(state, key=key))


def finished(parts: "Iterator[float | Evaluation]") -> "Evaluation":
    """Runs an evaluation to its end, and returns what it yields last."""
    *_, last = parts
    return cast("Evaluation", last)
