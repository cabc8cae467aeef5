"""Gymnasium spaces, translated: what an agent is told of them, and its actions in the environment's own form."""

import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import UserError
from ..space_parts import MOST_ONE_HOT, Part, parts_of, row_of, value_at
from ..types import MOST_STATES, Box, Discrete, EnvSpec, bounded
from .faults import Asked, Place, checked_obs, checked_picture

SMALLEST = 5  # pixels a side of what may be a picture, though it is not declared as one


@dataclass(frozen=True)
class ActionMap:
    """Turns an agent's action into what the environment's `step` wants."""

    space: spaces.Box | spaces.Discrete

    def __call__(self, action: np.ndarray) -> np.ndarray | np.integer:
        """Box: clipped to the bounds, in the space's shape and dtype. Discrete: counted from the space's start."""
        space = self.space
        if isinstance(space, spaces.Discrete):
            index = np.clip(np.asarray(action).reshape(()), 0, space.n - 1)
            return space.dtype.type(space.start + index)
        value = np.clip(np.asarray(action, np.float32).reshape(space.shape), space.low, space.high)
        if not np.issubdtype(space.dtype, np.floating):
            value = np.rint(value)
        return value.astype(space.dtype)


def translate_action(name: str, space: spaces.Space) -> Box | Discrete:
    """The action space as agents know it. Raises UserError for one that they do not know."""
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        return _translate_box(name, space)
    numbered = isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary)
    other = "wrap the environment with gymnasium.wrappers.TransformAction to offer one of these"
    remedy = _number_actions(space) if numbered else other
    raise UserError(f"{name}: {type(space).__name__} actions are not supported, wanted Box or Discrete; {remedy}")


def _number_actions(space: spaces.MultiDiscrete | spaces.MultiBinary) -> str:
    """How to wrap an environment so that an action is the number of a combination."""
    counts = Part((), space).counts
    if (combinations := math.prod(counts)) > MOST_ONE_HOT:
        return f"{combinations} combinations are too many to number, so wrap the environment to offer a choice of them"
    shape = "" if len(space.shape) == 1 else f".reshape({space.shape})"
    start = getattr(space, "start", np.zeros(1)).reshape(-1).tolist()
    first = f" + np.array({start}){shape}" if any(start) else ""
    func = f"lambda a: np.array(np.unravel_index(a, {counts})){shape}{first}"
    return (
        f"number the combinations: gymnasium.wrappers.TransformAction(env, {func}, "
        f"gymnasium.spaces.Discrete({combinations}))"
    )


def _translate_box(name: str, space: spaces.Box) -> Box:
    if not bounded(space.low, space.high):
        raise UserError(
            f"{name}: the action space {space} is unbounded; agents act within bounds, so give the Box "
            "finite low and high, below 1e18"
        )
    low, high = (bound.reshape(-1).astype(np.float32) for bound in (space.low, space.high))
    fixed = np.flatnonzero(low >= high)
    if fixed.size == low.size:
        raise UserError(f"{name}: the action space {space} has a single action, so there is nothing to choose")
    if fixed.size:
        raise UserError(f"{name}: low == high in dimensions {fixed.tolist()} of the action space; {_leave_out(space)}")
    return Box(tuple(map(float, space.low.reshape(-1))), tuple(map(float, space.high.reshape(-1))))


def _leave_out(space: spaces.Box) -> str:
    """How to wrap an environment so that agents do not choose what has only one value."""
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    single = low.astype(np.float32) >= high.astype(np.float32)
    free, fixed = np.flatnonzero(~single), np.flatnonzero(single)
    bounds = ", ".join(f"np.array({bound[free].tolist()})" for bound in (low, high))
    box = f"gymnasium.spaces.Box({bounds}, dtype=np.{space.dtype})"
    at, values = (fixed - np.arange(fixed.size)).tolist(), low[fixed].tolist()
    reshape = "" if len(space.shape) == 1 else f".reshape({space.shape})"
    func = f"lambda a: np.insert(a, {at}, {values}){reshape}"
    return f"leave them out: gymnasium.wrappers.TransformAction(env, {func}, {box})"


