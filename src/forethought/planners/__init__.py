"""Planners: choose actions by imagining. Names are imported when they are first used."""

import importlib
from typing import Any

from .rollout import rollout  # at once: the module has the same name, and would take its place

_HOME = {
    "CEM": "cem",
    "ICEM": "icem",
    "ILQR": "ilqr_planner",
    "MPPI": "mppi",
    "PUCT": "tree_rules",
    "UCB": "tree_rules",
    "UCT": "uct",
    "GradientPlanner": "gradient",
    "Gumbel": "tree_rules",
    "ILQRPlan": "ilqr_planner",
    "LQRPlanner": "ilqr_planner",
    "RandomShooting": "shooting",
    "SequencePlan": "plan",
    "TreePlan": "tree_search",
    "TreeSearch": "tree_search",
    "make_planner": "choice",
}
__all__ = ["rollout", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
