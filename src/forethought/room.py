"""Whether there is memory for what was asked for, found from sizes alone, before anything is made.

What is told is a floor: what the largest arrays take at least.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax

from .errors import UserError
from .presets.parts import EnsembleConfig, GPConfig, PlannerConfig
from .presets.run import RunConfig
from .presets.search import PolicyValueConfig
from .presets.world_model import WorldModelConfig
from .replay.machine import device_bytes
from .text import gigabytes
from .types import Discrete, EnvSpec

COPIES = 3  # of a weight: itself and two moments of the optimiser
ENV_BYTES = 3000  # of the compiled loop's record of finished episodes, for each environment; others take more


def check_room(what: str, size: float) -> None:
    """Raises UserError if `what`, of at least `size` bytes, is more than the machine's memory."""
    memory = device_bytes()
    if size > memory:
        raise UserError(
            f"{what} needs at least {gigabytes(size)}, and the memory is {gigabytes(memory)}; lower "
            + ("the largest of them" if what.count("=") > 1 else "it")
        )


def check_run_room(run: RunConfig) -> None:
    """Raises UserError for environments that no machine of this memory can step side by side."""
    count = run.num_envs * run.num_seeds
    named = f"num_envs={run.num_envs}" + (f", num_seeds={run.num_seeds}" if run.num_seeds > 1 else "")
    check_room(named, count * ENV_BYTES)


def check_config_room(spec: EnvSpec, config: Any, *, copies: int = 1) -> None:
    """Raises UserError, naming the sizes, for a model, planner or batch that there is no memory for."""
    floors = [(size, part, names) for part in _parts(config) for names, size in _floors(spec, config, part)]
    if floors:
        size, part, names = max(floors, key=lambda floor: floor[0])  # what is lowered first should help most
        named = ", ".join(f"{name}={_of(part, config, name)}" for name in names)
        check_room(f"{named} on {spec.name}", size * copies)


def check_progress_room(progress: Any) -> None:
    """Raises UserError if a run cannot hold what it starts with; `progress` is abstract."""
    names = {"data": "the replay", "env": "the environments", "agent_state": "the agent", "episodes": "the episodes"}
    parts = {name: _bytes(getattr(progress, name)) for name in names}
    largest = max(parts, key=lambda name: parts[name])
    check_room(f"the run, most of it {names[largest]},", sum(parts.values()))


def _bytes(tree: Any) -> float:
    arrays = [x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array | jax.ShapeDtypeStruct)]
    return float(sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays))


def check_episode_room(spec: EnvSpec, episodes: int) -> None:
    """Raises UserError for more episodes than can be kept to be looked at."""
    check_room(f"episodes={episodes}", episodes * (spec.max_episode_steps or 1000) / spec.action_repeat * _row(spec))


def check_search_room(action: Any, simulations: int, *, name: str = "simulations", count: int = 1) -> None:
    """Raises UserError for a tree of more nodes than there is memory for; `count` are searched side by side."""
    check_room(f"{name}={simulations}", 12.0 * simulations * count * (action.n if isinstance(action, Discrete) else 1))


def _parts(config: Any) -> list[Any]:
    inner = [getattr(config, f.name) for f in dataclasses.fields(config)]
    return [config, *(part for value in inner if dataclasses.is_dataclass(value) for part in _parts(value))]


def _of(part: Any, config: Any, name: str) -> Any:
    holders = [part, config, *_parts(config)]
    return next(getattr(holder, name) for holder in holders if hasattr(holder, name))


def _row(spec: EnvSpec) -> float:
    return 4.0 * (2 * spec.obs_dim + spec.action.feature_dim)


