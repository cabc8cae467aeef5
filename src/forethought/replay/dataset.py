"""Logged transitions from files, .npz and Minari. Checked on the way in: bad data trains in silence."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from ..errors import UserError, checked_path
from ..space_parts import MOST_ONE_HOT, parts_of, value_at
from ..storage.archive import UNREADABLE
from ..storage.files import replacing
from ..types import ActionSpace, Box, Discrete, EnvSpec, Transition
from .machine import host_bytes

ALIASES = {
    "obs": ("obs", "observation", "observations"),
    "action": ("action", "actions"),
    "reward": ("reward", "rewards"),
    "next_obs": ("next_obs", "next_observation", "next_observations"),
    "terminated": ("terminated", "terminals", "terminations"),
    "truncated": ("truncated", "timeouts", "truncations"),
}
FLAGS = ("terminated", "truncated")
MERGED = ("done", "dones")


class Dataset(NamedTuple):
    """Logged transitions, flattened in the order of logging, and what is known about them."""

    transitions: Transition  # NumPy leaves [transitions, ...], float32; discrete actions int32, flags bool
    spec: EnvSpec  # sizes from the data; action bounds from Minari, otherwise the range seen
    num_episodes: int
    notes: list[str]  # what a user should know: steps left out, keys ignored


class _Raw(NamedTuple):
    """Arrays by our names for them."""

    source: str
    arrays: dict[str, np.ndarray]
    labels: dict[str, str]  # our name -> the name in the file, for messages

    def label(self, name: str) -> str:
        return f"{self.source}: {self.labels[name]}"


def load_dataset(source: Path | str, *, finite: bool = True) -> Dataset:
    """The transitions in a .npz file, or in a Minari dataset on this machine (`minari:NAME`, or its folder).

    A .npz holds `obs`, `action`, `reward`, `terminated`, `truncated` and, unless it can be derived,
    `next_obs` (names that Gymnasium, D4RL and Minari use are known too): flat, `[steps, ...]`, or with one
    episode a row, `[episodes, steps, ...]`. Without `next_obs` a step's successor is the next step's `obs`;
    the last step of an episode has none and is left out, unless `obs` is `[episodes, steps + 1, ...]`.

    Whole numbers as `obs`, without an axis, are states: they become one-hot, as agents with networks see them. Actions
    of several axes are flattened. Minari's Dicts and Tuples become one vector, as in environments.

    `finite=False` takes data that are not finite as they are, for who wants to look at them. Raises UserError for
    anything missing, merged, of the wrong shape or type, empty or, otherwise, not finite.
    """
    name = str(checked_path(source, "data"))
    if name.startswith("minari:") or Path(source).is_dir():
        raw, action, notes = _read_minari(name.removeprefix("minari:"))
    else:
        raw, notes = _read_npz(Path(source))
        action = None
    raw, more = _flattened(raw)
    notes = [*notes, *more]
    _check_shapes(raw)
    arrays = _converted(raw, finite)
    ends = arrays["terminated"] | arrays["truncated"]
    if ends.ndim == 2:
        _check_rows(raw, ends)
        num_episodes = len(ends)
    else:
        num_episodes = int(ends.sum()) + (not ends[-1])
    arrays, left_out = _with_next_obs(raw.source, arrays, ends)
    data = Transition(**arrays)
    spec = EnvSpec(Path(name).stem, data.obs.shape[1], action or _range_seen(arrays["action"]))
    return Dataset(data, spec, num_episodes, notes + left_out)


def save_dataset(path: Path | str, transitions: Transition) -> None:
    """Write transitions `[steps, ...]` so that `load_dataset` reads them; extras are left out.

    Raises StorageFault, and ValueError if there is not exactly one leading axis.
    """
    arrays = {name: np.asarray(getattr(transitions, name)) for name in ALIASES}
    if arrays["reward"].ndim != 1:
        raise ValueError(f"reward has shape {arrays['reward'].shape}; a dataset is saved flat, [steps]")
    with replacing(Path(path)) as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read_npz(path: Path) -> tuple[_Raw, list[str]]:
    try:
        opened = np.load(path, allow_pickle=False, mmap_mode="r")  # mapped: a bare array is not read to be refused
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is one bare array; wanted a .npz that holds {', '.join(ALIASES)}")
        with opened as file:
            labels = _match(path, file.files)
            _check_declared(path, file.zip, labels)
            arrays = {name: _member(path, file, key) for name, key in labels.items()}
            ignored = sorted(set(file.files) - set(labels.values()))
    except FileNotFoundError:
        raise UserError(f"there is no dataset at {path}; give a .npz file or minari:NAME") from None
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as .npz: {_first_line(error)}") from None
    return _Raw(str(path), arrays, labels), [f"ignored in {path}: {', '.join(ignored)}"] if ignored else []


def _check_declared(path: Path, archive: Any, labels: dict[str, str]) -> None:
    """Raises UserError for arrays whose headers alone show that they do not fit, before any of them is inflated."""
    declared, total = {}, 0
    for name, key in labels.items():
        member = archive.getinfo(f"{key}.npy")
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            size, held = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if dtype.hasobject:
            continue  # refused when it is read
        if size != held:
            wanted = f"{size:,} for {dtype}{list(shape)}"
            raise UserError(f"{path}: {key} has {held:,} bytes, wanted {wanted}; save it again")
        declared[name], total = (shape, dtype), total + size
    room = host_bytes() / 2
    if total > room:
        raise UserError(
            f"{path} holds {total / 2**30:.3g} GiB once it is inflated, more than half of this machine's memory "
            f"({room / 2**30:.3g} GiB); give fewer transitions"
        )
    if len(declared) == len(labels):
        lead = len(declared["reward"][0])
        empty = {
            name: np.broadcast_to(np.zeros((), dtype), _flat_shape(name, shape, dtype.kind, lead))
            for name, (shape, dtype) in declared.items()
        }
        _check_shapes(_Raw(str(path), empty, labels))


def _flat_shape(name: str, shape: tuple[int, ...], kind: str, lead: int) -> tuple[int, ...]:
    """The shape of an array once `_flattened` has made vectors of numbered states and of actions of several axes."""
    if name in ("obs", "next_obs") and kind in "iu" and len(shape) == lead:
        return (*shape, 1)
    if name == "action" and kind == "f" and len(shape) > lead + 1:
        return (*shape[:lead], math.prod(shape[lead:]))
    return shape


def _member(path: Path, file: Any, key: str) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(
            f"{path}: {key} is an array of Python objects, which is not read because it could run code; "
            "save plain arrays of numbers (episodes of different lengths: concatenated)"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _match(path: Path, found: list[str]) -> dict[str, str]:
    """Our name -> the file's key. Raises UserError for missing, doubled and merged keys."""
    keys = {}
    for name, aliases in ALIASES.items():
        present = [alias for alias in aliases if alias in found]
        if len(present) > 1:
            raise UserError(f"{path} has both {' and '.join(present)}, which mean the same; keep one of them")
        if present:
            keys[name] = present[0]
    merged = [key for key in MERGED if key in found]
    if merged and not set(FLAGS) <= keys.keys():
        raise UserError(
            f"{path} has {merged[0]!r}, which merges terminated (task ended) and truncated (time ran out); "
            "save both: where only a time limit ends episodes, truncated = done and terminated = all False"
        )
    missing = [name for name in ALIASES if name not in keys and name != "next_obs"]
    if missing:
        wanted = "; ".join(" or ".join(ALIASES[name]) for name in missing)
        raise UserError(f"{path} lacks {wanted}; it has: {', '.join(found) or 'nothing'}")
    return keys


