"""Pictures of Dyna-Q in its mazes, and what becomes of it where its model is wrong.

    python reproductions/mazes.py measure   # writes reproductions/dyna-q-pictures and reproductions/model-trust
    python reproductions/mazes.py show      # pictures and tables in the docs, from these and the cards' raw files

The values of the first two pictures are those of one seed of the card dyna-q/maze. Wrong models: in the maze, the
learned model puts a state drawn at random in the place of what it has learned, for a share of the pairs of state and
action that is drawn for each run. In the chain, the model is given, and with a probability leads to a state drawn at
random (Buckman et al. 2018). Dyna-Q that plans with it anyway, and Dyna-Q that plans only where the model agrees with
what was met, have the same 30 seeds as Q-learning without a model.
"""

import dataclasses
import json
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from PIL import Image
from writing import DOCS, HERE, IMAGES, load, measure_or_show, put, table, write_raw

from forethought.agents.dyna_q import DynaQ
from forethought.cards import CARDS
from forethought.diagnostics.figures import INK, MUTED, PALETTE, save_figure
from forethought.diagnostics.statistics import bootstrap_interval
from forethought.envs.gridworld import read as read_maze
from forethought.envs.maze_picture import draw_maze
from forethought.envs.tabular import DYNA_MAZE, TABULAR, Tabular, chain
from forethought.models.tabular import AbstractTable, GivenTable, LatestOutcome, WrongTable
from forethought.planners.exact import evaluate
from forethought.presets.dyna_q import PRESETS, DynaQConfig, TrustConfig
from forethought.presets.values import to_dict
from forethought.replay.uniform import UniformReplay
from forethought.run.jit import JitDriver
from forethought.run.progress import Progress
from forethought.run.seeds import seed_axes

PICTURES, TRUST = HERE / "dyna-q-pictures" / "values.json", HERE / "model-trust" / "mazes.json"
SHARES, RUNS = (0.0, 0.1, 0.25, 0.5, 1.0), 30
TASKS = {
    "dyna-maze": (8000, DynaQConfig(planning_steps=20)),
    "chain": (20_000, DynaQConfig(planning_steps=20, discount=0.99)),
}
WAYS = ("without a model", "trusts everywhere", "trusts where it agrees")
COLOURS = dict(zip(("0", "5", "50"), PALETTE))


