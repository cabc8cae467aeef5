"""One thing that the doctor found."""

import dataclasses
from typing import Any, Literal

from ..errors import UserError

Severity = Literal["error", "warning", "note"]
"""error: data or model are wrong; warning: they probably are, or are of little use; note: good to know."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong, how that shows, and what to do about it."""

    name: str
    severity: Severity
    sentence: str  # plain language, with the numbers that matter
    remedy: str
    numbers: dict[str, float]  # the evidence, as it was compared with the thresholds

    def as_dict(self) -> dict[str, Any]:
        """As plain numbers and texts; what is not finite becomes None."""
        numbers = {k: round(v, 6) if abs(v) < float("inf") else None for k, v in self.numbers.items()}
        return dataclasses.asdict(self) | {"numbers": numbers}


def told(error: Exception) -> str:
    """What an error says, on one line; and of what kind it is, unless it is addressed to the user."""
    kind, lines = type(error).__name__, str(error).splitlines() or [""]
    # Equinox puts the stack before what its `error_if` has to say.
    said = next((line.partition(": ")[2] for line in lines if line.startswith(f"equinox.{kind}: ")), lines[0])
    return said if isinstance(error, UserError) else f"{kind}: {said}"