@dataclass(frozen=True)
class ObservationMap:
    """Turns what an environment shows into one float32 vector: the picture first, then the other parts in their order.

    `numbered`: all parts are counted together as the number of a state, the last entry fastest. Otherwise Discretes are
    one-hot.
    """

    space: spaces.Space
    parts: tuple[Part, ...]
    image: tuple[int, int, int] | None = None
    numbered: bool = False
    left_out: tuple[str, ...] = ()  # parts without numbers

    @property
    def counts(self) -> list[int]:
        """How many values each entry of a numbered state takes."""
        return [n for part in self.parts for n in part.counts]

    @property
    def num_states(self) -> int | None:
        """Of numbered states."""
        return math.prod(self.counts) if self.numbered else None

    @property
    def length(self) -> int:
        """Of an observation."""
        return 1 if self.numbered else sum(part.width for part in self.parts)

    @property
    def note(self) -> str | None:
        """What was made of the parts, where a user should know it."""
        plain = isinstance(self.space, spaces.Box) or (self.numbered and isinstance(self.space, spaces.Discrete))
        if plain and not self.left_out:
            return None
        kept = f"the number of one of {self.num_states} states, the last of the parts counting fastest: "
        named = [f"{part.label} {_what(part, self.numbered)}".strip() for part in self.parts]
        missing = f"; left out, as agents see only numbers: {', '.join(self.left_out)}" if self.left_out else ""
        return f"an observation is {kept if self.numbered else 'one vector: '}{', '.join(named)}{missing}"

    def __call__(self, obs: Any, place: Place | Asked, action: object = None) -> np.ndarray:
        """`obs` as float32 `[obs]`.

        Raises EnvironmentFault for a part that is missing, of another shape, not finite or outside its Discrete, and
        for a picture of other numbers than 0, 1, .. 255.
        """
        flat = []
        for part in self.parts:
            try:
                value = value_at(obs, part.path)
            except ValueError as error:
                raise place.fault(f"observation {error},", action) from None
            picture = self.image is not None and not flat
            if part.counts:
                flat.append(self._counted(part, value, place, action))
            else:
                read = checked_picture if picture else checked_obs
                flat.append(read(value, part.shape, place, action, part=part.label))
        if self.numbered:
            number = np.ravel_multi_index(np.concatenate(flat).astype(np.int64).tolist(), self.counts)
            return np.array([number], np.float32)
        return flat[0] if len(flat) == 1 else np.concatenate(flat)

    def _counted(self, part: Part, value: Any, place: Place | Asked, action: object) -> np.ndarray:
        name = f" {part.label!r}" if part.path else ""
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise place.fault(f"the observation{name} is no array of numbers: {value!r}", action)
            if array.shape != part.shape:
                raise place.fault(f"observation{name} shape {array.shape}, expected {part.shape},", action)
            return part.numbers(array[None])[0] if self.numbered else part.encode(array[None])[0]
        except ValueError as error:
            raise place.fault(f"observation{name} {error},", action) from None

    def row(self, batch: Any, i: int) -> Any:
        """Observation `i` of a vector environment's `batch`."""
        return row_of(self.space, batch, i)

    def size_of(self, obs: Any) -> int | None:
        """How many observations `obs` stacks, part by part; None if it is one. Raises ValueError if it is neither."""
        sizes = set()
        for part in self.parts:
            shape = np.shape(value_at(obs, part.path))
            batched = len(shape) == len(part.shape) + 1
            if shape[batched:] != part.shape or not (batched or shape == part.shape):
                name = f"{part.label!r} " if part.path else ""
                several = f"(n, {', '.join(map(str, part.shape))})" if part.shape else "(n,)"
                raise ValueError(f"{name}has shape {shape}, wanted {part.shape} or {several}")
            sizes.add(shape[0] if batched else None)
        if len(sizes) > 1:
            raise ValueError(
                f"stacks different numbers of observations: {sorted(map(str, sizes))}; stack each part alike"
            )
        return sizes.pop()


def _what(part: Part, numbered: bool) -> str:
    """How a part is seen, in brackets."""
    if numbered:
        return f"({'x'.join(map(str, part.counts))})"
    return f"({part.width}{', one-hot' if isinstance(part.space, spaces.Discrete | spaces.MultiDiscrete) else ''})"


def translate_observation(name: str, space: spaces.Space, numbered: bool = True) -> ObservationMap:
    """How observations are read.

    `numbered`: Discretes alone are the number of a state; otherwise, and beside Boxes, they are one-hot. Raises
    UserError for anything but a Box with one axis, a picture, Discretes (MultiDiscrete and MultiBinary too), and Dicts
    and Tuples of these with at most one picture; parts of text are left out.
    """
    if isinstance(space, spaces.Box):
        return ObservationMap(space, (Part((), space),), _image_of(name, space))
    parts, others = parts_of(space)
    unknown = [(label, part) for label, part in others if part.dtype is None or part.dtype.kind != "U"]
    if unknown or not parts:
        label, part = (unknown or others or [("", space)])[0]
        what = f"observation {label!r} is a {type(part).__name__}" if label else f"{type(part).__name__} observations"
        raise UserError(
            f"{name}: {what}, wanted Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of these; wrap the "
            "environment with gymnasium.wrappers.TransformObservation, or FilterObservation to leave a part out"
        )
    images = {}
    for i, part in enumerate(parts):
        if isinstance(part.space, spaces.Box) and part.shape:
            image = _image_of(f"{name}: observation {part.label!r}", part.space)
            images |= {} if image is None else {i: image}
    if len(images) > 1:
        raise UserError(
            f"{name}: {len(images)} pictures ({', '.join(repr(parts[i].label) for i in images)}) are not supported, "
            "wanted at most one; join them side by side or in channels with gymnasium.wrappers.TransformObservation"
        )
    ordered = tuple(
        parts[i] for i in sorted(range(len(parts)), key=lambda i: i not in images)
    )  # others keep their order
    left_out = tuple(f"{label} ({type(part).__name__})" for label, part in others)
    image = next(iter(images.values()), None)
    return ObservationMap(space, ordered, image, _numbered(name, parts, numbered), left_out)


