"""Forethought: model-based reinforcement learning in JAX.

Learn a model of the world from little data, then plan in it. Start with `forethought.train`. Names are imported
when they are first used, so `import forethought` is quick.
"""

from __future__ import annotations

import importlib

from .version import __version__

_HOME = {
    "train": "api",
    "resume": "api",
    "load_run": "api",
    "doctor": "api",
    "Run": "api",
    "Policy": "policy",
    "AGENTS": "catalogue",
    "RunConfig": "presets.run",
    "make_env": "envs.make",
    "make_gym": "envs.gym",
    "check_env": "envs.check",
    "AbstractAgent": "core",
    "AbstractEnv": "core",
    "AbstractHostEnv": "core",
    "AbstractLearner": "core",
    "AbstractModel": "core",
    "AbstractPlanner": "core",
    "AbstractPlanningAgent": "core",
    "AbstractRefiningPlanner": "core",
    "AbstractReplay": "core",
    "Addition": "core",
    "Box": "types",
    "Discrete": "types",
    "EnvSpec": "types",
    "Given": "types",
    "Prediction": "types",
    "Round": "core",
    "Schedule": "core",
    "Transition": "types",
    "UserError": "errors",
    "DiagonalNormal": "networks.distributions",
    "Simulator": "models.simulator",
    "SequenceReplay": "replay.sequence",
    "UniformReplay": "replay.uniform",
    "SequencePlan": "planners.plan",
    "branches": "core.imagine",
    "imagine": "core.imagine",
    "rollout": "planners.rollout",
    "pointwise": "types",
}
__all__ = ["__version__", *_HOME]

TYPE_CHECKING = False  # without importing typing, which takes a moment in which the command line cannot be interrupted
if TYPE_CHECKING:
    from typing import Any

    from .api import Run as Run
    from .api import doctor as doctor
    from .api import load_run as load_run
    from .api import resume as resume
    from .api import train as train
    from .policy import Policy as Policy
    from .presets.run import RunConfig as RunConfig


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'forethought' has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_HOME[name]}", __name__), "make" if name == "make_env" else name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
