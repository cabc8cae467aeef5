"""What a result card says, and the cards there are."""

import dataclasses
from typing import Any

from ..errors import UserError, nearest
from ..presets.run import RunConfig


@dataclasses.dataclass(frozen=True)
class Oracle:
    """The return of a planner on the true dynamics, measured here."""

    env: str
    mean_return: float
    """Mean over seeds and episodes."""
    how: str
    """Planner, seeds and episodes."""
    raw: str
    """Committed file that the figure comes from."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A claim that a command checks: what is run, how much of it, and what counts as passed.

    The mark holds for the median over the card's seeds of the last policy's mean evaluation return.
    """

    name: str
    agent: str
    env: str
    env_version: str
    preset: str
    run: RunConfig
    seeds: int
    given: str
    """What is given and what is learned."""
    mark: float
    """Median final return that passes."""
    mark_reason: str
    published: str
    """The published number, with its source."""
    raw: str
    """Folder of committed raw curves, one file per seed."""

    def as_dict(self) -> dict[str, Any]:
        """As nested dictionaries."""
        return dataclasses.asdict(self)


ORACLES: dict[str, Oracle] = {
    "pets-cartpole": Oracle(
        env="pets-cartpole",
        mean_return=179.604,
        how="CEM 400 candidates x 5 iterations, 40 elites, horizon 25, on the true dynamics",
        raw="reproductions/oracles/pets-cartpole.json",
    )
}

CARDS: dict[str, Card] = {
    "pets/cartpole": Card(
        name="pets/cartpole",
        agent="pets",
        env="pets-cartpole",
        env_version="forethought 0.1.0 (checked step by step against MuJoCo)",
        preset="cartpole",
        run=RunConfig(steps=2000, eval_every=400, eval_episodes=1, final_episodes=10),
        seeds=10,
        given="reward given (the task's function of obs, action, next_obs); the task never terminates",
        mark=0.95 * ORACLES["pets-cartpole"].mean_return,
        mark_reason="95 % of the planner on the true dynamics",
        published="199.6 +- 4.6 over 4 seeds after 50,000 steps in another cart-pole with a maximum of 200 "
        "(POPLIN, Wang & Ba 2020, Table 1); the PETS paper gives curves only",
        raw="reproductions/pets-cartpole",
    )
}


def find(name: str) -> Card:
    """A card by name. Raises UserError, with the nearest names, if there is none."""
    if name not in CARDS:
        raise UserError(f"unknown card {name!r}; {nearest(name, list(CARDS))}")
    return CARDS[name]


def oracle_return(env: str) -> float | None:
    """The committed return of a planner on the true dynamics of `env`, where there is one."""
    return ORACLES[env].mean_return if env in ORACLES else None
