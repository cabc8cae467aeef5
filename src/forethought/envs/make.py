"""Environments by name."""

from ..core import AbstractEnv, AbstractHostEnv
from ..errors import UserError, nearest
from .hosted import HostedJaxEnv
from .pets_cartpole import PetsCartPole
from .repeat import ActionRepeat

OWN = {"pets-cartpole": PetsCartPole}


def make(
    env: object, *, num_envs: int = 1, action_repeat: int = 1, host: bool = False
) -> AbstractEnv | AbstractHostEnv:
    """The environment that `env` names or is."""
    if isinstance(env, str):
        if env not in OWN:
            raise UserError(f"unknown environment {env!r}; {nearest(env, list(OWN))}")
        env = OWN[env]()
    if not isinstance(env, AbstractEnv):
        raise UserError(f"{env!r} is no environment")
    if action_repeat > 1:
        env = ActionRepeat(env, action_repeat)
    return HostedJaxEnv(env, num_envs) if host else env


def list_envs() -> dict[str, list[str]]:
    """Known ids by family."""
    return {"forethought": list(OWN)}