def _flattened(raw: _Raw) -> tuple[_Raw, list[str]]:
    """Numbered states one-hot, and actions of several axes as vectors; what was done, in words."""
    arrays, notes = dict(raw.arrays), []
    obs, action, lead = arrays["obs"], arrays["action"], arrays["reward"].ndim
    if obs.ndim == lead and obs.dtype.kind in "iu" and obs.size:
        both = [arrays[name] for name in ("obs", "next_obs") if name in arrays and arrays[name].dtype.kind in "iu"]
        low, high = min(int(x.min()) for x in both), max(int(x.max()) for x in both)
        if low < 0 or high >= MOST_ONE_HOT:
            raise UserError(
                f"{raw.label('obs')} holds numbers of states from {low} to {high}; wanted 0 to at most "
                f"{MOST_ONE_HOT - 1}, since models see them one-hot; save vectors [steps, obs]"
            )
        size = 4 * (high + 1) * sum(x.size for x in both)
        if size > host_bytes() / 2:
            raise UserError(
                f"{raw.label('obs')} takes {size / 2**30:.3g} GiB one-hot ({high + 1} states), more than half of this "
                "machine's memory; give fewer transitions"
            )
        table = np.eye(high + 1, dtype=np.float32)
        arrays |= {name: table[arrays[name]] for name in ("obs", "next_obs") if name in arrays}
        notes.append(f"{raw.label('obs')} numbers states: an observation is one-hot ({high + 1})")
    if action.dtype.kind == "f" and action.ndim > lead + 1:
        arrays["action"] = action.reshape(*action.shape[:lead], -1)
        notes.append(f"{raw.label('action')} of shape {list(action.shape[lead:])} is flattened")
    return raw._replace(arrays=arrays), notes


