"""What a result card says."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..presets.run import RunConfig

Results = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""By arm and seed, what the raw file of that run holds (`final_return`, `rows`, ...)."""


@dataclasses.dataclass(frozen=True)
class Oracle:
    """The return of a planner on the true dynamics, measured here."""

    env: str
    mean_return: float
    """Mean over seeds and episodes."""
    how: str
    """Planner, seeds and episodes."""
    raw: str
    """Committed file that the figures come from."""
    random_return: float | None = None
    """Mean return of uniformly random actions, where it was measured."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way in which a card's agent is run on its task."""

    name: str
    """Subfolder of its runs and raw files; empty where a card has one arm."""
    preset: str
    run: RunConfig
    agent: str | None = None
    """Where it is another than the card's, to be compared with."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """One thing that must hold: `measure` of the results is at least `bound`, or at most, where it says so."""

    what: str
    bound: float
    reason: str
    measure: Callable[[Results], float]
    at_most: bool = False

    def passed(self, measured: float) -> bool:
        """Whether `measured` is good enough."""
        return measured <= self.bound if self.at_most else measured >= self.bound


@dataclasses.dataclass(frozen=True)
class Card:
    """A claim that a command checks: what is run, how much of it, and what counts as passed.

    A return is the mean over the final evaluation's episodes of the last policy, without exploration.
    """

    name: str
    agent: str
    env: str
    env_version: str
    arms: tuple[Arm, ...]
    seeds: int
    """Of each arm."""
    given: str
    """What is given and what is learned."""
    marks: tuple[Mark, ...]
    """All must hold."""
    published: str
    """The published number, with its source."""
    raw: str
    """Folder of committed raw curves, one file per arm and seed."""
    model_errors: bool = False
    """Whether each run's model is also held against random and against its own episodes."""
    counted_episodes: int | None = None
    """[Runs of several seeds] Raw files keep the lengths of so many first training episodes of every seed, and the
    rewards that training gathered."""
    ends: bool = False
    """Whether it is also measured how far from its goal the last policy ends."""
    play: tuple[Literal["lines", "alone"], ...] = ()
    """[Games of two] What is measured besides: every `lines` of play, and how the network plays `alone`."""
    balanced_steps: int = 0
    """Steps at a trial's end in which the cost must stay below 0.1 for it to be balanced; 0: that is not measured."""
