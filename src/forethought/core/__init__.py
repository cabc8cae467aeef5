"""The interfaces that every part is written against. Abstract classes only: a concrete class is never subclassed."""

from .agents import AbstractAgent, AbstractLearner, AbstractPlanningAgent, State
from .envs import AbstractEnv, AbstractGame, AbstractHostEnv, EnvState, HostStep
from .models import AbstractDistribution, AbstractFilter, AbstractModel
from .modules import replaced
from .planners import AbstractPlanner, AbstractRefiningPlanner
from .replays import AbstractHostReplay, AbstractReplay, AbstractSequenceReplay, Addition, Additions, Data
from .schedule import Clock, Round, Schedule

__all__ = [
    "AbstractAgent",
    "AbstractDistribution",
    "AbstractEnv",
    "AbstractFilter",
    "AbstractGame",
    "AbstractHostEnv",
    "AbstractHostReplay",
    "AbstractLearner",
    "AbstractModel",
    "AbstractPlanner",
    "AbstractPlanningAgent",
    "AbstractRefiningPlanner",
    "AbstractReplay",
    "AbstractSequenceReplay",
    "Addition",
    "Additions",
    "Clock",
    "Data",
    "EnvState",
    "HostStep",
    "Round",
    "Schedule",
    "State",
    "replaced",
]
