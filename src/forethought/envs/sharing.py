"""What environments hold on to: parts that two of them share, and running statistics that outlive an episode."""

import contextlib
import copy
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, VectorEnv

from ..core import AbstractEnv, AbstractHostEnv
from ..errors import UserError
from .attributes import get, held, package_of
from .shared_state import touched

FEW = 100  # entries of a container that are looked at
MOST = 20_000  # objects that are looked at
STEPPING = ("step", "advance", "simulate", "step_simulation", "stepSimulation", "do_simulation")
STATISTICS = ("obs_rms", "return_rms", "reward_rms", "ret_rms", "rew_rms", "rms", "running_mean", "running_var")
NEW_ONE = "pass a class or a function that makes a new environment at every call"


def parts(env: Any) -> list[Any]:
    """`env`, the environments that it wraps or holds, and their simulators: whatever has a method that steps.

    What they hold in containers, in objects of plain classes, or by a bound method is looked through. JAX environments
    are left out, since they hold no state.
    """
    found: dict[int, Any] = {}
    seen: dict[int, Any] = {}
    left = [env]
    while left and len(seen) < MOST:
        part = left.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        if _steps(part):
            found[id(part)] = part
            left += [*held(part).values(), *_of_class(part)]
        else:
            left += _inside(part)
    return list(found.values())


def shared(one: Any, other: Any) -> Any:
    """A part that both environments hold, the innermost one found; None if there is none."""
    known = {id(part) for part in parts(one)}
    return next((part for part in reversed(parts(other)) if id(part) in known), None)


def separated(envs: Iterable[gymnasium.Env], others: Sequence[Any] = ()) -> list[gymnasium.Env]:
    """`envs`, those that share a part with an earlier one, or with one of `others`, replaced by a deep copy.

    Raises UserError where a copy fails or shares that part too.
    """
    kept: list[gymnasium.Env] = []
    common = False  # whether they share state without a simulator between them
    for env in envs:
        before = [*others, *kept]
        if len(kept) == (0 if others else 1):  # what one pair shares all do
            common = touched(before[0], env) is not None
        kept.append(copied(env, before) if common or _first_shared(before, env) is not None else env)
    return kept


def copied(env: Any, others: Sequence[Any]) -> Any:
    """A deep copy of `env` that shares no part with `others`. Raises UserError where there is none."""
    part = _first_shared(others, env)
    part = touched(others[0], env) if part is None else part
    name = type(env.unwrapped if isinstance(env, gymnasium.Env | VectorEnv) else env).__name__
    try:
        made = copy.deepcopy(env)
    except Exception as error:
        raise UserError(
            f"{name}: a run steps several environments (num_envs, and one for evaluation), but these share one "
            f"{type(part).__name__}, and a deep copy fails with {type(error).__name__}; {NEW_ONE}"
        ) from error
    require_separate(name, *others, made)
    return made


def require_separate(name: str, *envs: Any, remedy: str = NEW_ONE) -> None:
    """Raises UserError if two of `envs` share a part: a step in one of them would be a step in the other."""
    for one, other in itertools.combinations(envs, 2):
        part = shared(one, other)
        if part is not None:
            raise UserError(
                f"{name}: two environments share one {type(part).__name__}, so a step in one would be a step in the "
                f"other; {remedy}"
            )
    if len(envs) > 1 and isinstance(envs[-1], gymnasium.Env | VectorEnv):
        part = touched(envs[0], envs[-1])
        if part is not None:
            raise UserError(
                f"{name}: two environments share one {type(part).__name__}, which changes as one of them steps; make "
                "it in __init__, so that every environment has its own"
            )


def side_by_side(env: VectorEnv) -> list[gymnasium.Env]:
    """The environments of a vector environment that keeps them in a list, as SyncVectorEnv does; else none."""
    kept = [value for value in held(env.unwrapped).values() if isinstance(value, list | tuple)]
    return next(([*value] for value in kept if value and all(isinstance(e, gymnasium.Env) for e in value)), [])


