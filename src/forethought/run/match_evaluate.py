"""Evaluation in games of two: matches against a standard opponent."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractAgent, AbstractGame
from .evaluate import Evaluation
from .interface import AbstractEvaluator
from .matches import AbstractPlayer, AgentPlayer, play
from .progress import EVALUATE, stream

GAMES_AT_ONCE = 200


class MatchEvaluator(AbstractEvaluator):
    """Plays games against `opponent`, half of them on each side, without exploration.

    A game is an episode, and its return the agent's result: 1, 0 for a draw (or where time was up), or -1.
    """

    matches = True

    def __init__(self, agent: AbstractAgent, game: AbstractGame, opponent: AbstractPlayer, *, num_games: int):
        """An odd number of games is rounded up. Raises ValueError if it is below 1."""
        if num_games < 1:
            raise ValueError(f"num_episodes={num_games} must be at least 1")
        self.agent, self.game, self.opponent = agent, game, opponent
        self.num_games = num_games + num_games % 2

    def steps(
        self,
        state: Any,
        *,
        key: PRNGKeyArray,
        clock: int | None = None,
        films: Any = (),
        enough: Any = None,
    ) -> Iterator[float | Evaluation]:
        """Games as first player come before the others. Rules do not change with the `clock`."""
        returns, lengths, begun = [], [], 0
        while begun < self.num_games:
            count = min(GAMES_AT_ONCE, self.num_games - begun)
            player = AgentPlayer(self.agent, state)
            draw = stream(key, EVALUATE, begun)
            match = play(self.game, player, self.opponent, num_games=count, key=draw)
            returns.append(match.outcomes)
            lengths.append(match.lengths)
            begun += count
            if begun < self.num_games:
                yield begun / self.num_games
        outcomes, moves = (np.concatenate(x, axis=1).reshape(-1) for x in (returns, lengths))
        yield Evaluation(outcomes.astype(np.float32), moves, np.ones(len(moves), bool), None, None)
