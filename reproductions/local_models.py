"""Local controllers: what prior and trust region are good for, how the step adapts, three ways to execute.

    python reproductions/local_models.py measure   # writes local-models/rounds.json, or goes on with it
    python reproductions/local_models.py show      # tables and figures of its page, from this file

Three tasks of our own, 4 starts, 5 rollouts from each in a round, 10 rounds, 2 seeds; with the mixture as prior,
without a prior, and without the trust region. Local models are held against 20 more rollouts of the same controllers.
"""

import json
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from writing import DOCS, HERE, IMAGES, load, measure_or_show, put, table, write_raw

from forethought.agents.local_lqr import LocalLQR
from forethought.diagnostics.figures import MUTED, PALETTE, save_figure
from forethought.envs.hosted import HostedJaxEnv
from forethought.envs.make import TASKS
from forethought.models.local_linear import fit_local
from forethought.planners.local_controller import LocalController
from forethought.presets.local_lqr import PRESETS
from forethought.presets.values import to_dict
from forethought.run.steps import StepDriver
from forethought.types import Given

RAW = HERE / "local-models" / "rounds.json"
PAGE = DOCS / "algorithms" / "local-lqr.md"
PICTURES = {
    "local-priors": "Errors of local models and costs, with and without a prior",
    "local-trust-region": "Costs and steps with and without the trust region",
}
SEEDS, ROUNDS, HELD = (0, 1), 10, 20
ARMS = {
    "default": "mixture as prior",
    "plain-regression": "plain regression",
    "no-trust-region": "no trust region",
}
NAMES = ("reacher", "point-mass", "point-mass-obstacle")


@partial(jax.jit, static_argnames=("env", "execution", "rollouts"))
def executed(env: Any, controllers: Any, firsts: Any, *, execution: str, rollouts: int, kick: float = 0.0, key: Any):
    """Observations, actions and next observations `[start, rollout, time, ...]` of every start's controller.

    With `kick`, the physical state is moved by noise of that size at the start.
    """
    low, high = jnp.array(env.spec.action.low), jnp.array(env.spec.action.high)

    def one(controller: LocalController, first: Any, key: Any):
        kick_key, run_key = jr.split(key)
        start = env.state_from(first)
        moved = start.physics + kick * jr.normal(kick_key, start.physics.shape)
        start, obs = env.reset(key=key, start=type(start)(moved, start.steps))

        def step(carry: Any, t: Any):
            state, obs = carry
            action = controller(obs, t, execution=execution, key=jr.fold_in(run_key, t))
            action = jnp.clip(action, low, high)
            state, after, reward, *_ = env.step(state, action, key=key)
            return (state, after), (obs, action, after, reward)

        return jax.lax.scan(step, (start, obs), jnp.arange(controller.planned.shape[0]))[1]

    keys = jr.split(key, (firsts.shape[0], rollouts))
    several = jax.vmap(jax.vmap(one, in_axes=(None, None, 0)))
    return several(controllers, firsts, keys)


def model_errors(agent: LocalLQR, env: Any, before: Any, after: Any, replay: Any, key: Any) -> dict[str, float]:
    """Root mean squared one-step error of local models of this round, on held-out rollouts of its controllers.

    In standard deviations of the held-out changes of each observation.
    """
    rollouts, past = agent.rounds.gather(after.control, replay)
    controllers = before.control.controllers
    held = executed(env, controllers, after.control.firsts, execution="noisy-feedback", rollouts=HELD, key=key)
    obs, action, next_obs, _ = (np.asarray(x, np.float64) for x in held)
    xu, units = np.concatenate([obs, action], -1), (next_obs - obs).std((0, 1, 2))
    moves = units > 1e-9
    errors = {}
    for name in ("mixture", "none"):
        prior = agent.rounds.local_prior(rollouts, past, None, key=key) if name == "mixture" else None
        with jax.enable_x64(True):
            wide = jax.tree.map(jnp.asarray, (rollouts.xu, rollouts.next_obs, prior))
            fit = jax.tree.map(np.asarray, fits(*wide))
        said = np.einsum("stij,srtj->srti", fit.F, xu) + fit.f[:, None]
        errors[name] = float(np.sqrt(np.mean(((said - next_obs)[..., moves] / units[moves]) ** 2)))
    return errors


@jax.jit
def fits(xu: Any, after: Any, prior: Any) -> Any:
    """Local models of all starts."""
    return jax.vmap(fit_local, in_axes=(0, 0, None if prior is None else 0))(xu, after, prior)


