"""From a planner's config to the planner; a planner's module is imported when it is chosen."""

import importlib

from ..core import AbstractRefiningPlanner
from ..presets.parts import PlannerConfig
from ..types import ActionSpace, Box

PLANNERS = {
    "cem": ("cem", "CEM"),
    "icem": ("icem", "ICEM"),
    "mppi": ("mppi", "MPPI"),
    "shooting": ("shooting", "RandomShooting"),
    "gradient": ("gradient", "GradientPlanner"),
    "ilqr": ("ilqr_planner", "ILQR"),
    "lqr": ("ilqr_planner", "LQRPlanner"),
    "tree": ("tree_search", "TreeSearch"),
}
"""Module and class by kind. Each class has `from_config(action, config)`."""


def make_planner(action: ActionSpace, config: PlannerConfig) -> AbstractRefiningPlanner:
    """The planner that `config.kind` names. Raises ValueError if its sizes clash or it cannot take `action`."""
    if config.kind not in PLANNERS:
        raise ValueError(f"planner kind={config.kind!r} must be one of {', '.join(PLANNERS)}")
    if config.kind in ("gradient", "ilqr", "lqr") and not isinstance(action, Box):
        raise ValueError(f"planner kind={config.kind!r} needs continuous actions; use cem, icem, mppi or shooting")
    module, name = PLANNERS[config.kind]
    return getattr(importlib.import_module(f".{module}", __package__), name).from_config(action, config)
