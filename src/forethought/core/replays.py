"""Where experience is stored: transitions, sequences, on the device or outside of it."""

import abc
from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ..types import Sequence, Transition


class Addition(eqx.Module):
    """Rows that a round appends to a data set; with `keep`, no more than so many of the newest stay in use then."""

    rows: Transition | None  # leaves [n, ...]; None: nothing is appended
    valid: Bool[Array, " n"] | None = None  # rows that count; None: all
    keep: Int[Array, ""] | int | None = None


Additions = dict[str, Addition]
"""What to append, by the name of the data set."""


class AbstractReplay(eqx.Module):
    """Stored experience."""

    @property
    def traceable(self) -> bool:
        """Whether `add` is pure JAX. Where it does work on the host, only the step driver can fill it."""
        return True

    @property
    @abc.abstractmethod
    def capacity(self) -> int:
        """Rows that fit."""

    @abc.abstractmethod
    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        """Append rows `[n, ...]`, or those of them that are `valid`; the oldest give way.

        Drivers hand over one row of each environment, in the environments' order.
        """

    def kept(self, rows: Int[Array, ""] | int) -> Self:
        """With no more than the newest `rows` in use. Raises TypeError where a replay cannot forget."""
        raise TypeError(f"{type(self).__name__} cannot be told to keep {rows} rows")

    def extended(self, addition: Addition) -> Self:
        """After an addition."""
        new = self if addition.rows is None else self.add(addition.rows, addition.valid)
        return new if addition.keep is None else new.kept(addition.keep)

    def cut(self) -> Self:
        """Abandons all episodes: their newest rows count as truncated, and what is added next continues no stored
        row."""
        return self

    @abc.abstractmethod
    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        """`batch_size` rows drawn uniformly with replacement."""

    @abc.abstractmethod
    def latest(self, n: int) -> Transition:
        """The last `n` rows added, oldest first."""

    @abc.abstractmethod
    def rows(self) -> tuple[Transition, Bool[Array, " capacity"]]:
        """All rows, `[capacity, ...]`, and which of them are in use."""

    def numbers(self) -> Int[Array, " capacity"]:
        """How many rows were added before each of those in use.

        A replay whose rows change their places, or give way to newer ones, says so itself.
        """
        return jnp.arange(self.capacity)


Data = dict[str, Any]
"""Data sets by name; each is an AbstractReplay, of the kind that the agent chose in its `data`."""


class AbstractSequenceReplay(AbstractReplay):
    """Stored experience that remembers what followed what."""

    @abc.abstractmethod
    def sequences(self, batch_size: int, length: int, *, key: PRNGKeyArray) -> Sequence:
        """`batch_size` stretches of `length` consecutive steps `[batch_size, length, ...]`, starts drawn uniformly.

        Episodes may begin and end inside. Raises ValueError if `length` is more than can be stored.
        """


class AbstractHostReplay(AbstractSequenceReplay):
    """Stored experience that is kept outside of JAX. Only the step driver fills it; `sequences` may be traced."""

    @property
    def traceable(self) -> bool:
        return False

    @abc.abstractmethod
    def stage(self, play: Callable[[Self, int], Any]) -> Self:
        """The replay for the round of learning ahead. What it will draw, and the first batch of the round after it, are
        read in the background, and put on the device where that is all that the round draws.

        `play(replay, rounds)` runs the round that is `rounds` after the one ahead, drawing from `replay`, for nothing
        but to see what is drawn.
        """

    @abc.abstractmethod
    def projection(self, steps: int) -> list[str]:
        """What `steps` will take, in a sentence, and warnings; to be shown when a run starts."""

    @abc.abstractmethod
    def learned(self) -> Self:
        """The same, told that a round of learning is over. Raises StorageFault if not all it drew could be read."""

    @abc.abstractmethod
    def flush(self) -> None:
        """Returns once a checkpoint of this replay could be loaded after a power cut. Raises StorageFault."""

    @abc.abstractmethod
    def resumed(self) -> tuple[Self, str | None]:
        """The replay to go on with that was read from a checkpoint, and what the user should know.

        Raises UserError if what it holds is not there.
        """
