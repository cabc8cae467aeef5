"""Objects of the user's by the names that they are recorded under, `package.module:name`."""

import importlib
import inspect
import operator
import os
import sys
from typing import Any

from .errors import UserError, nearest


def load_object(name: str) -> Any:
    """The object that `package.module:name` is. Raises UserError if it cannot be imported."""
    module, _, attribute = name.partition(":")
    if not module or not attribute or ":" in attribute or module.startswith("."):
        raise UserError(f"{name!r} must look like package.module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{name!r} cannot be imported: {error}; run from the folder that holds it, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{name!r}: importing {module} raised {said}; mend the module") from error
    try:
        return operator.attrgetter(attribute)(found)
    except AttributeError:
        raise UserError(f"{module} has no {attribute!r}; {nearest(attribute, dir(found))}") from None


def name_of(part: Any) -> str | None:
    """`module:name` of a class or function; None for other objects."""
    if not (inspect.isclass(part) or inspect.isfunction(part)):
        return None
    return f"{part.__module__}:{part.__qualname__}"


def findable(part: Any) -> bool:
    """Whether another process can find `part` by the name it is recorded under."""
    name = part if isinstance(part, str) else name_of(part)
    return name is not None and not name.startswith("__main__:") and "<" not in name
