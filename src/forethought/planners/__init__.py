"""Planners: choose actions by imagining."""

from .cem import CEM
from .gradient import GradientPlanner
from .icem import ICEM
from .mppi import MPPI
from .plan import SequencePlan
from .rollout import imagine, rollout
from .shooting import RandomShooting

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "GradientPlanner",
    "RandomShooting",
    "SequencePlan",
    "imagine",
    "rollout",
]
