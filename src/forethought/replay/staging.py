"""Batches that are read in the background, in the order in which they will be asked for."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from ..errors import StorageFault

AHEAD = 3  # batches that are read before they are asked for


class Asked(NamedTuple):
    """What a batch is asked for by."""

    batch_size: int
    length: int
    key: tuple[int, ...]


class Window(NamedTuple):
    """Steps that a batch is drawn from: `begin[i]` to `end[i] - 1` of environment i."""

    begin: tuple[int, ...]
    end: tuple[int, ...]

    @classmethod
    def of(cls, bounds: Iterable[np.ndarray]) -> "Window":
        """From arrays `[num_envs]`."""
        begin, end = (tuple(np.asarray(bound).tolist()) for bound in bounds)
        return cls(begin, end)


class Wanted(NamedTuple):
    """A batch that will be asked for."""

    asked: Asked
    window: Window
    on_device: bool = False  # put it there too, once it is read


class Staging:
    """Reads batches that are known to be wanted, `AHEAD` of them at a time."""

    def __init__(self, draw: Callable[[Asked, Window], Any]) -> None:
        """`draw` reads one batch into NumPy arrays; it is called from a thread of its own."""
        self._draw = draw
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="replay")
        self._begun: collections.deque[tuple[Wanted, concurrent.futures.Future]] = collections.deque()
        self._later: collections.deque[Wanted] = collections.deque()
        self._windows: dict[Asked, Window] = {}
        self.end: tuple[int, ...] | None = None  # where the replay ends for which the plan holds
        self.fault: StorageFault | None = None  # why a batch of the round could not be read
        self.noted: list[Asked] = []  # what a round that is only played through has asked for

    def plan(self, wanted: list[Wanted], end: tuple[int, ...]) -> None:
        """Begins to read what a replay that ends at `end` will be asked for, in this order."""
        begun, self._begun = dict(self._begun), collections.deque()
        self._windows, self.end, self._later = {w.asked: w.window for w in wanted}, end, collections.deque()
        for request in wanted:
            if request in begun and not self._later:
                self._begun.append((request, begun[request]))
            else:
                self._later.append(request)
        self._go_on()

    def take(self, asked: Asked, end: tuple[int, ...], otherwise: Window) -> Any:
        """The batch: read already where it is the next in the plan, else drawn now, `otherwise` if not planned."""
        window = self._windows.get(asked, otherwise) if end == self.end else otherwise
        if self._begun and self._begun[0][0][:2] == (asked, window):
            _, batch = self._begun.popleft()
            self._go_on()
            return batch.result()
        return self._draw(asked, window)

    def wait(self) -> None:
        """Returns once nothing is being read."""
        concurrent.futures.wait([batch for _, batch in self._begun])

    def _go_on(self) -> None:
        while self._later and len(self._begun) < AHEAD:
            wanted = self._later.popleft()
            self._begun.append((wanted, self._pool.submit(self._read, wanted)))

    def _read(self, wanted: Wanted) -> Any:
        batch = self._draw(wanted.asked, wanted.window)
        return jax.device_put(batch) if wanted.on_device else batch
