"""How strong a search and its network alone become in Connect Four, stage by stage.

    forethought reproduce alphazero/connect-four --out reproductions/alphazero-connect-four
    python reproductions/search_strength.py reproductions/alphazero-connect-four/runs/seed-0

measures every stage that a card's run kept, with its search and as its network alone: the share of the points in games
against UCT with 200 random rollouts, the share against the run's own search as it was before learning (at equal
simulations), and the part of labelled endgames (connect-four-endgames.json) in which the move keeps the outcome. Then
everybody plays everybody, for Elo. Raw figures go to search-strength/AGENT-seed-N.json.

    python reproductions/search_strength.py show

draws docs/images/search-strength.png from the raw files.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from writing import HERE, write_raw

from forethought import api
from forethought.diagnostics.elo import ratings
from forethought.diagnostics.figures import MUTED, PALETTE, save_figure
from forethought.envs.games.connect_four_solver import observation, position
from forethought.run.ladder import climb, spread
from forethought.run.matches import AgentPlayer, RandomPlayer, play
from forethought.setup import Setup, opponent, searching

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


def ladder(setup: Setup, states: dict[int, Any], *, games: int, seed: int) -> dict[str, Any]:
    """Ratings of searches, of networks alone, of random play and of UCT."""
    game: Any = setup.env
    players: dict[str, Any] = {"random": RandomPlayer(game), "uct-200": opponent(game, "uct-200")}
    for name, one in (("search", setup), ("alone", searching(setup, 0))):
        players |= {f"{name} {steps}": AgentPlayer(one.agent, state) for steps, state in states.items()}
    results = list(climb(game, players, num_games=games, key=jr.key(seed)))
    return {"games": games, "ratings": [r._asdict() for r in ratings(results)], "results": [list(r) for r in results]}


def measure(path: Path, *, games: int, most: int | None) -> None:
    """Writes the raw file of a run."""
    run = api.load_run(path)
    setup, seed = run.setup, run.setup.run.seed
    states = {steps: run.stage(steps) for steps in run.folder.stages()}
    first, rows = states[min(states)], []
    record = {"agent": setup.agent_name, "preset": setup.preset, "seed": seed, "games": games, "rows": rows}
    out = HERE / "search-strength" / f"{setup.agent_name}-seed-{seed}.json"
    for steps, state in states.items():
        rows.append({"env_steps": steps} | measured(setup, state, first, games=games, most=most, seed=seed))
    chosen = {steps: states[steps] for steps in spread(states, 5)}
    record["ladder"] = ladder(setup, chosen, games=games // 2, seed=seed)
    write_raw(out, record)


def show() -> None:
    """Draws what the raw files hold: points against UCT, endgames kept, Elo; one line a seed."""
    found = [json.loads(path.read_text()) for path in sorted((HERE / "search-strength").glob("*.json"))]
    agents = [name for name in ("alphazero", "expert-iteration") if any(f["agent"] == name for f in found)]
    panels = ("points against uct-200", "points against its first search", "endgames kept (24 stones)", "Elo")

    def draw(figure: Any) -> None:
        axes = figure.subplots(len(agents), len(panels), squeeze=False)
        for row, agent in zip(axes, agents):
            for one in (f for f in found if f["agent"] == agent):
                steps = [r["env_steps"] for r in one["rows"]]
                elo = {r["name"]: r["elo"] for r in one["ladder"]["ratings"]}
                for name, colour in (("search", PALETTE[0]), ("alone", PALETTE[1])):
                    measures = (
                        [r[name]["against_uct"] for r in one["rows"]],
                        [r[name]["against_start"] for r in one["rows"]],
                        [r[name]["endgames_kept"]["24"] for r in one["rows"]],
                    )
                    for axis, values in zip(row, measures):
                        axis.plot(steps, values, color=colour, linewidth=1.4, label=name)
                    rated = {int(k.split()[1]): v for k, v in elo.items() if k.startswith(name)}
                    row[3].plot(sorted(rated), [rated[k] for k in sorted(rated)], color=colour, linewidth=1.4)
                row[3].axhline(elo["uct-200"], color=MUTED, linewidth=0.8, dashes=(5, 3))
            for axis, title in zip(row, panels):
                axis.set_title(title if row is axes[0] else "", fontsize=9)
                axis.tick_params(labelsize=8)
                axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
            row[0].set_ylabel(agent)
            for axis in row[:3]:
                axis.set_ylim(-0.02, 1.02)
        handles = axes[0][0].get_legend_handles_labels()[0][:2]
        axes[0][0].legend(handles, ["with its search", "network alone"], frameon=False, fontsize=8, loc="lower right")
        caption = "by moves played; a line for each seed; dashed: UCT with 200 random rollouts"
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(HERE.parent / "docs/images/search-strength.png", draw, size=(11.0, 2.6 * len(agents)))


def main(argv: list[str] | None = None) -> None:
    """Measures a run, or draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run, or `show`")
    parser.add_argument("--games", type=int, default=100, help="of each match (%(default)s)")
    parser.add_argument("--endgames", type=int, default=None, help="of each set, the first so many; default: all")
    given = parser.parse_args(argv)
    if given.run == "show":
        show()
    else:
        measure(Path(given.run), games=given.games, most=given.endgames)


if __name__ == "__main__":
    main()
