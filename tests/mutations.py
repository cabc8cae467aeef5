"""Changes to a JSON record as an editor, a newer version or a bad disk makes them, one at a time."""

import copy
from collections.abc import Iterator
from typing import Any

VALUES = (None, True, -1, 0, 2**70, 1.5, 1e300, float("nan"), float("inf"), "x", "", [], [1], ["x"], {}, {"x": None})


def mutations(record: dict[str, Any], depth: int = 2, values: tuple = VALUES) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field removed and set to each of `values`, an unknown one added; in objects inside too, `depth` in all."""
    for path in _fields(record, depth):
        for value in ("removed", *values):
            changed = copy.deepcopy(record)
            inner = changed
            for name in path[:-1]:
                inner = inner[name]
            if value == "removed":
                del inner[path[-1]]
            elif _same(inner[path[-1]], value):
                continue
            else:
                inner[path[-1]] = value
            yield f"{'.'.join(path)}={value!r}", changed
    for path in [(), *(p for p in _fields(record, depth - 1))]:
        changed = copy.deepcopy(record)
        inner = changed
        for name in path:
            inner = inner[name]
        if isinstance(inner, dict):
            inner["unknown_field"] = 1
            yield f"{'.'.join(path)}.unknown_field", changed


def _fields(record: dict[str, Any], depth: int) -> Iterator[tuple[str, ...]]:
    for name, value in record.items():
        yield (name,)
        if isinstance(value, dict) and depth > 1:
            yield from ((name, *rest) for rest in _fields(value, depth - 1))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
