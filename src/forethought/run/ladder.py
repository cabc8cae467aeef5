"""A ladder: everybody against everybody, rated."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractGame
from ..diagnostics.elo import Result
from .matches import AbstractPlayer, play


def climb(
    game: AbstractGame,
    players: Mapping[str, AbstractPlayer],
    *,
    num_games: int,
    opening: int = 2,
    key: PRNGKeyArray,
) -> Iterator[Result]:
    """Matches of `num_games` between every two of `players`, one after another, for `diagnostics.elo.ratings`.

    Games begin with `opening` random moves, the same for both sides, since players that leave nothing to chance would
    play one game over and over. Raises ValueError as `matches.play`.
    """
    for number, (one, other) in enumerate(itertools.combinations(players, 2)):
        match = play(
            game,
            players[one],
            players[other],
            num_games=num_games,
            opening=opening,
            key=jr.fold_in(key, number),
        )
        yield Result(one, other, *match.total)


def spread(stages: Mapping[int, Any], most: int) -> list[int]:
    """At most `most` of the steps at which there are stages, evenly spread, the first and the last among them."""
    steps = sorted(stages)
    if len(steps) <= most:
        return steps
    return [steps[i] for i in sorted(set(np.linspace(0, len(steps) - 1, most).round().astype(int).tolist()))]
