"""Configs to plain dictionaries and back, and checks of their values; nothing is imported and no code is run."""

import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from ..errors import UserError, checked_path, nearest
from .bounds import checked_number, declared

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """A config as nested dictionaries, lists and numbers."""
    return dataclasses.asdict(config)


def from_dict(kind: type, values: dict[str, Any], where: str = "config") -> Any:
    """A config of type `kind`. Raises UserError naming the first field that is unknown or of the wrong type.

    Fields that are missing take their default: an older run may lack newer options.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}={values!r} must be a table of settings")
    values = renewed(values)
    hints = typing.get_type_hints(kind, include_extras=True)
    unknown = sorted(set(values) - set(hints), key=str)
    if unknown:
        raise UserError(f"{where}.{unknown[0]} is no setting of this version ({kind.__name__} has: {', '.join(hints)})")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def renewed(values: dict[str, Any]) -> dict[str, Any]:
    """A record's settings as this version has them, where an earlier one had them elsewhere."""
    found = {name: renewed(value) if isinstance(value, dict) else value for name, value in values.items()}
    old, planner = values.get("model"), found.get("planner")
    if isinstance(old, dict) and isinstance(planner, dict) and "common_noise" not in planner:
        found["planner"] = {**planner, "common_noise": old.get("common_noise", False)}
    if "num_members" in found:
        found.pop("common_noise", None)  # once an ensemble's, now the planner's
    return found


def checked(config: Config, where: str = "") -> Config:
    """`config` with every value as declared: integral floats are whole numbers, lists are tuples.

    Raises UserError naming the first value of the wrong type or out of bounds.
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    values = {}
    for field in dataclasses.fields(typing.cast(Any, config)):
        hint = hints[field.name]
        renamed = [note.name for note in getattr(hint, "__metadata__", ()) if getattr(note, "name", None) is not None]
        own = renamed[0] if renamed else field.name  # as on the command line, where a part may have no prefix
        path = ".".join(part for part in (where, own) if part)
        values[field.name] = _value(hint, getattr(config, field.name), path)
    return dataclasses.replace(typing.cast(Any, config), **values)


def merged(base: Config, changes: Mapping[str, Any], where: str = "", *, inside: str = "") -> Config:
    """`base`, the part `inside` of a config, with `changes`, nested dictionaries and dotted names alike.

    Raises UserError as `from_dict`, and for a setting that is given twice.
    """
    if not isinstance(changes, Mapping):
        raise UserError(
            f"{'.'.join(filter(None, (where, inside))) or 'config'}={changes!r} must be a table of settings"
        )
    here = f"{inside}." if inside else ""
    prefix, known = (f"{where}." if where else "") + here, [here + name for name in names(base)]
    given = [] if inside else sorted(_leaves(changes))
    for name, other in itertools.pairwise(given):
        if name == other:
            raise UserError(f"setting {prefix}{name} is given twice; leave one out")
    hints = typing.get_type_hints(type(base), include_extras=True)
    for name, value in changes.items():
        first, _, rest = str(name).partition(".")
        first = first.replace("-", "_")
        if first not in hints:
            raise UserError(f"unknown setting {prefix}{name}; {nearest(here + str(name).replace('-', '_'), known)}")
        old = getattr(base, first)
        if rest:
            value = {rest: value}
        if dataclasses.is_dataclass(old) and not isinstance(value, type(old)):
            new = merged(old, value, where, inside=here + first)
        elif rest:
            raise UserError(f"unknown setting {prefix}{name}; {prefix}{first} is a single value")
        else:
            new = _value(hints[first], value, prefix + first)
        base = dataclasses.replace(typing.cast(Any, base), **{first: new})
    return base


def _leaves(changes: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The dotted names of all that `changes` sets."""
    for name, value in changes.items():
        path = before + str(name).replace("-", "_")
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.")
        else:
            yield path


def names(config: Any) -> list[str]:
    """The settings of a config, those of its parts by dotted names."""
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        parts = [f"{field.name}.{name}" for name in names(value)] if dataclasses.is_dataclass(value) else []
        found += [field.name, *parts]
    return found


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated and declared(hint)[0] not in (int, float):
        return _value(args[0], value, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return checked(value, where) if isinstance(value, hint) else from_dict(hint, value, where)
    if hint in (int, float) or origin is Annotated:
        return checked_number(hint, value, where)
    if origin is typing.Literal:
        if value in args:
            return value
        raise UserError(f"{where}={value!r} must be one of {', '.join(map(repr, args))}")
    if origin in (types.UnionType, typing.Union):
        return _of_union(args, value, where)
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    elif hint is type(None) and value is None:
        return None
    elif hint is Path and isinstance(value, Path):
        return checked_path(value, where)
    elif isinstance(hint, type) and isinstance(value, hint):
        if hint is str and not value.replace("\0", ""):
            raise UserError(f"{where}={value!r} is empty; give a value, or leave it out")
        return value
    wanted = "a list, such as [200, 200]" if origin is tuple else f"of type {getattr(hint, '__name__', hint)}"
    raise UserError(f"{where}={value!r} must be {wanted}")


def _of_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first of several types that takes it; of a single one beside None, with its own complaint."""
    if value is None and type(None) in args:
        return None
    options = [option for option in args if option is not type(None)]
    listed = isinstance(value, list | tuple)  # a list is complained of as a list, a number as a number
    options = [option for option in options if (typing.get_origin(option) is tuple) is listed] or options
    for option in options[:-1]:
        try:
            return _value(option, value, where)
        except UserError:
            continue
    return _value(options[-1], value, where)