def _floors(spec: EnvSpec, config: Any, part: Any) -> list[tuple[tuple[str, ...], float]]:
    """`(names of sizes, bytes)` of the largest arrays of a part."""
    if isinstance(part, EnsembleConfig):
        widths = [spec.feature_dim + spec.action.feature_dim, *part.hidden, spec.obs_dim]
        weights = sum(a * b for a, b in itertools.pairwise(widths))
        batch = part.num_members * part.batch_size * max(widths)
        return [
            (("num_members", "hidden"), 4.0 * COPIES * part.num_members * weights),
            (("num_members", "batch_size", "hidden"), 4.0 * batch),
        ]
    if isinstance(part, PlannerConfig):
        return _planner_floors(spec, config, part)
    if isinstance(part, GPConfig):
        return [(("max_points",), 8.0 * spec.obs_dim * part.max_points * (part.max_points + spec.feature_dim))]
    if isinstance(part, WorldModelConfig):
        return _world_model_floors(spec, config, part)
    if isinstance(part, PolicyValueConfig):
        dense = 4.0 * COPIES * max(part.layers - 1, 1) * part.units * min(part.units, spec.obs_dim)
        if part.kind == "mlp":
            return [(("units", "layers"), dense), (("batch_size", "units"), 4.0 * part.batch_size * part.units)]
        return [
            (("channels", "blocks"), 4.0 * COPIES * 18 * part.blocks * part.channels**2),
            (("batch_size", "channels"), 4.0 * part.batch_size * part.channels),
        ]
    names = {field.name for field in dataclasses.fields(part)}
    found = [((name,), 40.0 * getattr(part, name)) for name in ("walkers",) if name in names]
    if "centres" in names:
        found.append((("centres",), 8.0 * part.centres * spec.obs_dim))
        found.append((("horizon",), 8.0 * part.horizon * spec.obs_dim**2))  # covariances of what is imagined
    if "simulations" in names and isinstance(spec.action, Discrete):
        found.append((("simulations",), 12.0 * part.simulations * spec.action.n))
    return found


def _planner_floors(spec: EnvSpec, config: Any, part: PlannerConfig) -> list[tuple[tuple[str, ...], float]]:
    action = spec.action.feature_dim
    if part.kind == "tree":
        return [(("simulations",), 12.0 * part.simulations * action)]
    if part.kind in ("gradient", "ilqr", "lqr"):
        return [(("restarts", "horizon"), 4.0 * part.restarts * part.horizon * action)]
    found: list[tuple[tuple[str, ...], float]]
    found = [(("population", "horizon"), 4.0 * part.population * part.horizon * action)]
    model = getattr(config, "model", None)
    if isinstance(model, EnsembleConfig):
        wide = max(spec.obs_dim, *model.hidden) if model.hidden else spec.obs_dim
        found.append((("population", "particles", "hidden"), 4.0 * part.population * model.particles * wide))
    if isinstance(model, WorldModelConfig):
        found.append((("population", "deter", "latents"), 4.0 * part.population * (model.deter + model.latents)))
    return found


def _world_model_floors(spec: EnvSpec, config: Any, part: WorldModelConfig) -> list[tuple[tuple[str, ...], float]]:
    classes = part.classes if part.latent == "categorical" else 1
    state = part.deter + part.latents * classes
    weights = {
        ("deter", "hidden"): part.deter * part.hidden,
        ("deter", "latents", "classes"): part.hidden * part.latents * classes,
        ("units", "layers"): part.units**2 * max(part.layers - 1, 0),
        ("units", "latents", "classes"): part.units * part.latents * classes,
        ("depth", "kernel"): 12 * (part.kernel * part.depth) ** 2 if spec.image is not None else 0,
    }
    found = [(names, 4.0 * COPIES * count) for names, count in weights.items()]
    rows = math.prod(getattr(config, name, 1) for name in ("batch_size", "batch_length"))
    found.append((("batch_size", "batch_length", "deter", "latents"), 4.0 * rows * (state + spec.obs_dim)))
    if getattr(config, "imagination_starts", 0):
        rows = config.batch_size * min(config.imagination_starts, config.batch_length)
    if imagination := getattr(config, "imagination", 0):
        found.append((("imagination", "batch_size", "batch_length", "deter"), 4.0 * imagination * rows * state))
    return found
