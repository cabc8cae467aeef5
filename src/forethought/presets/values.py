"""Configs to plain dictionaries and back, for run records; nothing is imported and no code is run."""

import dataclasses
import types
import typing
from typing import Any

from ..errors import UserError


def to_dict(config: Any) -> dict[str, Any]:
    """A config as nested dictionaries, lists and numbers."""
    return dataclasses.asdict(config)


def from_dict(kind: type, values: dict[str, Any], where: str = "config") -> Any:
    """A config of type `kind`. Raises UserError naming the first field that is unknown or of the wrong type.

    Fields that are missing take their default: an older run may lack newer options.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}={values!r} must be a table of settings")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UserError(f"{where}.{unknown[0]} is no setting of this version ({kind.__name__} has: {', '.join(hints)})")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if origin is typing.Literal:
        if value in args:
            return value
    elif origin in (types.UnionType, typing.Union):
        for option in args:
            try:
                return _value(option, value, where)
            except UserError:
                continue
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(args[0], v, where) for v in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint is type(None) and value is None:
        return None
    elif isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{where}={value!r} is not of type {getattr(hint, '__name__', hint)}")
