"""What an object holds, whatever its class does about it."""

from typing import Any


def held(part: Any) -> dict[str, Any]:
    """Attributes of the instance: in its dictionary and in slots."""
    slots = [name for kind in type(part).__mro__ for name in _names(vars(kind).get("__slots__", ()))]
    kept = vars(part) if isinstance(get(part, "__dict__"), dict) else {}
    return {name: get(part, name) for name in slots if not name.startswith("__")} | kept


def _names(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)


def package_of(kind: type) -> str:
    """The package that a class is of; empty for one that says none, as some of extension modules do."""
    return str(get(kind, "__module__") or "").partition(".")[0]


def get(value: Any, name: str, default: Any = None) -> Any:
    """An attribute, or `default` where there is none or it cannot be read."""
    try:
        return getattr(value, name, default)
    except Exception:  # a property that fails
        return default