def _numbered(name: str, parts: list[Part], wanted: bool) -> bool:
    """Whether Discretes are the number of a state. Raises UserError if they are too many for that and for one-hot."""
    alone = all(part.counts for part in parts)
    states = math.prod(n for part in parts for n in part.counts)
    widest = max(parts, key=lambda part: part.width if part.counts else 0)
    if widest.counts and widest.width > MOST_ONE_HOT:
        if not alone:
            raise UserError(
                f"{name}: observation {widest.label!r}, {widest.space}, has more than {MOST_ONE_HOT} values, too many "
                "for one-hot vectors; offer it as a Box with gymnasium.wrappers.TransformObservation"
            )
        if states > MOST_STATES:
            raise UserError(
                f"{name}: {states} states are more than the {MOST_STATES} that numbers in float32 can tell apart"
            )
        return True
    return alone and wanted and states <= MOST_STATES


def _image_of(name: str, space: spaces.Box) -> tuple[int, int, int] | None:
    """Height, width and channels if it is a picture, None if it is a vector. Raises UserError for other Boxes."""
    shape = space.shape
    if math.prod(shape) < 1:
        raise UserError(f"{name}: observations are empty; wanted a Box with at least one dimension")
    if len(shape) <= 1:
        return None
    remedy = _remedy(shape, space)
    if remedy is not None:
        raise UserError(
            f"{name}: {space.dtype} observations of shape {shape} are not supported, wanted one axis, or pictures of "
            f"uint8 (height, width, channels) in 0..255; {remedy}"
        )
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def _remedy(shape: tuple[int, ...], space: spaces.Box) -> str | None:
    """What to wrap an environment with whose Box of two or more axes is no picture; None if it is one."""
    axes, low, high = len(shape), space.low.min(), space.high.max()
    flatten = "wrap the environment with gymnasium.wrappers.FlattenObservation"
    if axes == 3 and space.dtype == np.uint8 and not channels_first(shape):
        more = shape[2] > max(shape[:2])
        return f"more channels than pixels a side: {flatten}" if more else None
    if axes == 2 and space.dtype == np.uint8:
        return None
    image, func, what = shape, "x", f"its bounds are {low:g}..{high:g}"
    if axes == 4:
        image, func = (*shape[1:3], shape[0] * shape[3]), "np.concatenate(list(x), -1)"
        what = "join the frames"
    elif channels_first(shape):
        image, func = (*shape[1:], shape[0]), "np.moveaxis(x, 0, -1)"
        what = "turn channels first to last"
    scale = {1: "255 * ", 255: ""}.get(high)  # other bounds are not those of a picture
    if low != 0 or scale is None or axes > 4 or min(image[:2]) < SMALLEST or (*image, 1)[2] > max(image[:2]):
        return flatten
    if space.dtype != np.uint8:
        func = f"np.rint({scale}{func}).astype(np.uint8)"
    box = f"gymnasium.spaces.Box(0, 255, {image}, np.uint8)"
    other = "" if space.dtype == np.uint8 else "if it is no picture, FlattenObservation; if it is one, "
    transform = f"gymnasium.wrappers.TransformObservation(env, lambda x: {func}, {box})"
    return f"{other}{what}: wrap the environment with {transform}"


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether a picture of this shape looks like (channels, height, width), as PyTorch has them."""
    if len(shape) != 3 or shape[0] >= min(shape[1:]):
        return False
    return (shape[1] == shape[2] >= 8) or (shape[0] in (1, 3, 4) and min(shape[1:]) >= 16)


def translate(
    name: str,
    observation_space: spaces.Space,
    action_space: Any,  # Box or Discrete, else UserError
    max_episode_steps: int | None,
    action_repeat: int,
    numbered: bool = True,
) -> tuple[EnvSpec, ObservationMap, ActionMap]:
    """What an agent knows of the task, how its observations are read and its actions handed over. Raises UserError."""
    seen = translate_observation(name, observation_space, numbered)
    action = translate_action(name, action_space)
    more = {"action_repeat": action_repeat, "image": seen.image, "num_states": seen.num_states}
    spec = EnvSpec(name, seen.length, action, max_episode_steps, **more)
    return spec, seen, ActionMap(action_space)


def name_of(env: gymnasium.Env) -> str:
    """The registered id where there is one, else the class."""
    if env.spec is not None:
        return env.spec.id
    return type(env.unwrapped).__name__


def limit_of(env: gymnasium.Env) -> int | None:
    """Simulator steps before truncation: as registered, or by the TimeLimit wrapper around an unregistered one."""
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return env.spec.max_episode_steps
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            return env._max_episode_steps  # the wrapper has no public name for it
        env = env.env
    return None