def refuse_running_statistics(name: str, env: Any) -> None:
    """Raises UserError if a wrapper of `env` normalises by statistics that go on changing."""
    for holder, attribute in _running(env):
        raise UserError(
            f"{name}: {holder} keeps running statistics ({attribute}), so evaluations would see other numbers than "
            "training, and a resumed run would not continue; scale by constants instead, with gymnasium.wrappers."
            "TransformObservation or TransformReward, or freeze the statistics: wrapper.update_running_mean = False"
        )


def _first_shared(before: Sequence[Any], env: Any) -> Any:
    return next((part for one in before if (part := shared(one, env)) is not None), None)


def _running(env: Any) -> Iterator[tuple[str, str]]:
    """Class and attribute of every statistic that is not frozen."""
    for part in parts(env):
        frozen = get(part, "update_running_mean") is False
        for name, value in ({} if frozen else held(part)).items():
            inside = {} if _steps(value) or isinstance(value, type) else _named(value)  # a normaliser that it holds
            for holds, statistic in ((name, value), *((f"{name}.{key}", kept) for key, kept in inside.items())):
                if _is_statistic(holds.split(".")[-1], statistic):
                    yield type(part).__name__, holds
        if isinstance(part, AsyncVectorEnv):
            yield from _in_processes(part)


def _in_processes(env: AsyncVectorEnv) -> Iterator[tuple[str, str]]:
    for name in STATISTICS:
        with contextlib.suppress(Exception):  # environments of their own class answer in their own ways
            if any(env.call("has_wrapper_attr", name)):
                frozen = any(env.call("has_wrapper_attr", "update_running_mean"))
                if not frozen or any(env.get_attr("update_running_mean")):
                    yield "a wrapper of AsyncVectorEnv", name


def _is_statistic(name: str, value: Any) -> bool:
    if value is None or isinstance(value, str | bool):
        return False
    known = {field for field in ("mean", "var", "std", "count") if not callable(get(value, field, callable))}
    kept = "mean" in known and len(known) > 1  # a table of data has methods of these names
    return name.lstrip("_") in STATISTICS or (kept and any(callable(get(value, verb)) for verb in ("update", "push")))


def _steps(value: Any) -> bool:
    """Whether it is an environment or a simulator: something with a method that steps and is no pure function."""
    if isinstance(value, type | AbstractEnv):
        return False
    known = isinstance(value, gymnasium.Env | VectorEnv | AbstractHostEnv)
    return known or any(callable(get(value, name)) for name in STEPPING)


def _inside(value: Any) -> list[Any]:
    """What a container holds, an object of a plain class, or the object of a bound method."""
    if isinstance(value, Mapping):
        return list(itertools.islice(value.values(), FEW))
    if isinstance(value, list | tuple):
        return list(value[:FEW])
    if isinstance(value, MethodType):
        return [value.__self__]
    module = package_of(type(value))
    foreign = module in sys.stdlib_module_names or module in ("gymnasium", "numpy", "jax", "jaxlib", "equinox")
    return [] if foreign or isinstance(value, type | AbstractEnv) else list(held(value).values())


def _of_class(part: Any) -> list[Any]:
    """What is kept in the class itself, or used by its functions from outside, by classes that are not Gymnasium's."""
    classes = [kind for kind in type(part).__mro__ if package_of(kind) not in ("gymnasium", "builtins")]
    kept = [value for kind in classes for value in vars(kind).values() if not isinstance(value, property | type)]
    functions = [value for value in kept if isinstance(value, FunctionType) and value.__name__ != "__init__"]
    cells = [cell for function in functions for cell in function.__closure__ or ()]
    used = [f.__globals__[name] for f in functions for name in f.__code__.co_names if name in f.__globals__]
    used += [content for cell in cells if (content := get(cell, "cell_contents")) is not None]
    return [*kept, *(value for value in used if _steps(value) and callable(get(value, "reset")))]


def _named(value: Any) -> dict[str, Any]:
    """What `value` holds, by name or position: attributes, or the entries of a container."""
    if isinstance(value, Mapping):
        return {str(key): kept for key, kept in itertools.islice(value.items(), FEW)}
    if isinstance(value, list | tuple):
        return {str(i): kept for i, kept in enumerate(value[:FEW])}
    return held(value)
