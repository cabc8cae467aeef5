"""Plays random steps in an environment and says what would hurt an agent."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax.random as jr
import numpy as np

from ..core import AbstractHostEnv
from ..errors import EnvironmentFault, UserError
from ..presets.bounds import Positive, Seed, checked_number
from ..space_parts import value_at
from ..types import Box, RewardFunction, TerminationFunction, Transition
from .given import check_given
from .host import GymnasiumEnv, GymnasiumVectorEnv
from .make import make
from .pixels import Frame
from .precision import PrecisionWarning
from .spaces import channels_first
from .vector import seed_from

__all__ = ["Finding", "check_env", "check_given"]

LARGE_REWARD, SMALL_REWARD, LARGE_ACTION = 1e3, 1e-3, 1e3
SLOW = 100.0  # simulator steps/s
FEWEST = 20  # steps that are played whatever they take, up to three times the time
ROUNDING = 1e-6  # relative: what float32 makes of a bound


class Finding(NamedTuple):
    """One line of the report."""

    level: Literal["ok", "warning", "error"]
    name: str  # what was looked at
    message: str  # what was found, and the remedy where there is one


class _Play(NamedTuple):
    """What was seen of environment 0, in order."""

    transitions: Transition  # NumPy leaves [steps, ...]
    rate: float  # simulator steps/s of all environments together
    asked: int  # steps; the time may have been over before


class _Clock:
    """Until when an environment is looked at, and who is told how far it is."""

    def __init__(self, seconds: float, progress: Callable[[str], None] | None) -> None:
        self.end, self.seconds, self._progress = time.monotonic() + seconds, seconds, progress
        self._told = 0.0

    def restarted(self) -> "_Clock":
        """The same from now on."""
        return _Clock(self.seconds, self._progress)

    def over(self, share: float = 1.0) -> bool:
        """Whether that share of the time is over."""
        return time.monotonic() > self.end - (1 - share) * self.seconds

    def tell(self, what: str) -> None:
        """Shows what is being done, at most four times a second."""
        if self._progress is not None and time.monotonic() - self._told > 0.25:
            self._told = time.monotonic()
            self._progress(f"{what}, at most {max(self.end - self._told, 0):.0f} s left")


def check_env(
    env: object,
    *,
    num_steps: int = 1000,
    seed: int = 0,
    reward: RewardFunction | None = None,
    termination: TerminationFunction | None = None,
    max_seconds: float = 60.0,
    progress: Callable[[str], None] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """What `num_steps` random steps show about `env` (anything that `make` takes, with `env_kwargs`).

    A slow environment is looked at for about `max_seconds` once it is made, with fewer steps; `progress` is told how
    far it is.

    `reward` and `termination` are checked against the real transitions; without them, the environment's own are.
    If the environment cannot be constructed, that is reported as a finding. Raises UserError for invalid numbers.
    """
    num_steps, seed = checked_number(int, num_steps, "num_steps"), checked_number(Seed, seed, "seed")
    max_seconds = checked_number(Positive, max_seconds, "max_seconds")
    clock = _Clock(max_seconds, progress)
    clock.tell("making the environment")
    try:
        host = make(env, host=True, env_kwargs=env_kwargs)
    except UserError as error:
        return [Finding("error", "construction", str(error))]
    clock = clock.restarted()
    findings = [_describe(host), _action_bounds(host)]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PrecisionWarning)
            findings.append(_raw_observations(host, seed, clock))
            play = _play(host, num_steps, seed, clock, share=0.6)
        findings += _precision(caught)
        findings.append(_values(play))
        findings.append(_reproducible(host, min(len(play.transitions.reward), 200), seed, clock))
    except EnvironmentFault as error:
        return [*findings, Finding("error", "values", str(error))]
    findings += [*_images(host, play), _rewards(play), *_endings(host, play)]
    findings += _given(host, play, reward, termination)
    return [*findings, _picture(host), _speed(play)]


def _values(play: _Play) -> Finding:
    count = len(play.transitions.reward)
    if count == play.asked:
        return Finding("ok", "values", f"{count} random steps, all finite and of the right shape")
    message = f"{count} random steps of {play.asked}, since it is slow; all finite and of the right shape"
    return Finding("ok", "values", message)


def _precision(caught: list[warnings.WarningMessage]) -> list[Finding]:
    """Observations whose changes float32 cannot hold; other warnings are given again."""
    for other in caught:
        if not issubclass(other.category, PrecisionWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    lost = [str(w.message) for w in caught if issubclass(w.category, PrecisionWarning)]
    return [Finding("warning", "precision", message) for message in lost[:1]]


def _describe(host: AbstractHostEnv) -> Finding:
    spec = host.spec
    seen = f"{spec.obs_dim} observations" if spec.num_states is None else f"{spec.num_states} numbered states"
    note = host.seen.note if isinstance(host, GymnasiumEnv | GymnasiumVectorEnv) else None
    more = f"; {note}" if note else ""
    return Finding("ok", "construction", f"{spec.name}: {seen}, actions {spec.action}{more}")


def _action_bounds(host: AbstractHostEnv) -> Finding:
    space = host.spec.action
    if not isinstance(space, Box):
        return Finding("ok", "action space", f"{space.n} actions")
    largest = max(map(abs, (*space.low, *space.high)))
    if largest > LARGE_ACTION:
        message = f"bounds reach {largest:g}; planners search all of it, so narrow it to what is useful"
        return Finding("warning", "action space", message)
    return Finding("ok", "action space", f"{len(space.low)} bounded dimensions")


def _raw_observations(host: AbstractHostEnv, seed: int, clock: _Clock) -> Finding:
    """Whether observations are what the declared space says, before any adapter has touched them."""
    name = "observation space"
    if not isinstance(host, GymnasiumEnv):
        return Finding("ok", name, f"{host.spec.obs_dim} dimensions, float32")
    env = host.envs[0]
    host.start([jr.key(seed)])  # so that a fault here is reported as one
    obs, _ = env.reset(seed=seed_from(jr.key(seed)))
    rng = np.random.default_rng(seed)
    for step in range(50):
        clock.tell(f"looking at observations: step {step} of 50")
        for part in host.seen.parts:
            what = f"observation {part.label!r}" if part.path else "observation"
            flaw = _flaw(what, value_at(obs, part.path), part.space, step) if not part.counts else None
            if flaw is not None:  # Discretes were checked above
                return Finding(flaw[0], name, flaw[1])
        try:
            obs, _, terminated, truncated, _ = env.step(host.to_env(_random_action(host, rng)))
        except Exception:  # told with episode and step by the longer play that follows
            break
        if clock.over(0.2):
            break
        if np.any(terminated) or np.any(truncated):
            obs, _ = env.reset()
    dtypes = [str(part.space.dtype) for part in host.seen.parts]
    kind = dtypes[0] if len(dtypes) == 1 else "the dtypes declared"
    return Finding("ok", name, f"{host.spec.obs_dim} dimensions, {kind}, inside their bounds")


def _flaw(what: str, obs: Any, space: Any, step: int) -> tuple[Literal["warning", "error"], str] | None:
    """What is wrong with one observation, or part of a Dict; None if nothing is."""
    obs = np.asarray(obs) if isinstance(obs, Frame) else obs
    if not isinstance(obs, np.ndarray) or obs.dtype != space.dtype:
        got = obs.dtype if isinstance(obs, np.ndarray) else type(obs).__name__
        return "warning", f"{what}s are {got}, the space says {space.dtype}; cast them"
    if obs.shape != space.shape:
        return None
    low, high = space.low, space.high
    if np.issubdtype(space.dtype, np.floating):  # agents see float32, in which these are the bounds themselves
        largest = np.maximum(np.abs(low), np.abs(high))
        slack = ROUNDING * np.where(np.isfinite(largest), largest, 1)
        low, high = low - slack, high + slack
    outside = np.flatnonzero((obs < low) | (obs > high))
    if not len(outside):
        return None
    d = int(outside[0])
    seen, low, high = (x.flat[d] for x in (obs, space.low, space.high))
    where = f"{seen:.7g} in dimension {d} outside [{low:g}, {high:g}] at step {step}"
    return "error", f"{what} {where}; widen the space or clip the observation"


def _images(host: AbstractHostEnv, play: _Play) -> list[Finding]:
    """What an encoder would find amiss in the pictures of an observation."""
    spec, name = host.spec, "pictures"
    if spec.image is None:
        return []
    seen = np.asarray(spec.pixels(play.transitions.next_obs))
    low, high, size = seen.min(), seen.max(), "x".join(map(str, spec.image))
    wrong = (seen < 0) | (seen > 255) | (seen != np.rint(seen))
    if wrong.any():
        unit = "; multiply by 255 and round" if low >= 0 and high <= 1 else ""
        message = f"{size} with {seen[wrong][0]:g} among their values, wanted whole numbers from 0 to 255{unit}"
        return [Finding("error", name, message)]
    if channels_first(spec.image):
        return [Finding("warning", name, f"{size} looks like channels first, wanted height x width x channels")]
    if low == high:
        return [Finding("warning", name, f"{size}, {low:g} everywhere; an agent sees nothing")]
    if high <= 1:
        return [Finding("warning", name, f"{size} between 0 and 1 of 255, all but black; multiply by 255")]
    if (seen == seen[0]).all():
        return [Finding("warning", name, f"{size}, the same at all {len(seen)} steps; draw what the actions change")]
    beside = f", and a vector of {spec.vector_dim} beside them" if spec.vector_dim else ""
    return [Finding("ok", name, f"{size}, values {low:g} to {high:g}{beside}")]


def _random_action(host: AbstractHostEnv, rng: np.random.Generator) -> np.ndarray:
    space = host.spec.action
    if isinstance(space, Box):
        return rng.uniform(space.low, space.high).astype(np.float32)
    return np.array(rng.integers(space.n), np.int32)


def _play(host: AbstractHostEnv, num_steps: int, seed: int, clock: _Clock, share: float = 1.0) -> _Play:
    """At most `num_steps` random steps, fewer where that share of the time is over before."""
    key, rng = jr.key(seed), np.random.default_rng(seed)
    obs = host.start(list(jr.split(key, host.num_envs)))
    rows: list[tuple] = []
    steps_key = jr.fold_in(key, -1 % 2**32)
    resets = taken = 0

    def reset_key(i: int):
        nonlocal resets
        resets += 1
        return jr.fold_in(key, resets)

    begin = None
    while len(rows) < num_steps and not (clock.over(share) and (len(rows) >= FEWEST or (rows and clock.over(3.0)))):
        clock.tell(f"playing random steps: {len(rows)} of {num_steps}")
        action = np.stack([_random_action(host, rng) for _ in range(host.num_envs)])
        out = host.step(action, step_key=jr.fold_in(steps_key, len(rows)), reset_key=reset_key)
        if begin is not None:
            taken += int(np.sum(np.full(host.num_envs, host.spec.action_repeat) if out.steps is None else out.steps))
        begin = begin or time.perf_counter()  # the first step may compile
        if out.valid[0]:
            now = (obs, action, out.reward, out.next_obs, out.terminated, out.truncated)
            rows.append(tuple(part[0] for part in now))
        obs = out.obs
    seconds = time.perf_counter() - (begin or 0.0)
    columns: list[Any] = [np.stack(part) for part in zip(*rows)]
    return _Play(Transition(*columns), taken / max(seconds, 1e-9), num_steps)


def _reproducible(host: AbstractHostEnv, num_steps: int, seed: int, clock: _Clock) -> Finding:
    clock.tell("repeating the steps with the same seed")
    first = _play(host, num_steps, seed, clock, share=0.8).transitions
    second = _play(host, len(first.reward), seed, clock).transitions
    found = _difference(first, second)
    if found is None:
        return Finding("ok", "seeds", f"the same seed and actions repeat {len(second.reward)} steps exactly")
    name, step = found
    if _outlives(host, len(second.reward), seed, clock):
        message = (
            f"the same seed and actions give another {name} at step {step} after other episodes, though not in a fresh "
            "copy: something outlives reset() (running statistics, a counter, a curriculum), so evaluations and "
            "resumed runs see another environment; set it again in reset()"
        )
        return Finding("error", "seeds", message)
    message = (
        f"the same seed and actions give another {name} at step {step}; draw all randomness from the "
        "generator that reset(seed=...) seeds (self.np_random)"
    )
    return Finding("error", "seeds", message)


def _difference(first: Transition, second: Transition) -> tuple[str, int] | None:
    """What differs first, and at which step; the second may be shorter."""
    count = len(second.reward)
    for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
        differs = getattr(first, name)[:count] != getattr(second, name)
        if differs.any():
            return name, int(np.argmax(differs.reshape(count, -1).any(axis=1)))
    return None


def _outlives(host: AbstractHostEnv, num_steps: int, seed: int, clock: _Clock) -> bool:
    """Whether two fresh copies agree, which have played no episodes before."""
    try:
        copies = [host.copy(1), host.copy(1)]
    except UserError:
        return False
    first, second = (_play(copied, num_steps, seed, clock).transitions for copied in copies)
    for copied in copies:
        copied.close()
    return _difference(first, second) is None


def _rewards(play: _Play) -> Finding:
    reward = play.transitions.reward
    low, high, largest = reward.min(), reward.max(), np.abs(reward).max()
    if low == high:
        message = f"always {low:g} in {len(reward)} random steps; a planner sees no difference unless it gets further"
        return Finding("warning", "reward", message)
    span = f"between {low:g} and {high:g}"
    if largest > LARGE_REWARD or largest < SMALL_REWARD:
        return Finding("warning", "reward", f"{span}; scale it to about 1, so that learned rewards are accurate")
    return Finding("ok", "reward", span)


def _endings(host: AbstractHostEnv, play: _Play) -> list[Finding]:
    limit, repeat, t = host.spec.max_episode_steps, host.spec.action_repeat, play.transitions
    name = "episode ends"
    ends = np.flatnonzero(t.terminated | t.truncated)
    lengths = np.diff(ends, prepend=-1) * repeat
    longest = int(max(lengths.max(initial=0), (len(t.reward) - 1 - (ends[-1] if ends.size else -1)) * repeat))
    findings = []
    cut = lengths[np.asarray(t.truncated)[ends]]
    if limit is None and cut.size:
        after = f"{cut.min()} steps" if cut.min() == cut.max() else f"{cut.min()} to {cut.max()} steps"
        message = f"none is declared, but episodes were truncated after {after}"
        findings.append(Finding("ok", "time limit", message))
    elif limit is None:
        message = (
            f"no time limit is declared, and none was met in {len(t.reward) * repeat} random steps; wrap the "
            "environment with gymnasium.wrappers.TimeLimit, unless it already has a longer limit"
        )
        findings.append(Finding("warning", "time limit", message))
    elif longest >= limit + repeat:
        message = f"an episode lasted {longest} steps, past the declared limit of {limit}"
        findings.append(Finding("error", "time limit", message))
    else:
        findings.append(Finding("ok", "time limit", f"{limit} steps"))
    if not ends.size:
        level = "warning" if limit is None else "ok"
        return [*findings, Finding(level, name, f"none in {len(t.reward) * repeat} random steps")]
    same = len(set(lengths.tolist())) == 1
    at_limit = same and (ends.size > 1 or lengths[0] == limit)
    if at_limit and t.terminated[ends].all():
        message = (
            f"all {ends.size} episodes end as 'terminated' after exactly {lengths[0]} steps, which looks like a "
            "time limit; report it as truncated, else values at the end are learned as 0"
        )
        return [*findings, Finding("error" if lengths[0] == limit else "warning", name, message)]
    counts = f"{int(t.terminated.sum())} terminated, {int((t.truncated & ~t.terminated).sum())} truncated"
    return [*findings, Finding("ok", name, f"{counts}, after {lengths.min()} to {lengths.max()} steps")]


def _given(
    host: AbstractHostEnv,
    play: _Play,
    reward: RewardFunction | None,
    termination: TerminationFunction | None,
) -> list[Finding]:
    findings = []
    reward, termination = reward or host.reward_function, termination or host.termination_function
    for kind, pair in (("reward", (reward, None)), ("termination", (None, termination))):
        if pair != (None, None):
            message = check_given(*pair, play.transitions)
            agrees = f"agrees with all {len(play.transitions.reward)} transitions"
            findings.append(Finding("error" if message else "ok", f"{kind} function", message or agrees))
    return findings


def _picture(host: AbstractHostEnv) -> Finding:
    frame = host.render()
    if frame is None:
        message = "no RGB frames, so no videos; offer render_mode='rgb_array'"
        return Finding("warning", "render", message)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        message = f"frames are {frame.dtype} {frame.shape}, wanted uint8 (height, width, 3)"
        return Finding("error", "render", message)
    return Finding("ok", "render", f"frames of {frame.shape[1]} x {frame.shape[0]}")


def _speed(play: _Play) -> Finding:
    level = "warning" if play.rate < SLOW else "ok"
    return Finding(level, "speed", f"{play.rate:,.0f} simulator steps/s")
