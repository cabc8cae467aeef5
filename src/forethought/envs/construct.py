"""Environments from what makes them: arguments handed over, failures told with the remedy that fits."""

import inspect
import json
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from ..errors import UserError, nearest
from .headless import no_picture, opengl_failed
from .third_party import PIP

OF_GYMNASIUM = {"max_episode_steps", "disable_env_checker"}  # arguments of gymnasium.make itself


def json_kwargs(env_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments as a run's record gives them back: tuples become lists. Raises UserError for other values."""
    if env_kwargs is None:
        return {}
    if not isinstance(env_kwargs, Mapping):
        raise UserError(f"env_kwargs={env_kwargs!r} must be a dictionary of arguments by name, such as {{'size': 4}}")
    plain = {}
    for name, value in env_kwargs.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(f"env_kwargs: {name!r} is no name of an argument; wanted a word such as size")
        try:
            plain[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            raise UserError(
                f"env_kwargs: {name}={value!r} cannot be written to run.json, which holds numbers, text, lists and "
                "dictionaries; hand in a function that makes the environment instead"
            ) from None
    return plain


def construct(maker: Callable[..., Any], name: str | None = None, kwargs: Mapping[str, Any] | None = None) -> Any:
    """What the class or function makes, with RGB frames if it is a class that offers them; `name` is for messages.

    Raises UserError.
    """
    label = name or getattr(maker, "__name__", repr(maker))
    arguments = dict(kwargs or {})
    check_arguments(label, maker, arguments)
    if inspect.isclass(maker) and issubclass(maker, gymnasium.Env):
        arguments = _with_frames(maker, arguments, kwargs=False)
    try:
        return maker(**arguments)
    except Exception as error:
        raise failed(label, error) from error


def make_registered(id: str, kwargs: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """The environment registered under `id`, with RGB frames if it offers them. Raises UserError."""
    spec, arguments = gymnasium.spec(id), dict(kwargs or {})
    try:
        creator = spec.entry_point
        if isinstance(creator, str):
            creator = load_env_creator(creator)
        if creator is not None:
            own = {key: value for key, value in arguments.items() if key not in OF_GYMNASIUM}
            check_arguments(id, creator, {**spec.kwargs, **own})
            arguments = _with_frames(creator, arguments, kwargs=True)
        return gymnasium.make(spec, **{"disable_env_checker": True, **arguments})
    except Exception as error:
        if isinstance(error, TypeError) and "render_mode" in str(error) and not (kwargs and "render_mode" in kwargs):
            return gymnasium.make(spec, **{"disable_env_checker": True, **(kwargs or {})})  # its **kwargs take none
        raise failed(id, error) from error


def _with_frames(creator: Callable[..., Any], arguments: dict[str, Any], *, kwargs: bool) -> dict[str, Any]:
    """The arguments, with `render_mode` where `creator` offers RGB frames and takes it, by name or in **kwargs."""
    metadata = getattr(creator, "metadata", None)  # of a wrapper's class it is a property
    offered = metadata.get("render_modes") if isinstance(metadata, Mapping) else None
    if "render_mode" in arguments or "rgb_array" not in (offered or ()):
        return arguments
    taken = inspect.signature(creator).parameters.values()
    if any(p.name == "render_mode" or (kwargs and p.kind is p.VAR_KEYWORD) for p in taken):
        return {**arguments, "render_mode": "rgb_array"}
    return arguments


def check_arguments(label: str, maker: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raises UserError for arguments that `maker` does not take, and for those that it needs besides."""
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # built in, without a signature
        return
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = [p.name for p in named]
    unknown = [name for name in arguments if name not in known and not anything]
    if unknown:
        hint = nearest(unknown[0], known) if known else "it takes none; leave env_kwargs out"
        raise UserError(f"{label} takes no argument {unknown[0]!r}; {hint}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in arguments]
    missing += [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if missing:
        words = " ".join(f"{name}=..." for name in missing)
        raise UserError(
            f"{label} cannot be constructed without {', '.join(missing)}: give --env.kwargs {words} (env_kwargs in "
            "Python), or a function without arguments that makes one"
        )


def failed(label: str, error: Exception) -> UserError:
    """What to say of a constructor that raised: what and where, and the remedy that fits."""
    if isinstance(error, UserError):
        return error
    if opengl_failed(error):
        return no_picture(label, error)
    said = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(str(error).split()))[:500]
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        package = PIP.get(module, module)
        return UserError(
            f'{label} needs the package {error.name}, which is not installed; run: pip install "{package}"'
        )
    ours = "not installed" in said and ("mujoco" in said.lower() or "pygame" in said)
    if isinstance(error, ImportError | gymnasium.error.Error):
        remedy = '; run: pip install "forethought[envs]"' if ours else ""
        return UserError(f"{label} cannot be made: {said or type(error).__name__}{remedy}")
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames and frames[-1].filename != __file__ else None
    where = f" (raised in {Path(last.filename).name}, line {last.lineno}: {last.line})" if last else ""
    what = f"{type(error).__name__}: {said}" if said else f"{type(error).__name__} without a message"
    if any("gymnasium_robotics" in frame.filename for frame in frames) and not _version("mujoco").startswith("3.3."):
        remedy = f'mujoco {_version("mujoco")} is installed; run: pip install "mujoco==3.3.7" "dm-control<1.0.35"'
    elif "mujoco" in said.lower() or any("mujoco" in frame.filename for frame in frames):
        remedy = f"mujoco {_version('mujoco')} is installed, and it may need another: see which one its package names"
    else:
        remedy = "mend it there, or hand other arguments over (--env.kwargs name=value, env_kwargs in Python)"
    return UserError(f"{label} cannot be constructed: {what}{where}; {remedy}")


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