def values_while_learning() -> dict[str, Any]:
    """Action values of seed 0 with and without planning, midway through its second episode, and at each step around the
    end of the first one with planning."""
    env, found = TABULAR["dyna-maze"](), {}
    for name, preset in (("0", "maze-0"), ("50", "maze")):
        driver = JitDriver(DynaQ(env.spec, PRESETS[preset]), env)
        run = driver.train(driver.start({"env": UniformReplay.empty(env.spec, 8000)}, seed=0), total_steps=8000)
        ends = np.asarray(next(p for p in run if int(p.episodes.count) > 2).episodes.ends)
        first, second = int(ends[0]), int(ends[1])
        steps = [(first + second) // 2] + (list(range(first - 1, first + 45)) if name == "50" else [])
        found[name] = {"first_episode": first, "second_episode": second - first, "midway": steps[0]}
        progress = driver.start({"env": UniformReplay.empty(env.spec, 8000)}, seed=0)
        kept = {}
        for step in sorted(set(steps)):
            *_, progress = driver.train(progress, total_steps=step)
            q = [[float(f"{x:.3g}") for x in row] for row in np.asarray(progress.agent_state.q).tolist()]
            kept[step] = {"walker": int(progress.env.obs[0, 0]), "values": q}
        found[name]["steps"] = kept
    return found


def gathered(env: Tabular, config: DynaQConfig, steps: int, models: AbstractTable | None) -> dict[str, Any]:
    """The reward that each run gathers, and the value of its greedy policy in the end, at the start, `[runs]`.

    `models` are as many as runs, `[runs, ...]`; None: the agent's own.
    """
    count = RUNS if models is None else len(jax.tree.leaves(models)[0])
    own = None if models is None else jax.tree.map(lambda x: x[0], models)
    driver = JitDriver(DynaQ(env.spec, config, model=own), env, num_seeds=count)
    progress = driver.start({"env": UniformReplay.empty(env.spec, 1)}, seed=0)
    if models is not None:
        again = lambda x, axis: x if axis is None else x[jnp.arange(count) % RUNS]
        progress = jax.tree.map(again, progress, seed_axes(progress), is_leaf=lambda x: x is None)
        state = dataclasses.replace(progress.agent_state, model=models)
        progress = dataclasses.replace(progress, agent_state=state)
    total, counted = np.zeros(count), np.zeros(count, int)
    for now in driver.train(progress, total_steps=steps):
        total, counted, progress = *_more(total, counted, now), now
    total += np.asarray(progress.env.returns)[:, 0]
    tables, q = env.tables(), progress.agent_state.q
    greedy = (q == q.max(-1, keepdims=True)).astype(jnp.float32)
    start = jnp.diff(env.start, prepend=0.0)
    worth = jax.vmap(lambda p: start @ evaluate(tables, p, config.discount))(greedy / greedy.sum(-1, keepdims=True))
    return {"reward": np.round(total, 3).tolist(), "policy": np.round(np.asarray(worth), 4).tolist()}


def _more(total: np.ndarray, counted: np.ndarray, now: Progress) -> tuple[np.ndarray, np.ndarray]:
    """The sums of the returns of all episodes so far."""
    returns, count = np.asarray(now.episodes.returns), np.asarray(now.episodes.count)
    new = [returns[i, np.arange(a, b) % returns.shape[1]].sum() for i, (a, b) in enumerate(zip(counted, count))]
    return total + np.array(new), count


def wrong_models(env: Tabular, share: float) -> AbstractTable:
    """Models of `RUNS` runs, `[runs, ...]`: wrong in a share of the pairs, or with such a probability in each."""
    if env.spec.name == "chain":
        given = GivenTable.of(env.spec, chain(noise=share).tables())
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (RUNS, *x.shape)), given)
    learned = LatestOutcome.empty(env.spec)
    return eqx.filter_vmap(lambda key: WrongTable.at_random(learned, share, key=key))(jr.split(jr.key(1), RUNS))


def trust() -> dict[str, Any]:
    """By task, way and share of wrong pairs, what runs of `gathered` found."""
    found: dict[str, Any] = {}
    for task, (steps, config) in TASKS.items():
        env = TABULAR[task]() if task == "dyna-maze" else chain(noise=0.0)
        wrong = jax.tree.map(lambda *x: jnp.concatenate(x), *[wrong_models(env, share) for share in SHARES])
        careful = dataclasses.replace(config, trust=TrustConfig(max_error=0.05))
        found[task] = {WAYS[0]: gathered(env, dataclasses.replace(config, planning_steps=0), steps, None)}
        for way, settings in zip(WAYS[1:], (config, careful)):
            runs = gathered(env, settings, steps, wrong)
            part = lambda name, i, runs=runs: runs[name][i * RUNS : (i + 1) * RUNS]
            found[task][way] = {
                str(s): {name: part(name, i) for name in ("reward", "policy")} for i, s in enumerate(SHARES)
            }
            means = [round(float(np.mean(cell["reward"])), 2) for cell in found[task][way].values()]
            sys.stderr.write(f"{task}, {way}: {means} (without: {np.mean(found[task][WAYS[0]]['reward']):.2f})\n")
    settings = {task: {"steps": steps, "config": to_dict(config)} for task, (steps, config) in TASKS.items()}
    return {"runs": RUNS, "shares": SHARES, "tasks": settings, "found": found}


def read(card: str, arm: str) -> dict[str, Any]:
    """The raw file of a card's arm."""
    return json.loads((HERE.parent / CARDS[card].raw / arm / "seed-0.json").read_text())


