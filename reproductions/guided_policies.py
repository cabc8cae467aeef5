"""Where the policies of the cards of guided policy search end, for starts and targets they were and were not taught.

    forethought reproduce gps/reacher --out reproductions/gps-reacher   # and the other two cards
    python reproductions/guided_policies.py measure   # writes guided-policies/ends.json, from these runs
    python reproductions/guided_policies.py show      # tables in the pages, figure, from the raw files

Each policy plays 100 episodes from new starts, and one from each start of its training.
"""

import json
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from writing import DOCS, HERE, IMAGES, load, measure_or_show, put, table, write_raw

import forethought
from forethought.cards import CARDS
from forethought.cards.marks import values
from forethought.diagnostics.figures import INK, MUTED, PALETTE, save_figure

RAW = HERE / "guided-policies" / "ends.json"
NAMES = ("gps/point-mass", "gps/reacher", "gps/block-pushing")
NEW = 100


def ends(run: Any, env: Any, firsts: Any) -> np.ndarray:
    """First and last observation `[episode, 2, obs]` of the policy from the states seen as `firsts`."""
    agent, state = run.setup.agent, run.agent_state()

    def one(first: Any) -> Any:
        start, obs = env.reset(key=jr.key(0), start=env.state_from(first))

        def step(carry: Any, _: Any) -> Any:
            now, memory, obs = carry
            action, memory, _ = agent.act(state, memory, obs, key=jr.key(0), explore=False)
            now, obs, *_ = env.step(now, action, key=jr.key(0))
            return (now, memory, obs), None

        (_, _, last), _ = jax.lax.scan(step, (start, agent.init_memory(state), obs), length=agent.rounds.steps)
        return jnp.stack([obs, last])

    return np.asarray(jax.jit(jax.vmap(one))(firsts))


def measure() -> dict[str, Any]:
    """First and last distances of every policy; of the reacher also the targets."""
    found: dict[str, Any] = {}
    for name in NAMES:
        folder = HERE / name.replace("/", "-") / "runs"
        found[name] = {}
        for seed in range(CARDS[name].seeds):
            run = forethought.load_run(folder / f"seed-{seed}")
            env = run.setup.env
            new = jax.vmap(lambda key, env=env: env.reset(key=key)[1])(jr.split(jr.key(10_000 + seed), NEW))
            kinds = {"taught": run.agent_state().control.firsts, "new": new}
            row = {}
            for kind, firsts in kinds.items():
                seen = ends(run, env, firsts)
                distance = np.asarray(env.goal_distance(jnp.asarray(seen)))
                row[kind] = {
                    "first": [round(float(x), 5) for x in distance[:, 0]],
                    "last": [round(float(x), 5) for x in distance[:, 1]],
                }
                if name == "gps/reacher":
                    row[kind]["target"] = np.round(seen[:, 0, 4:6], 4).tolist()
            found[name][str(seed)] = row
    return {"episodes": NEW, "ends": found}


def ends_table(raw: dict[str, Any]) -> str:
    """Median and 90 % quantile of the last distance, over episodes of all seeds."""
    rows = []
    for name in NAMES:
        for kind, label in (("taught", "starts of training"), ("new", "new starts and targets")):
            each = [raw["ends"][name][seed][kind] for seed in raw["ends"][name]]
            last, first = (np.concatenate([one[field] for one in each]) for field in ("last", "first"))
            cells = [f"{1000 * np.median(last):.0f} mm", f"{1000 * np.quantile(last, 0.9):.0f} mm"]
            rows.append([f"`{name}`", label, f"{np.mean(first):.2f} m", *cells, f"{np.median(last / first):.1%}"])
    heads = ["card", "from", "mean first distance", "median error", "90 % below", "median error / first"]
    picture = "![Where the reacher's tip ends, for targets it was and was not trained for](../images/gps-held-out.png)"
    return f"{table(heads, rows)}\n\n{picture}"


def card_table() -> str:
    """What the marks ask for and what was measured."""
    rows = []
    for name in NAMES:
        card = CARDS[name]
        raws = [json.loads((HERE.parent / card.raw / f"seed-{seed}.json").read_text()) for seed in range(card.seeds)]
        found = {"": {raw["seed"]: raw for raw in raws}}
        minutes = statistics.median(values(found, "", "wall_s")) / 60
        for mark in card.marks:
            measured = mark.measure(found)
            verdict = "passed" if mark.passed(measured) else "missed"
            bound = f"{'at most' if mark.at_most else 'at least'} {mark.bound:.2f}"
            rows.append([f"`{name}`", mark.what, f"{measured:.2f}", bound, verdict, f"{minutes:.1f}"])
    return table(["card", "mark", "measured", "wanted", "", "minutes a seed"], rows)


def draw_targets(raw: dict[str, Any]) -> None:
    """Targets of one seed's reacher, coloured by where the tip ended."""

    def draw(figure: Any) -> None:
        axes, spread = figure.subplots(1, 2, width_ratios=(1.2, 1))
        row = raw["ends"]["gps/reacher"]["0"]
        new, taught = np.array(row["new"]["target"]), np.array(row["taught"]["target"])
        shown = axes.scatter(*new.T, c=1000 * np.array(row["new"]["last"]), cmap="viridis_r", s=26)
        axes.scatter(*taught.T, s=70, facecolors="none", edgecolors=INK, linewidths=1.2, label="targets of training")
        axes.plot(0, 0, "s", color=MUTED, markersize=7, label="shoulder")
        axes.set_aspect("equal")
        axes.set_title("Seed 0: targets that no controller was trained for")
        axes.legend(frameon=False, fontsize=8, loc="lower left")
        figure.colorbar(shown, ax=axes, label="distance of the tip at the end, mm")
        for number, (kind, label) in enumerate((("taught", "targets of training"), ("new", "new targets"))):
            last = np.concatenate([raw["ends"]["gps/reacher"][s][kind]["last"] for s in raw["ends"]["gps/reacher"]])
            share = np.arange(1, len(last) + 1) / len(last)
            spread.plot(1000 * np.sort(last), share, color=PALETTE[number], linewidth=1.5, label=label)
        spread.set_xscale("log")
        spread.set_xlabel("distance at the end, mm")
        spread.set_ylabel("part of the episodes below")
        spread.set_title("All seeds")
        spread.legend(frameon=False, fontsize=8)

    save_figure(IMAGES / "gps-held-out.png", draw, size=(9.6, 4.2))


def show() -> None:
    """Writes tables and pictures into the docs."""
    committed = load(RAW)
    put(DOCS / "algorithms" / "gps.md", "ends", ends_table(committed))
    put(DOCS / "cards.md", "guided", card_table())
    draw_targets(committed)


if __name__ == "__main__":
    measure_or_show(__doc__, lambda: write_raw(RAW, measure()), show)
