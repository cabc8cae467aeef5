"""How strong a search and its network alone become in Connect Four, iteration by iteration.

    python reproductions/search_strength.py alphazero
    python reproductions/search_strength.py expert-iteration

trains one seed with the settings of the agent's card and, before learning and then at even distances, measures the
agent with its search and its network alone: the share of the points in games against UCT with 200 random rollouts, the
share against the agent's own search as it was before learning (at equal simulations), and the part of labelled endgames
(connect-four-endgames.json) in which the move keeps the outcome. Raw figures go to search-strength/AGENT-seed-N.json.
"""

import argparse
import collections
import json
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from writing import HERE, write_raw

from forethought.cards import find
from forethought.envs.games.connect_four_solver import observation, position
from forethought.run.matches import AgentPlayer, play
from forethought.setup import Setup, build, opponent, searching

ENDGAMES = HERE / "connect-four-endgames.json"


def kept(act: Callable[[jax.Array], jax.Array], most: int | None) -> dict[str, float]:
    """By stones on the board: how often `act`, of observations `[n, obs]`, keeps the outcome of the position."""
    shares = {}
    for stones, entries in json.loads(ENDGAMES.read_text())["positions"].items():
        entries = entries[:most]
        obs = jnp.asarray(np.stack([observation(position(entry["moves"])) for entry in entries]))
        best = [max(value for value in entry["values"] if value is not None) for entry in entries]
        played = [entry["values"][int(action)] for entry, action in zip(entries, act(obs))]
        shares[stones] = round(float(np.mean([p == b for p, b in zip(played, best)])), 4)
    return shares


def measured(setup: Setup, state: Any, start: Any, *, games: int, most: int | None, seed: int) -> dict[str, Any]:
    """What is known of one state, with a search and alone."""
    found: dict[str, Any] = {}
    game, key = setup.env, jr.key(seed)
    uct, beginner = opponent(game, "uct-200"), AgentPlayer(setup.agent, start)
    for name, one in (("search", setup), ("alone", searching(setup, 0))):
        player, memory = AgentPlayer(one.agent, state), one.agent.init_memory(state)
        act = eqx.filter_jit(lambda player, obs, m=memory: jax.vmap(lambda o: player.act(m, o, key=key)[0])(obs))
        found[name] = {
            "against_uct": play(game, player, uct, num_games=games, key=key).total.points,
            "against_start": play(game, player, beginner, num_games=games, opening=2, key=key).total.points,
            "endgames_kept": kept(lambda obs, act=act, player=player: act(player, obs), most),
        }
    return found


def main(argv: list[str] | None = None) -> None:
    """Trains and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", choices=("alphazero", "expert-iteration"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=None, help="moves; default: those of the card")
    parser.add_argument("--times", type=int, default=12, help="how often it is measured (%(default)s)")
    parser.add_argument("--games", type=int, default=100, help="of each match (%(default)s)")
    parser.add_argument("--endgames", type=int, default=None, help="of each set, the first so many; default: all")
    parser.add_argument("--out", default=None, help="raw file; default: search-strength/AGENT-seed-N.json")
    given = parser.parse_args(argv)
    arm = find(f"{given.agent}/connect-four").arms[0]
    steps = given.steps or arm.run.steps
    setup = build(given.agent, "connect-four", preset=arm.preset, run=arm.run)
    driver = setup.driver()
    progress = driver.start(setup.replay(HERE / "unused"), seed=given.seed)
    start = jax.tree.map(lambda x: x.copy() if eqx.is_array(x) else x, progress.agent_state)
    rows, spent = [], 0.0
    for goal in np.linspace(0, steps, given.times).astype(int):
        begun = time.process_time()
        [progress] = collections.deque(driver.train(progress, total_steps=int(goal)), maxlen=1)
        spent += time.process_time() - begun
        options = {"games": given.games, "most": given.endgames, "seed": given.seed}
        row = measured(setup, progress.agent_state, start, **options)
        rows.append({"env_steps": int(progress.env_steps), "updates": int(progress.updates), "cpu_s": round(spent, 1)})
        rows[-1] |= row
        path = HERE / "search-strength" / f"{given.agent}-seed-{given.seed}.json" if given.out is None else given.out
        write_raw(HERE / path, {"agent": given.agent, "preset": arm.preset, "seed": given.seed, "rows": rows})


if __name__ == "__main__":
    main()
