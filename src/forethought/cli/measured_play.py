"""What a card of a game measures besides the final evaluation."""

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .. import api
from ..core import AbstractGame
from ..run.lines import every_line
from ..run.matches import AgentPlayer, play
from ..setup import Setup, searching


def measured_play(run: api.Run, wanted: tuple[str, ...], *, games: int) -> dict[str, float]:
    """Fields for the raw file of a finished run.

    `lines`: `lines_lost` is the number of lines of play that the agent loses, of all that opponents can make of the
    game, on both sides; `lines_lost_alone` that of its network without a search. `alone`: `alone_return` is the mean
    result of the network alone against the run's opponent, `alone_against_start` its share of the points against the
    agent's search as it was before any learning.
    """
    setup, state = run.setup, run.agent_state()
    alone = searching(setup, 0)
    game, key = cast(AbstractGame, setup.env), jr.key(setup.run.seed)
    found: dict[str, float] = {}
    if "lines" in wanted:
        found["lines_lost"] = _lost(setup, game, state)
        found["lines_lost_alone"] = _lost(alone, game, state)
    if "alone" in wanted:
        found["alone_return"] = float(alone.evaluator(games)(state, key=key).returns.mean())
        start = setup.agent.init(key=jr.fold_in(key, 1))
        match = play(
            game, AgentPlayer(alone.agent, state), AgentPlayer(setup.agent, start), num_games=games, opening=2, key=key
        )
        found["alone_against_start"] = match.total.points
    return found


def _lost(setup: Setup, game: AbstractGame, state: Any) -> int:
    """Lines of play that the agent loses without exploration."""
    memory, key = setup.agent.init_memory(state), jr.key(0)

    @eqx.filter_jit
    def act(state: Any, obs: jax.Array) -> jax.Array:
        return jax.vmap(lambda o: setup.agent.act(state, memory, o, key=key, explore=False)[0])(obs)

    return every_line(game, lambda obs: act(state, jnp.asarray(obs))).lost
