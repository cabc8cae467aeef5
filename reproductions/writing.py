"""What the scripts of this folder share: raw files that say what they were made with, and tables in the pages."""

import json
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import jax

from forethought.storage import provenance

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parent / "docs"
IMAGES = DOCS / "images"


def write_raw(path: pathlib.Path, values: dict[str, Any]) -> None:
    """Writes `values` with versions and hardware to `path`, one line for each entry of its tables."""
    made_with = {"versions": provenance.versions(), "hardware": provenance.hardware(jax.devices())}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(values | made_with) + "\n")


def load(path: pathlib.Path) -> dict[str, Any]:
    """What a raw file holds."""
    return json.loads(path.read_text())


def _lines(value: Any, indent: str = "") -> str:
    """JSON with one line for every innermost list or number, so that a change can be read in a diff."""
    inner = indent + " "
    nested = lambda x: isinstance(x, dict | list) and any(isinstance(v, dict | list) for v in _parts(x))
    if not nested(value):
        return json.dumps(value)
    if isinstance(value, dict):
        body = ",\n".join(f"{inner}{json.dumps(str(k))}: {_lines(v, inner)}" for k, v in value.items())
        return "{\n" + body + "\n" + indent + "}"
    return "[\n" + ",\n".join(inner + _lines(v, inner) for v in value) + "\n" + indent + "]"


def _parts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def put(page: pathlib.Path, name: str, text: str) -> None:
    """Puts `text` between the page's comments `<!-- name -->` and `<!-- end -->`."""
    old = page.read_text()
    new = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{text}\n{m[2]}", old, flags=re.DOTALL)
    if new == old and text not in old:
        raise ValueError(f"{page} has no block {name}")
    page.write_text(new)


def measure_or_show(doc: str | None, measure: Callable[[], None], show: Callable[[], None]) -> None:
    """Does what the command line asks for; another than `measure` or `show` ends with `doc`."""
    asked = {("measure",): measure, ("show",): show}.get(tuple(sys.argv[1:]))
    if asked is None:
        sys.exit(doc)
    asked()