def draw_episodes() -> None:
    """docs/images/dyna-q-maze.png: steps of each episode by planning steps."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for arm, colour in COLOURS.items():
            steps = np.array(read("dyna-q/maze", arm)["episode_steps"])
            label = f"{arm} planning steps" + (" (Q-learning)" if arm == "0" else "")
            band(axes, np.arange(1, steps.shape[1] + 1), steps, colour, label)
        axes.set_yscale("log")
        axes.set_yticks([14, 50, 200, 800], ["14", "50", "200", "800"])
        axes.minorticks_off()
        axes.set_xlabel("episode")
        axes.set_title("Steps to the goal of the Dyna maze")
        axes.legend(frameon=False)
        note(figure, "Means of 30 runs with 95 % bootstrap intervals. 14 steps are the least.")

    save_figure(IMAGES / "dyna-q-maze.png", draw, size=(7.2, 3.8))


def draw_changing() -> None:
    """docs/images/dyna-q-changing.png: reward gathered in the mazes that change."""

    def draw(figure: Any) -> None:
        for axes, (task, at) in zip(figure.subplots(1, 2), (("blocking-maze", 1000), ("shortcut-maze", 3000))):
            for arm, colour in zip(("dyna-q-plus", "dyna-q"), PALETTE):
                raw = read(f"dyna-q-plus/{task}", arm)
                label = "Dyna-Q+" if arm == "dyna-q-plus" else "Dyna-Q"
                band(axes, np.array(raw["reward_steps"]), np.array(raw["reward"]), colour, label)
            axes.axvline(at, color=MUTED, linewidth=0.8, linestyle="--")
            axes.set_xlabel("steps")
            axes.set_title("The way is blocked" if task == "blocking-maze" else "A shorter way opens")
        axes.figure.axes[0].legend(frameon=False)
        axes.figure.axes[0].set_ylabel("reward gathered")
        note(figure, "Means of 30 runs with 95 % bootstrap intervals. Dashed: the maze changes.")

    save_figure(IMAGES / "dyna-q-changing.png", draw, size=(8.4, 3.6))


def draw_trust() -> None:
    """docs/images/model-trust.png: goals reached with wrong models."""
    raw = load(TRUST)

    def draw(figure: Any) -> None:
        for axes, task in zip(figure.subplots(1, 2), TASKS):
            free = bootstrap_interval(goals(raw, task, WAYS[0]), np.mean)
            axes.axhspan(free.low, free.high, color=PALETTE[0], alpha=0.16, linewidth=0)
            axes.axhline(free.estimate, color=PALETTE[0], label=WAYS[0])
            for way, colour in zip(WAYS[1:], PALETTE[1:]):
                runs = np.array([goals(raw, task, way, share) for share in SHARES]).T
                band(axes, 100 * np.array(SHARES), runs, colour, way)
            axes.set_ylim(0)
            wrong = "of pairs, of which the model is wrong" if task == "dyna-maze" else "of its steps lead anywhere"
            axes.set_xlabel(f"% {wrong}")
            axes.set_title(f"{task}: goals in {raw['tasks'][task]['steps']:,} steps")
        axes.figure.axes[0].legend(frameon=False)
        note(figure, "Means of 30 runs with 95 % bootstrap intervals.")

    save_figure(IMAGES / "model-trust.png", draw, size=(8.4, 3.6))


def band(axes: Any, x: np.ndarray, runs: np.ndarray, colour: str, label: str) -> None:
    """The mean of `runs` `[runs, points]` with its interval."""
    found = [bootstrap_interval(column, np.mean) for column in runs.T.astype(float)]
    axes.fill_between(x, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, [f.estimate for f in found], color=colour, label=label)


def note(figure: Any, text: str) -> None:
    """A line below a figure."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)


def maze_frame(step: dict[str, Any]) -> np.ndarray:
    """The maze with the values of one step."""
    return draw_maze(read_maze(DYNA_MAZE), walker=step["walker"], action_values=np.array(step["values"]))


