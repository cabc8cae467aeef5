"""Names of environments, with what is observed and taken there, that can be listed without importing JAX."""

import re
from collections.abc import Iterable

OWN_ENVS = {
    "pets-cartpole": ("vector of 4", "Box of 1"),
    "cartpole-swingup": ("vector of 4", "Box of 1"),
    "pilco-cartpole": ("vector of 4", "Box of 1"),
    "pilco-pendulum": ("vector of 2", "Box of 1"),
    "pendulum": ("vector of 3", "Box of 1"),
    "pendulum-wind": ("vector of 4", "Box of 1"),
    "acrobot": ("vector of 6", "Discrete 3"),
    "acrobot-swingup": ("vector of 4", "Box of 1"),
    "mountain-car": ("vector of 2", "Discrete 3"),
    "mountain-car-continuous": ("vector of 2", "Box of 1"),
    "point-mass": ("vector of 4", "Box of 2"),
    "point-mass-obstacle": ("vector of 4", "Box of 2"),
    "reacher": ("vector of 8", "Box of 2"),
    "block-pushing": ("vector of 8", "Box of 2"),
    "planar-quadrotor": ("vector of 6", "Box of 2"),
    "vehicle": ("vector of 4", "Box of 2"),
    "bicycle": ("vector of 4", "Box of 2"),
    "dynamic-bicycle": ("vector of 6", "Box of 2"),
    "catch": ("picture 10x5x1", "Discrete 3"),
    "gridworld": ("picture 5x5x3", "Discrete 4"),
    "tic-tac-toe": ("picture 3x3x2", "Discrete 9"),
    "connect-four": ("picture 6x7x2", "Discrete 7"),
    "dyna-maze": ("54 states", "Discrete 4"),
    "blocking-maze": ("54 states", "Discrete 4"),
    "shortcut-maze": ("54 states", "Discrete 4"),
    "gridworld-numbered": ("25 states", "Discrete 4"),
    "noisy-chain": ("100 states", "Discrete 2"),
    "random-mdp": ("20 states", "Discrete 4"),
}
"""Our own tasks and games; `forethought.envs.make` knows them too, and a test holds the two together."""

GYMNASIUM = {
    "Acrobot-v1": ("vector of 6", "Discrete 3"),
    "Ant-v5": ("vector of 105", "Box of 8"),
    "BipedalWalker-v3": ("vector of 24", "Box of 4"),
    "BipedalWalkerHardcore-v3": ("vector of 24", "Box of 4"),
    "Blackjack-v1": ("tuple of 3 numbers", "Discrete 2"),
    "CarRacing-v3": ("picture 96x96x3", "Box of 3"),
    "CartPole-v1": ("vector of 4", "Discrete 2"),
    "CliffWalking-v1": ("48 states", "Discrete 4"),
    "CliffWalkingSlippery-v1": ("48 states", "Discrete 4"),
    "FrozenLake-v1": ("16 states", "Discrete 4"),
    "FrozenLake8x8-v1": ("64 states", "Discrete 4"),
    "HalfCheetah-v5": ("vector of 17", "Box of 6"),
    "Hopper-v5": ("vector of 11", "Box of 3"),
    "Humanoid-v5": ("vector of 348", "Box of 17"),
    "HumanoidStandup-v5": ("vector of 348", "Box of 17"),
    "InvertedDoublePendulum-v5": ("vector of 9", "Box of 1"),
    "InvertedPendulum-v5": ("vector of 4", "Box of 1"),
    "LunarLander-v3": ("vector of 8", "Discrete 4"),
    "LunarLanderContinuous-v3": ("vector of 8", "Box of 2"),
    "MountainCar-v0": ("vector of 2", "Discrete 3"),
    "MountainCarContinuous-v0": ("vector of 2", "Box of 1"),
    "Pendulum-v1": ("vector of 3", "Box of 1"),
    "Pusher-v5": ("vector of 23", "Box of 7"),
    "Reacher-v5": ("vector of 10", "Box of 2"),
    "Swimmer-v5": ("vector of 8", "Box of 2"),
    "Taxi-v4": ("500 states", "Discrete 6"),
    "Walker2d-v5": ("vector of 17", "Box of 6"),
}
"""Gymnasium's own; others that are registered are listed by their ids alone."""

_OBSOLETE = re.compile(r"(phys2d|tabular)/|GymV\d+Environment")


def newest(ids: Iterable[str]) -> list[str]:
    """Of Gymnasium ids those of the latest version, without what Gymnasium keeps for compatibility, sorted."""
    latest: dict[str, int] = {}
    for id in ids:
        if not _OBSOLETE.match(id):
            name, _, version = id.rpartition("-v")
            name, number = (name, int(version)) if name and version.isdigit() else (id, -1)
            latest[name] = max(latest.get(name, -1), number)
    return sorted(name if number < 0 else f"{name}-v{number}" for name, number in latest.items())