def run(task: str, arm: str, seed: int) -> dict[str, Any]:
    """Every round of one run: numbers of the round, end-point errors of its rollouts, errors of its local models."""
    env, config = TASKS[task](), PRESETS[arm]
    agent = LocalLQR(env.spec, config, given=Given(env.reward_function))
    count = config.control.starts * config.control.rollouts
    driver = StepDriver(agent, HostedJaxEnv(env, count))
    every = agent.rounds.env_steps
    begin = driver.start(agent.data(ROUNDS * every, count), seed=seed)
    rows, state = [], begin.agent_state
    for progress in driver.train(begin, total_steps=ROUNDS * every):
        if not progress.metrics:
            continue
        latest, steps = progress.data["env"].latest(every), agent.rounds.steps
        first, last = (np.asarray(x).reshape(steps, count, -1) for x in (latest.obs, latest.next_obs))
        share = np.asarray(env.goal_distance(last[-1]) / env.goal_distance(first[0]))
        row = {name: float(f"{float(value):.5g}") for name, value in progress.metrics["controllers"].items()}
        row["end_error"] = [float(f"{x:.4g}") for x in share.reshape(-1, config.control.starts).mean(0)]
        if arm == "default":
            key = jr.key(1000 * seed + len(rows))
            found = model_errors(agent, env, state, progress.agent_state, progress.data["env"], key)
            row |= {f"error_{name}": float(f"{x:.4g}") for name, x in found.items()}
        if task == "point-mass-obstacle":
            row["clearance"] = float(f"{np.linalg.norm(last[..., :2], axis=-1).min():.4g}")
        rows.append(row)
        state = progress.agent_state
    result: dict[str, Any] = {"rounds": rows}
    if arm == "default":
        result["executions"] = executions(env, state)
    return result


def executions(env: Any, state: Any) -> dict[str, list[float]]:
    """Mean end-point error of the last controllers, in parts of the first, from their starts and from beside them.

    On the reacher the noise moves the target too.
    """
    found = {}
    for execution in ("open-loop", "feedback", "noisy-feedback"):
        found[execution] = []
        for kick in (0.0, 0.05):
            control, key = state.control, jr.key(7)
            obs, _, after, _ = executed(
                env, control.controllers, control.firsts, execution=execution, rollouts=20, kick=kick, key=key
            )
            left = env.goal_distance(after[:, :, -1]) / env.goal_distance(obs[:, :, 0])
            found[execution].append(float(f"{float(left.mean()):.4g}"))
    return found


def measure() -> None:
    """All runs, by task, arm and seed, written after every arm; those that the raw file holds are not run again."""
    made = {"configs": {arm: to_dict(PRESETS[arm]) for arm in ARMS}, "rounds": ROUNDS, "seeds": list(SEEDS)}
    made = json.loads(json.dumps(made | {"held_out_rollouts": HELD}))
    runs: dict[str, Any] = {}
    if RAW.is_file() and all((old := load(RAW))[name] == value for name, value in made.items()):
        runs = old["runs"]
    for task in NAMES:
        for arm in ARMS:
            if arm in runs.setdefault(task, {}):
                continue
            begun = time.perf_counter()
            runs[task][arm] = {str(seed): run(task, arm, seed) for seed in SEEDS}
            sys.stderr.write(f"{task}, {arm}: {time.perf_counter() - begun:.0f} s\n")
            write_raw(RAW, made | {"runs": runs})


def numbers(raw: dict[str, Any], task: str, arm: str, name: str) -> np.ndarray:
    """One number of every round, `[seed, round]` or with the starts behind."""
    return np.array([[row[name] for row in raw["runs"][task][arm][str(s)]["rounds"]] for s in SEEDS])


def tasks(raw: dict[str, Any]) -> list[str]:
    """Those of which all arms are measured."""
    return [task for task in NAMES if set(ARMS) <= set(raw["runs"].get(task, {}))]


def reached(raw: dict[str, Any], task: str, arm: str) -> str:
    """The first round whose rollouts end, from every start, within 5 % of the first distance; of each seed."""
    near = (numbers(raw, task, arm, "end_error") < 0.05).all(-1)
    return ", ".join(str(int(np.argmax(row)) + 1) if row.any() else "not" for row in near)


