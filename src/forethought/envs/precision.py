"""Observations whose changes are lost when they are cast to float32, such as seconds since 1970."""

import dataclasses
import warnings
from typing import Any

import numpy as np

WATCHED = 2000  # observations, or parts of them, that are looked at
JUDGED_AT = (10, 50, 200)  # and at the end of each episode
COARSE = 1000  # float32 numbers that a range should span
STILL = 1e-8  # what moves less around numbers below LARGE is at rest
LARGE = 1e3


class PrecisionWarning(UserWarning):
    """An observation changes by less than float32 can tell apart."""


@dataclasses.dataclass
class _Part:
    """What one part of the observation has done since its episode began; arrays `[dims]`."""

    raw: np.ndarray
    cast: np.ndarray
    low: np.ndarray
    high: np.ndarray
    changes: np.ndarray
    lost: np.ndarray  # changes after which the float32 number was the same
    count: int = 1

    @classmethod
    def begin(cls, raw: np.ndarray, cast: np.ndarray) -> "_Part":
        zeros = np.zeros(raw.shape, int)
        return cls(raw, cast, raw, raw, zeros, zeros)

    def after(self, raw: np.ndarray, cast: np.ndarray) -> "_Part":
        changed = raw != self.raw
        lost = changed & (cast == self.cast)
        low, high = np.minimum(self.low, raw), np.maximum(self.high, raw)
        return _Part(raw, cast, low, high, self.changes + changed, self.lost + lost, self.count + 1)

    def flaw(self, name: str) -> str | None:
        """The first dimension whose changes are mostly lost, in words; None if there is none.

        `name` is that of the part in a Dict or Tuple of several, else empty.
        """
        largest = np.maximum(np.abs(self.low.astype(float)), np.abs(self.high.astype(float)))
        span = (self.high - self.low).astype(float)
        spacing = np.spacing(largest.astype(np.float32)).astype(float)
        coarse = (span < COARSE * spacing) & (span > 1e-12 * largest)
        at_rest = (span < STILL) & (largest < LARGE)
        bad = np.flatnonzero(coarse & ~at_rest & (self.lost >= 2) & (2 * self.lost > self.changes))
        if not bad.size:
            return None
        d = int(bad[0])
        what, remedy = "the observation", "gymnasium.wrappers.TransformObservation(env, lambda obs: obs - first, space)"
        where, box = "observation", "`space` a Box of numpy.float64"
        if name:
            what = where = f"observation {name!r}"
            remedy = "in a gymnasium.ObservationWrapper, or where the environment makes it: value - first"
            box = "a Box of numpy.float64 as its space"
        return (
            f"dimension {d} of {what} moves by {span[d]:.3g} near {float(self.low[d]):.10g}, where float32 "
            f"numbers are {spacing[d]:.3g} apart, so agents do not see it move; subtract a constant in float64: "
            f"{remedy}, with `first` a typical {where} and {box}"
        )


class Precision:
    """Watches what one environment shows, and warns once."""

    def __init__(self) -> None:
        self.told: list[str] = []  # shared between the environments of a run, which warn once together
        self._parts: list[_Part | None] = []
        self._moment: Any = None
        self._index = 0
        self._left = WATCHED

    def see(self, raw: np.ndarray, cast: np.ndarray, env: str, moment: tuple[int, int], name: str = "") -> None:
        """Looks at an observation, or the next part of one, called `name`.

        `moment` is its episode and its step, 0 after a reset.
        """
        if self._left <= 0 or self.told or raw.dtype.kind not in "fiu" or raw.dtype.itemsize < 4:
            return
        self._left -= 1
        if moment != self._moment:
            self._moment, self._index = moment, 0
        index, self._index = self._index, self._index + 1
        if raw.dtype == np.float32 or not raw.size:
            return
        self._parts += [None] * (index + 1 - len(self._parts))
        part, raw, cast = self._parts[index], raw.reshape(-1), cast.reshape(-1)
        first = part is None or moment[1] == 0 or part.raw.shape != raw.shape
        if part is not None and first:
            self._judge(part, env, name)
        now = self._parts[index] = _Part.begin(raw, cast) if part is None or first else part.after(raw, cast)
        if now.count in JUDGED_AT:
            self._judge(now, env, name)

    def _judge(self, part: _Part, env: str, name: str) -> None:
        if not self.told and (flaw := part.flaw(name)) is not None:
            self.told.append(flaw)
            warnings.warn(f"{env}: {flaw}", PrecisionWarning, stacklevel=2)
