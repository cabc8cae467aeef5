"""Files of settings for `forethought train --config`: JSON, TOML or YAML, or the `run.json` of a run."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ..catalogue import Entry
from ..errors import UserError, checked_path, nearest
from ..presets.run import RunConfig
from ..presets.values import names, renewed

PARTS = ("agent", "env", "preset", "run", "config")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a file says: a preset, and changes to the options of a run and of an agent."""

    preset: str | None = None
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


NONE = Settings()


def read_settings(file: str, agent: str | None, entry: Entry | None) -> Settings:
    """The settings in a file. Options of the run and of the agent stand side by side, as on the command line, nested
    or with dotted names; or apart, under `run` and `config`, as in a run's `run.json`.

    Raises UserError for a file that cannot be read, settings that do not exist, and those of another agent.
    """
    found = _read(file)
    if isinstance(found.get("run"), Mapping) and isinstance(found.get("config"), Mapping):
        if found.get("agent") not in (None, agent):
            raise UserError(f"{file} holds the settings of {found['agent']}, not of {agent}; train {found['agent']}")
        preset = found.get("preset")
        known = entry is not None and preset in entry.presets
        return Settings(preset if known else None, found["run"], renewed(dict(found["config"])) if entry else {})
    preset = found.pop("preset", None)
    of_run = {field.name for field in dataclasses.fields(RunConfig)}
    run: dict[str, Any] = {}
    config: dict[str, Any] = {}
    base = None if entry is None else entry.preset("default")
    of_agent = [] if base is None else names(base)
    for name, value in found.items():
        plain = str(name).replace("-", "_")
        if plain in of_run:
            run[plain] = value
        elif plain.partition(".")[0] in of_agent:
            config[plain] = value
        else:
            raise UserError(f"{file}: unknown setting {name!r}; {nearest(plain, [*of_agent, *sorted(of_run)])}")
    return Settings(preset, run, config)


def _read(file: str) -> dict[str, Any]:
    path = checked_path(file, "--config")
    path = path / "run.json" if path.is_dir() else path
    readers = {".json": _json, ".toml": tomllib.loads, ".yaml": _yaml, ".yml": _yaml}
    if path.suffix not in readers:
        raise UserError(f"--config {path} must end in .json, .toml or .yaml")
    try:
        found = readers[path.suffix](path.read_text())
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"--config {path} is not {path.suffix[1:].upper()}: {said[:200]}") from None
    if not isinstance(found, dict):
        raise UserError(f"--config {path} must hold a table of settings, such as `steps: 1000`")
    return found


def _json(text: str) -> Any:
    """As `json.loads`. Raises ValueError for a name that stands twice in one table."""

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for i, (name, _) in enumerate(pairs):
            if any(name == other for other, _ in pairs[:i]):
                raise ValueError(f"{name!r} stands in it twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=table)


def _yaml(text: str) -> Any:
    """Plain data alone: `safe_load` makes no objects. Raises UserError without PyYAML, ValueError for bad YAML."""
    try:
        import yaml
    except ImportError:
        raise UserError("YAML needs PyYAML: pip install pyyaml, or write the settings as .toml or .json") from None
    try:
        return _numbers(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; everybody means the number."""
    if isinstance(value, dict):
        return {name: _numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value
