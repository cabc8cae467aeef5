"""What a run is about to do, in lines of text."""

from typing import Any

import jax

from .catalogue import AGENTS
from .core import AbstractHostReplay
from .replay.sizes import likely_steps, longest_episode
from .run.progress import Progress
from .run.seeds import devices_for
from .setup import Setup
from .text import gigabytes


def plan_lines(setup: Setup, progress: Progress) -> list[str]:
    """What a run is about to do: steps, updates, memory."""
    run, agent = setup.run, setup.agent
    random = min(agent.schedule.random_steps, run.steps)
    devices, most = devices_for(run.num_seeds), len(jax.devices())
    seeds = f", {run.num_seeds} seeds side by side" if run.num_seeds > 1 else ""
    seeds += f" on {devices} devices" if devices > 1 else ""
    model = agent.model(progress.agent_state)
    replay = f"{_size(parameter_bytes(progress.data))} ({setup.capacity:,} {_rows_of(setup)})"
    on_disk = isinstance(progress.data["env"], AbstractHostReplay)
    lines = [
        f"{setup.agent_name} on {setup.env_name}: {run.steps:,} environment steps ({random:,} random), "
        f"{_rounds_of(setup)}{seeds}",
        sources(setup.given) if _models(setup) else "no model: learns from the rewards and ends that it meets",
        f"memory: replay {'on disk' if on_disk else replay}, "
        f"model {_size(parameter_bytes(model))}, with optimiser {_size(parameter_bytes(progress.agent_state))}",
        "driver: " + ("compiled loop" if setup.compiled else "step by step") + "; time is estimated once it runs",
    ]
    if isinstance(met := progress.data["env"], AbstractHostReplay):
        lines += met.projection(likely_steps(setup.env.spec, run))
    longest, length = longest_episode(setup.env.spec), agent.sequence_length
    if length is not None and longest is not None and length > longest + 1:
        lines.append(
            f"note: sequences of {length} steps are longer than any episode ({longest + 1}): each spans several, and "
            "what is remembered starts anew where one begins"
        )
    if devices < min(run.num_seeds, most):
        lines.append(
            f"note: {run.num_seeds} seeds use {devices} of {most} devices, as each takes equally many; a multiple of "
            f"{most} seeds uses all"
        )
    return lines + [f"note: {note}" for note in setup.notes]


def sources(given: dict[str, str]) -> str:
    """What is given and what is learned, in one line; on the true dynamics nothing is learned."""
    learned = [] if "model" in given else [kind for kind, source in given.items() if source == "learned"]
    told = [
        f"{kind} {'env' if source == 'learned' else source}" for kind, source in given.items() if kind not in learned
    ]
    return f"given: {', '.join(told) or 'nothing'}" + (f"; learned: {', '.join(learned)}" if learned else "")


def _rounds_of(setup: Setup) -> str:
    """How often what is learned."""
    schedule, said = setup.agent.schedule, []
    for each, count in zip(schedule.rounds, schedule.calls(setup.run.steps)):
        alone = len(schedule.rounds) == 1 and not each.inline and _models(setup)
        kind = "model fit" if alone or each.name == "model" else f"{each.name} update"
        said.append(f"{count:,} {kind}{'' if count == 1 else 's'}")
    return ", ".join(said) or "0 model fits"


def _models(setup: Setup) -> bool:
    """Whether the agent has a model, as far as the catalogue knows."""
    entry = AGENTS.get(setup.agent_name)
    return entry is None or entry.model


def _rows_of(setup: Setup) -> str:
    return "transitions" if setup.agent.sequence_length is None else "steps"


def _size(count: float) -> str:
    size = count
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return gigabytes(count)


def parameter_bytes(tree: Any) -> int:
    """Bytes of all arrays in `tree`, which may be abstract."""
    return sum(
        x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if isinstance(x, jax.Array | jax.ShapeDtypeStruct)
    )
