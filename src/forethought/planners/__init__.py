"""Planners: choose actions by imagining."""

from .cem import CEM
from .gradient import GradientPlanner
from .icem import ICEM
from .ilqr_planner import ILQR, ILQRPlan, LQRPlanner
from .mppi import MPPI
from .plan import SequencePlan
from .rollout import rollout
from .shooting import RandomShooting
from .tree_rules import PUCT, UCB, Gumbel
from .tree_search import TreePlan, TreeSearch
from .uct import UCT

__all__ = [
    "CEM",
    "ICEM",
    "ILQR",
    "MPPI",
    "PUCT",
    "UCB",
    "UCT",
    "GradientPlanner",
    "Gumbel",
    "ILQRPlan",
    "LQRPlanner",
    "RandomShooting",
    "SequencePlan",
    "TreePlan",
    "TreeSearch",
    "rollout",
]
