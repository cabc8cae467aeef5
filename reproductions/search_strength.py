"""How strong a search and its network alone become in Connect Four, stage by stage.

    forethought reproduce alphazero/connect-four --out reproductions/alphazero-connect-four
    python reproductions/search_strength.py reproductions/alphazero-connect-four/runs/seed-0

measures the stages that a card's run kept (of many, `--stages` of them, evenly), with its search and as its network
alone: the share of the points in games against UCT with 200 random rollouts, the share against the run's own search as
it was before learning (at equal simulations), and the part of labelled endgames (connect-four-endgames.json) in which
the move keeps the outcome. Then everybody plays everybody, for Elo. Raw figures: search-strength/AGENT-seed-N.json.

    python reproductions/search_strength.py show

draws docs/images/search-strength.png and writes the tables of docs/games.md from the raw files.
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
from writing import DOCS, HERE, IMAGES, put, table, write_raw

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


class Measure:
    """Measures states of a run, with its search and as its network alone; compiled once."""

    def __init__(self, setup: Setup, start: Any, *, games: int, most: int | None, seed: int):
        self.games, self.most, self.key = games, most, jr.key(seed)
        self.game: Any = setup.env
        self.uct, self.beginner = opponent(self.game, "uct-200"), AgentPlayer(setup.agent, start)
        self.agents = {"search": setup.agent, "alone": searching(setup, 0).agent}
        self.acts = {}
        for name, agent in self.agents.items():
            memory = agent.init_memory(start)
            one = lambda player, obs, memory=memory: player.act(memory, obs, key=self.key)[0]
            self.acts[name] = eqx.filter_jit(lambda player, obs, one=one: jax.vmap(lambda o: one(player, o))(obs))

    def __call__(self, state: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, agent in self.agents.items():
            player = AgentPlayer(agent, state)
            match = lambda other, opening, player=player: play(
                self.game, player, other, num_games=self.games, opening=opening, key=self.key
            )
            found[name] = {
                "against_uct": match(self.uct, 0).total.points,
                "against_start": match(self.beginner, 2).total.points,
                "endgames_kept": kept(lambda obs, name=name, player=player: self.acts[name](player, obs), self.most),
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


def measure(path: Path, *, games: int, most: int | None, stages: int) -> None:
    """Writes the raw file of a run, stage by stage; stages that are in it already are kept."""
    run = api.load_run(path)
    setup, seed = run.setup, run.setup.run.seed
    states = {steps: run.stage(steps) for steps in spread(run.folder.stages(), stages)}
    out = HERE / "search-strength" / f"{setup.agent_name}-seed-{seed}.json"
    record = {"agent": setup.agent_name, "preset": setup.preset, "seed": seed, "games": games, "rows": []}
    if out.is_file():
        old = json.loads(out.read_text())
        record["rows"] = [row for row in old["rows"] if old["games"] == games and row["env_steps"] in states]
    of_state = Measure(setup, states[min(states)], games=games, most=most, seed=seed)
    for steps in sorted(set(states) - {row["env_steps"] for row in record["rows"]}):
        record["rows"].append({"env_steps": steps} | of_state(states[steps]))
        write_raw(out, record)
    chosen = {steps: states[steps] for steps in spread(states, 4)}
    record["ladder"] = ladder(setup, chosen, games=games // 2, seed=seed)
    write_raw(out, record)


def even(text: str) -> int:
    """A number of games whose half is even too."""
    value = int(text)
    if value < 4 or value % 4:
        raise argparse.ArgumentTypeError(f"{text} must be a multiple of 4: half of them are played on the ladder")
    return value


def load() -> list[dict[str, Any]]:
    """The raw files, by agent and seed."""
    return [json.loads(path.read_text()) for path in sorted((HERE / "search-strength").glob("*.json"))]


def strength_table(found: list[dict[str, Any]]) -> str:
    """First and last stage: medians over seeds, lowest and highest in brackets."""
    rows = []
    for agent in sorted({one["agent"] for one in found}):
        runs = [one for one in found if one["agent"] == agent]
        for place, when in ((0, "before learning"), (-1, "at the end")):
            for name, title in (("search", "with its search"), ("alone", "network alone")):
                stages = [one["rows"][place] for one in runs]
                elo = [{r["name"]: r["elo"] for r in one["ladder"]["ratings"]} for one in runs]
                rated = [e[f"{name} {stage['env_steps']}"] for e, stage in zip(elo, stages)]
                columns = [
                    *([stage[name][what] for stage in stages] for what in ("against_uct", "against_start")),
                    *([stage[name]["endgames_kept"][stones] for stage in stages] for stones in ("24", "16")),
                ]
                shares = [middle([100 * x for x in column]) for column in columns]
                rows.append([f"{agent}, {when}", title, *shares, middle(rated)])
    heads = [
        "agent",
        "",
        "% of the points against UCT-200",
        "against its first search",
        "% of endgames kept, 24 stones",
    ]
    return table([*heads, "16 stones", "Elo (random: 0)"], rows)


def middle(values: list[float]) -> str:
    """`median (lowest to highest)`."""
    return f"{np.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def show() -> None:
    """Draws what the raw files hold: points against UCT, endgames kept, Elo; one line a seed."""
    found = load()
    put(DOCS / "games.md", "search strength", strength_table(found))
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
                axis.set_title(title if agent == agents[0] else "", fontsize=9)
                axis.tick_params(labelsize=8)
                axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
            row[0].set_ylabel(agent)
            for axis in row[:3]:
                axis.set_ylim(-0.02, 1.02)
        handles = axes[0][0].get_legend_handles_labels()[0][:2]
        axes[0][0].legend(handles, ["with its search", "network alone"], frameon=False, fontsize=8, loc="lower right")
        caption = "by moves played; a line for each seed; dashed: UCT with 200 random rollouts"
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "search-strength.png", draw, size=(11.0, 2.6 * len(agents)))


def main(argv: list[str] | None = None) -> None:
    """Measures a run, or draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run, or `show`")
    parser.add_argument("--games", type=even, default=100, help="of each match (%(default)s)")
    parser.add_argument(
        "--stages", type=int, default=11, help="at most so many, first and last among them (%(default)s)"
    )
    parser.add_argument("--endgames", type=int, default=None, help="of each set, the first so many; default: all")
    given = parser.parse_args(argv)
    if given.run == "show":
        show()
    else:
        measure(Path(given.run), games=given.games, most=given.endgames, stages=given.stages)


if __name__ == "__main__":
    main()
