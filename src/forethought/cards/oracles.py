"""The planners on the true dynamics that marks are relative to."""

from .card import Oracle

_CEM = "CEM 400 candidates x 5 iterations, 40 elites, horizon 25, on the true dynamics"
ORACLES: dict[str, Oracle] = {
    "pets-cartpole": Oracle(
        env="pets-cartpole", mean_return=179.604, how=_CEM, raw="reproductions/oracles/pets-cartpole.json"
    ),
    "Pendulum-v1": Oracle(
        env="Pendulum-v1",
        mean_return=-174.521,
        random_return=-1239.579,
        how=_CEM,
        raw="reproductions/oracles/Pendulum-v1.json",
    ),
    "cartpole-swingup": Oracle(
        env="cartpole-swingup",
        mean_return=27.042,
        random_return=0.337,
        how=_CEM,
        raw="reproductions/oracles/cartpole-swingup.json",
    ),
}

RANDOM_LUNAR_LANDER = -199.228
"""Upper end of the 95 % interval of random actions' mean return on LunarLanderContinuous-v3: 400 episodes, mean -212.2
(reproductions/random/LunarLanderContinuous-v3.json)."""


def share_of_gap(env: str, share: float) -> float:
    """The return at `share` of the way from random actions to the oracle."""
    oracle = ORACLES[env]
    if oracle.random_return is None:
        raise ValueError(f"{env}: the return of random actions was not measured")
    return oracle.random_return + share * (oracle.mean_return - oracle.random_return)


def oracle_return(env: str) -> float | None:
    """The committed return of a planner on the true dynamics of `env`, where there is one."""
    return ORACLES[env].mean_return if env in ORACLES else None