def task_table(raw: dict[str, Any]) -> str:
    """What is reached, by task and arm."""
    rows = []
    for task in tasks(raw):
        for arm, label in ARMS.items():
            end = numbers(raw, task, arm, "end_error")[:, -1]
            share = numbers(raw, task, arm, "local/kl_share_most")
            least = numbers(raw, task, arm, "local/kl_share_least")
            kl = "" if arm == "no-trust-region" else f"{least.min():.3f} to {share.max():.3f}"
            last = numbers(raw, task, arm, "local/return")[:, -1].mean()
            rows.append([task, label, reached(raw, task, arm), f"{100 * end.mean():.1f} %", f"{last:.2f}", kl])
    heads = [
        "reached in round (each seed)",
        "end-point error, round 10",
        "return, round 10",
        "KL / bound, all rounds",
    ]
    pictures = "\n\n".join(f"![{text}](../images/{name}.png)" for name, text in PICTURES.items())
    return f"{table(['task', 'arm', *heads], rows)}\n\n{pictures}"


def execution_table(raw: dict[str, Any]) -> str:
    """End-point errors of the three controllers."""
    rows = []
    for task in tasks(raw):
        runs = [raw["runs"][task]["default"][str(seed)]["executions"] for seed in SEEDS]
        for execution in runs[0]:
            means = 100 * np.mean([each[execution] for each in runs], 0)
            rows.append([task, execution, *(f"{x:.1f} %" for x in means)])
    return table(["task", "executed", "from the start", "moved by noise of 0.05"], rows)


def draw_priors(raw: dict[str, Any]) -> None:
    """Errors of local models, and returns, by round."""

    def draw(figure: Any) -> None:
        axes = figure.subplots(2, len(tasks(raw)), squeeze=False)
        rounds = np.arange(1, ROUNDS + 1)
        for place, task in enumerate(tasks(raw)):
            for number, (name, label) in enumerate({"mixture": "mixture as prior", "none": "plain regression"}.items()):
                values = numbers(raw, task, "default", f"error_{name}")
                lines(axes[0, place], rounds, values, PALETTE[number], label)
            for number, arm in enumerate(("default", "plain-regression")):
                costs = -numbers(raw, task, arm, "local/return")
                lines(axes[1, place], rounds, costs, PALETTE[number], ARMS[arm])
            axes[0, place].set_title(task)
            axes[1, place].set_xlabel("round (5 rollouts a start)")
            for row in (0, 1):
                axes[row, place].set_yscale("log")
        axes[0, 0].set_ylabel("one-step error, held out")
        axes[1, 0].set_ylabel("cost of a rollout")
        axes[0, 0].legend(frameon=False, fontsize=8)
        text = "Lines: seeds. Errors: both models of the same rollouts, in standard deviations of a change."
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "local-priors.png", draw, size=(9.6, 5.2))


def draw_trust(raw: dict[str, Any]) -> None:
    """Cost with and without the trust region, and the adapted bound."""

    def draw(figure: Any) -> None:
        axes = figure.subplots(2, len(tasks(raw)), squeeze=False)
        rounds = np.arange(1, ROUNDS + 1)
        for place, task in enumerate(tasks(raw)):
            for number, arm in enumerate(("default", "no-trust-region")):
                costs = -numbers(raw, task, arm, "local/return")
                label = "trust region" if arm == "default" else ARMS[arm]
                lines(axes[0, place], rounds, costs, PALETTE[number], label)
            lines(axes[1, place], rounds, numbers(raw, task, "default", "local/kl"), PALETTE[0], "trust region")
            lines(axes[1, place], rounds, numbers(raw, task, "no-trust-region", "local/kl"), PALETTE[1], "")
            axes[0, place].set_title(task)
            axes[1, place].set_xlabel("round (5 rollouts a start)")
            for row in (0, 1):
                axes[row, place].set_yscale("log")
        axes[0, 0].set_ylabel("cost of a rollout")
        axes[1, 0].set_ylabel("KL from the last controller, nats")
        axes[0, 0].legend(frameon=False, fontsize=8)
        figure.supxlabel("Lines: seeds, means over 4 starts.", x=0.01, ha="left", fontsize=8, color=MUTED)

    save_figure(IMAGES / "local-trust-region.png", draw, size=(9.6, 5.2))


def lines(axes: Any, x: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """A line a seed, with a gap where there is nothing above 0, as of the KL of a controller that stays as it was."""
    for number, row in enumerate(np.where(values > 0, values, np.nan)):
        axes.plot(x, row, color=colour, linewidth=1.3, label=label if number == 0 else None)


BLOCKS = {"tasks": task_table, "executions": execution_table}


def show() -> None:
    """Writes tables and pictures into the docs."""
    for name, block in BLOCKS.items():
        put(PAGE, name, block(load(RAW)))
    draw_priors(load(RAW))
    draw_trust(load(RAW))


if __name__ == "__main__":
    measure_or_show(__doc__, measure, show)