def draw_policies() -> None:
    """docs/images/dyna-q-policies.png and dyna-q-maze.gif."""
    raw = load(PICTURES)

    def draw(figure: Any) -> None:
        for axes, arm in zip(figure.subplots(1, 2), ("0", "50")):
            axes.imshow(maze_frame(raw[arm]["steps"][str(raw[arm]["midway"])]))
            axes.set_title(f"{'without planning' if arm == '0' else '50 planning steps'}", color=INK)
            axes.set_axis_off()

    save_figure(IMAGES / "dyna-q-policies.png", draw, size=(8.4, 3.2))
    steps = {int(k): v for k, v in raw["50"]["steps"].items()}
    first = raw["50"]["first_episode"]
    frames = [maze_frame(steps[k]) for k in sorted(steps) if first - 1 <= k < first + 45]
    small = [Image.fromarray(f).resize((240, 160), Image.Resampling.LANCZOS).quantize(32) for f in frames]
    more = {"append_images": small[1:], "duration": [1000, *[160] * (len(small) - 1)], "loop": 0, "optimize": True}
    small[0].save(IMAGES / "dyna-q-maze.gif", save_all=True, **more)


def goals(raw: dict[str, Any], task: str, way: str, share: float | None = None) -> np.ndarray:
    """How often each run reached the goal, by its reward: the chain takes 1 a step and gives 100 at its end."""
    cell = raw["found"][task][way]
    reward = np.array((cell if share is None else cell[str(share)])["reward"])
    return reward if task == "dyna-maze" else (reward + raw["tasks"][task]["steps"]) / 100


def trust_table(raw: dict[str, Any]) -> str:
    """Mean goals by way and share, and in per cent of what is reached without a model."""
    rows = []
    for task in TASKS:
        free = goals(raw, task, WAYS[0]).mean()
        rows.append([task, WAYS[0], *[f"{free:.1f}"] * len(SHARES)])
        for way in WAYS[1:]:
            means = [goals(raw, task, way, share).mean() for share in SHARES]
            rows.append([task, way, *[f"{mean:.1f} ({100 * mean / free:.0f} %)" for mean in means]])
    return table(["task", "Dyna-Q", *[f"{100 * share:.0f} % wrong" for share in SHARES]], rows)


def policy_table(raw: dict[str, Any]) -> str:
    """The mean discounted value of the greedy policies in the end, from the start."""
    rows = []
    for task in TASKS:
        found = raw["found"][task]
        rows.append([task, WAYS[0], *[f"{np.mean(found[WAYS[0]]['policy']):.2f}"] * len(SHARES)])
        for way in WAYS[1:]:
            rows.append([task, way, *[f"{np.mean(found[way][str(share)]['policy']):.2f}" for share in SHARES]])
    return table(["task", "Dyna-Q", *[f"{100 * share:.0f} % wrong" for share in SHARES]], rows)


def cards_table() -> str:
    """What the marks of the mazes ask for, and what was measured."""
    rows = []
    for name, card in CARDS.items():
        if card.counted_episodes is not None:
            found = {arm.name: {0: read(name, arm.name)} for arm in card.arms}
            for mark in card.marks:
                measured = mark.measure(found)
                verdict = "passed" if mark.passed(measured) else "missed"
                bound = f"{'at most' if mark.at_most else 'at least'} {mark.bound:.2f}"
                rows.append([f"`{name}`", mark.what, f"{measured:.2f}", bound, verdict])
    return table(["card", "mark", "measured", "wanted", ""], rows)


def write() -> None:
    """Writes the raw files."""
    write_raw(PICTURES, values_while_learning())
    write_raw(TRUST, trust())


def show() -> None:
    """Writes tables and pictures into the docs."""
    for draw in (draw_episodes, draw_changing, draw_trust, draw_policies):
        draw()
    put(DOCS / "cards.md", "mazes", cards_table())
    for name, text in (("trust", trust_table), ("trust policies", policy_table)):
        put(DOCS / "algorithms" / "dyna-q.md", name, text(load(TRUST)))


if __name__ == "__main__":
    measure_or_show(__doc__, write, show)
