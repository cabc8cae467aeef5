"""AlphaZero learns tic-tac-toe so well that no line of play beats it."""

import dataclasses

import equinox as eqx
import jax
import jax.random as jr
import pytest
from tiny import run_to

from forethought.agents.alphazero import AlphaZero
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.models.simulator import Simulator
from forethought.presets.alphazero import PRESETS
from forethought.replay.games import GameReplay
from forethought.run.jit import JitDriver
from forethought.run.lines import every_line

pytestmark = pytest.mark.slow

GAME = TicTacToe()


def lines_of(state, simulations):
    """Every line of play against the search, or against the network alone."""
    config = dataclasses.replace(PRESETS["tic-tac-toe"], simulations=simulations)
    agent = AlphaZero(GAME.spec, config, rules=Simulator(GAME))
    memory = agent.init_memory(state)
    act = lambda state, obs: agent.act(state, memory, obs, key=jr.key(0), explore=False)[0]
    rows = eqx.filter_jit(lambda state, obs: jax.vmap(lambda o: act(state, o))(obs))
    return every_line(GAME, lambda obs: rows(state, obs))


def test_after_30_rounds_the_search_loses_no_line_and_the_network_alone_hardly_any():
    agent = AlphaZero(GAME.spec, PRESETS["tic-tac-toe"], rules=Simulator(GAME))
    driver = JitDriver(agent, GAME, num_envs=128)
    start = driver.start({"env": GameReplay.empty(GAME.spec, 20_000, 128)}, seed=0)
    assert lines_of(start.agent_state, 0).lost > 100
    end = run_to(driver, start, 30 * agent.schedule.rounds[0].every)
    assert int(end.updates) == 30
    assert lines_of(end.agent_state, PRESETS["tic-tac-toe"].simulations).lost == 0
    assert lines_of(end.agent_state, 0).lost <= 4
