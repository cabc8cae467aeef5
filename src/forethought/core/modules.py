"""Modules with other values in their fields."""

import dataclasses
from typing import Any, TypeVar

import equinox as eqx

Part = TypeVar("Part", bound=eqx.Module)


def replaced(module: Part, **fields: Any) -> Part:
    """`module` with other values in some of its fields, static ones too; its `__init__` is not called."""
    new = object.__new__(type(module))
    for field in dataclasses.fields(module):
        object.__setattr__(new, field.name, fields.get(field.name, getattr(module, field.name)))
    return new