def _read_minari(name: str) -> tuple[_Raw, ActionSpace | None, list[str]]:
    """A Minari dataset's steps, flat, with true successors, its action space where that is bounded, and notes."""
    try:
        import minari

        folder = Path(name)
        if folder.is_dir():
            dataset = minari.MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
        else:
            dataset = minari.load_dataset(name)
        episodes = list(dataset.iterate_episodes())
    except ImportError as error:
        raise UserError(
            f'minari:{name} needs a package that is missing ({error}); pip install "forethought[offline]"'
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"minari:{name} cannot be read: {_first_line(error)}; see `minari list local`, or `minari download {name}`"
        ) from None
    if not episodes:
        raise UserError(f"minari:{name} is empty: it has no episodes")
    seen, notes = _vectors(name, "observations", dataset.observation_space, [e.observations for e in episodes])
    space = dataset.action_space
    if not isinstance(space, spaces.Box | spaces.Discrete):
        raise UserError(f"minari:{name}: {type(space).__name__} actions are not supported, wanted Box or Discrete")
    actions = [np.asarray(e.actions) for e in episodes]
    if isinstance(space, spaces.Discrete):
        actions = [taken - space.start for taken in actions]  # agents count from 0
    else:
        actions = [taken.reshape(len(taken), -1).astype(np.promote_types(taken.dtype, np.float32)) for taken in actions]
    columns = {
        "obs": [rows[:-1] for rows in seen],
        "action": actions,
        "reward": [e.rewards for e in episodes],
        "next_obs": [rows[1:] for rows in seen],
        "terminated": [e.terminations for e in episodes],
        "truncated": [e.truncations for e in episodes],
    }
    arrays = {key: np.concatenate(parts) for key, parts in columns.items()}
    return _Raw(f"minari:{name}", arrays, {key: key for key in arrays}), _known_space(space), notes


def _vectors(name: str, what: str, space: spaces.Space, episodes: list[Any]) -> tuple[list[np.ndarray], list[str]]:
    """Observations `[steps + 1, obs]` of each episode, parts in the order of the space without text, and notes."""
    parts, others = parts_of(space)
    text = [label for label, part in others if part.dtype is not None and part.dtype.kind == "U"]
    others = [(label, part) for label, part in others if label not in text]
    if not parts or others or any(part.counts and part.width > MOST_ONE_HOT for part in parts):
        label, wrong = others[0] if others else next(((p.label, p.space) for p in parts if p.counts), ("", space))
        raise UserError(
            f"minari:{name}: {what} {label} are of kind {type(wrong).__name__}, wanted numbers, and at most "
            f"{MOST_ONE_HOT} values of a Discrete; turn them into one array a step and save a .npz"
        )
    try:
        rows = [np.concatenate([p.encode(np.asarray(value_at(e, p.path))) for p in parts], 1) for e in episodes]
    except ValueError as error:
        raise UserError(f"minari:{name}: {what} {_first_line(error)}") from error
    if isinstance(space, spaces.Box):
        return [np.asarray(e) if len(space.shape) == 1 else row for e, row in zip(episodes, rows)], []
    named = ", ".join(f"{part.label} ({part.width})".strip() for part in parts)
    named += f"; left out: {', '.join(text)}" if text else ""
    return rows, [f"minari:{name}: an observation is one vector, Discretes one-hot: {named}"]


def _known_space(space: spaces.Box | spaces.Discrete) -> ActionSpace | None:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if space.is_bounded() and np.all(space.low < space.high):
        return Box(tuple(map(float, space.low.reshape(-1))), tuple(map(float, space.high.reshape(-1))))
    return None


def _check_shapes(raw: _Raw) -> None:
    """Raises UserError unless the arrays agree on `[steps]` or `[episodes, steps]`."""
    obs, lead = raw.arrays["obs"], raw.arrays["reward"].shape
    if len(lead) not in (1, 2) or obs.ndim != len(lead) + 1:
        raise UserError(
            f"{raw.label('obs')} has shape {list(obs.shape)} and {raw.labels['reward']} {list(lead)}; wanted "
            "[steps, obs] and [steps], or [episodes, steps, obs] and [episodes, steps]; reshape them"
        )
    if 0 in obs.shape or 0 in lead:
        raise UserError(f"{raw.source} is empty: {raw.labels['obs']} has shape {list(obs.shape)}")
    final_obs = (*lead[:-1], lead[-1] + 1)
    for name, array in raw.arrays.items():
        axes = len(lead) + (name in ("obs", "next_obs"))
        if name == "action" and array.dtype.kind == "f":
            axes += 1
        fits = array.ndim == axes and array.shape[: len(lead)] == lead
        if name == "obs" and len(lead) == 2 and "next_obs" not in raw.arrays:
            fits = fits or array.shape[:2] == final_obs
        if not fits:
            tail = ["obs"] if name.endswith("obs") else ["action"] * (axes - len(lead))
            hint = "discrete actions are integers, without an axis" if name == "action" else "lengths must agree"
            raise UserError(
                f"{raw.label(name)} ({array.dtype}) has shape {list(array.shape)}, wanted "
                f"[{', '.join([*map(str, lead), *tail])}], as {raw.labels['reward']} is {list(lead)}; {hint}"
            )
    if "next_obs" in raw.arrays and raw.arrays["next_obs"].shape != obs.shape:
        got, wanted = list(raw.arrays["next_obs"].shape), list(obs.shape)
        raise UserError(f"{raw.label('next_obs')} has shape {got}, wanted {wanted} like {raw.labels['obs']}")


def _converted(raw: _Raw, finite: bool) -> dict[str, np.ndarray]:
    """float32, int32 and bool. Raises UserError for other kinds of data and for values that do not fit."""
    arrays = {}
    for name, array in raw.arrays.items():
        if array.dtype.kind not in "fiub":
            raise UserError(f"{raw.label(name)} has dtype {array.dtype}, wanted numbers")
        if name in FLAGS:
            if not np.isin(array, (0, 1)).all():
                raise UserError(f"{raw.label(name)} must be True or False in every step; got other values")
            arrays[name] = array.astype(bool)
        elif name == "action" and array.dtype.kind != "f":
            if array.min() < 0 or array.max() >= 2**31:
                raise UserError(f"{raw.label(name)}: discrete actions count from 0; got {array.min()}")
            arrays[name] = array.astype(np.int32)
        else:
            with np.errstate(over="ignore"):  # what overflows float32 is reported below
                arrays[name] = array.astype(np.float32)
            if finite:
                _check_finite(raw.label(name), arrays[name], array)
    return arrays


def _check_finite(label: str, array: np.ndarray, original: np.ndarray) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UserError(
            f"{label} has {int(bad.sum())} values that are not finite in float32, the first at index "
            f"{list(first)}: {original[first]}; remove those steps or mend the logger"
        )


def _check_rows(raw: _Raw, ends: np.ndarray) -> None:
    """Raises UserError if an episode has ended before its row does: padding would be taken for data."""
    early = np.argwhere(ends[:, :-1])
    if len(early):
        episode, step = map(int, early[0])
        raise UserError(
            f"{raw.source}: episode {episode} ends at step {step} of {ends.shape[1]}, and what follows would "
            "be taken for data; save episodes of different lengths flat: concatenated, [steps, ...]"
        )


def _with_next_obs(source: str, arrays: dict[str, np.ndarray], ends: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """Flat arrays with `next_obs`, and a note of the steps that were left out for want of one."""
    steps, axes = ends.shape[-1], ends.ndim
    obs = arrays["obs"]
    kept = np.ones(ends.shape, bool)
    if "next_obs" not in arrays:
        if obs.shape[axes - 1] == steps:
            kept = ~ends
            kept[..., -1] = False
            # the last column is never kept; the shift wraps round there
            successors = np.roll(obs, -1, axis=axes - 1)
        else:
            successors, obs = obs[:, 1:], obs[:, :-1]
        arrays = {**arrays, "obs": obs, "next_obs": successors}
    lost = int((~kept).sum())
    if lost == kept.size:
        raise UserError(f"{source}: no step has a successor; save next_obs, or episodes of at least two steps")
    flat: dict[str, Any] = {name: x[kept] for name, x in arrays.items()}
    if not lost:
        return flat, []
    terminal = int((arrays["terminated"] & ~kept).sum())
    note = f"{source} has no next_obs: left out {lost} last steps of episodes, {terminal} of them terminated"
    if terminal:
        note += "; nothing can be learned about termination, so save next_obs"
    return flat, [note]


def _range_seen(action: np.ndarray) -> ActionSpace:
    if action.ndim == 1:
        return Discrete(int(action.max()) + 1)
    action = action[np.isfinite(action).all(1)] if not np.isfinite(action).all() else action
    low, high = (action.min(0), action.max(0)) if len(action) else (np.zeros(action.shape[1]), np.ones(action.shape[1]))
    constant = low == high  # a Box needs some width
    return Box(tuple(map(float, low - constant)), tuple(map(float, high + constant)))
