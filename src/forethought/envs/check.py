"""Plays random steps in an environment and says what would hurt an agent."""

import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax.random as jr
import numpy as np

from ..core import AbstractHostEnv
from ..errors import EnvironmentFault, UserError
from ..space_parts import value_at
from ..types import Box, RewardFunction, TerminationFunction, Transition
from .given import check_given
from .host import GymnasiumEnv, GymnasiumVectorEnv
from .make import make
from .pixels import Frame
from .spaces import channels_first
from .vector import seed_from

__all__ = ["Finding", "check_env", "check_given"]

LARGE_REWARD, SMALL_REWARD, LARGE_ACTION = 1e3, 1e-3, 1e3
SLOW = 100.0  # simulator steps/s


class Finding(NamedTuple):
    """One line of the report."""

    level: Literal["ok", "warning", "error"]
    name: str  # what was looked at
    message: str  # what was found, and the remedy where there is one


class _Play(NamedTuple):
    """What was seen of environment 0, in order."""

    transitions: Transition  # NumPy leaves [steps, ...]
    rate: float  # simulator steps/s of all environments together


def check_env(
    env: object,
    *,
    num_steps: int = 1000,
    seed: int = 0,
    reward: RewardFunction | None = None,
    termination: TerminationFunction | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """What `num_steps` random steps show about `env` (anything that `make` takes, with `env_kwargs`).

    `reward` and `termination` are checked against the real transitions; without them, the environment's own are.
    An environment that cannot be made is a finding too. Raises UserError if `num_steps` is below 1.
    """
    if num_steps < 1:
        raise UserError(f"num_steps={num_steps} must be at least 1")
    try:
        host = make(env, host=True, env_kwargs=env_kwargs)
    except UserError as error:
        return [Finding("error", "construction", str(error))]
    findings = [_describe(host), _action_bounds(host)]
    try:
        findings.append(_raw_observations(host, seed))
        play = _play(host, num_steps, seed)
        findings.append(Finding("ok", "values", f"{num_steps} random steps, all finite and of the right shape"))
        findings.append(_reproducible(host, min(num_steps, 200), seed))
    except EnvironmentFault as error:
        return [*findings, Finding("error", "values", str(error))]
    findings += [*_images(host, play), _rewards(play), *_endings(host, play)]
    findings += _given(host, play, reward, termination)
    return [*findings, _picture(host), _speed(play)]


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


def _raw_observations(host: AbstractHostEnv, seed: int) -> Finding:
    """Whether observations are what the declared space says, before any adapter has touched them."""
    name = "observation space"
    if not isinstance(host, GymnasiumEnv):
        return Finding("ok", name, f"{host.spec.obs_dim} dimensions, float32")
    env = host.envs[0]
    host.start([jr.key(seed)])  # so that a fault here is reported as one
    obs, _ = env.reset(seed=seed_from(jr.key(seed)))
    rng = np.random.default_rng(seed)
    for step in range(50):
        for part in host.seen.parts:
            what = f"observation {part.label!r}" if part.path else "observation"
            flaw = _flaw(what, value_at(obs, part.path), part.space, step) if not part.counts else None
            if flaw is not None:  # Discretes were checked above
                return Finding(flaw[0], name, flaw[1])
        try:
            obs, _, terminated, truncated, _ = env.step(host.to_env(_random_action(host, rng)))
        except Exception:  # told with episode and step by the longer play that follows
            break
        if terminated or truncated:
            obs, _ = env.reset()
    kind = "the dtypes declared" if len(host.seen.parts) > 1 else host.seen.parts[0].space.dtype
    return Finding("ok", name, f"{host.spec.obs_dim} dimensions, {kind}, inside their bounds")


def _flaw(what: str, obs: Any, space: Any, step: int) -> tuple[Literal["warning", "error"], str] | None:
    """What is wrong with one observation, or part of a Dict; None if nothing is."""
    obs = np.asarray(obs) if isinstance(obs, Frame) else obs
    if not isinstance(obs, np.ndarray) or obs.dtype != space.dtype:
        got = obs.dtype if isinstance(obs, np.ndarray) else type(obs).__name__
        return "warning", f"{what}s are {got}, the space says {space.dtype}; cast them"
    outside = np.flatnonzero((obs < space.low) | (obs > space.high)) if obs.shape == space.shape else []
    if not len(outside):
        return None
    d = int(outside[0])
    seen, low, high = (x.flat[d] for x in (obs, space.low, space.high))
    where = f"{seen:g} in dimension {d} outside [{low:g}, {high:g}] at step {step}"
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


def _play(host: AbstractHostEnv, num_steps: int, seed: int) -> _Play:
    key, rng = jr.key(seed), np.random.default_rng(seed)
    obs = host.start(list(jr.split(key, host.num_envs)))
    rows: list[tuple] = []
    actions = [np.stack([_random_action(host, rng) for _ in range(host.num_envs)]) for _ in range(num_steps)]
    step_keys = list(jr.split(key, num_steps))
    resets = 0

    def reset_key(i: int):
        nonlocal resets
        resets += 1
        return jr.fold_in(key, resets)

    begin = None
    while len(rows) < num_steps:
        action = actions[len(rows)]
        out = host.step(action, step_key=step_keys[len(rows)], reset_key=reset_key)
        begin = begin or time.perf_counter()  # the first step may compile
        if out.valid[0]:
            now = (obs, action, out.reward, out.next_obs, out.terminated, out.truncated)
            rows.append(tuple(part[0] for part in now))
        obs = out.obs
    seconds = time.perf_counter() - (begin or 0.0)
    steps = (num_steps - 1) * host.num_envs * host.spec.action_repeat
    columns: list[Any] = [np.stack(part) for part in zip(*rows)]
    return _Play(Transition(*columns), steps / max(seconds, 1e-9))


def _reproducible(host: AbstractHostEnv, num_steps: int, seed: int) -> Finding:
    first, second = (_play(host, num_steps, seed).transitions for _ in range(2))
    for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
        differs = getattr(first, name) != getattr(second, name)
        if differs.any():
            step = int(np.argmax(differs.reshape(num_steps, -1).any(axis=1)))
            message = (
                f"the same seed and actions give another {name} at step {step}; draw all randomness from the "
                "generator that reset(seed=...) seeds (self.np_random)"
            )
            return Finding("error", "seeds", message)
    return Finding("ok", "seeds", f"the same seed and actions repeat {num_steps} steps exactly")


def _rewards(play: _Play) -> Finding:
    reward = play.transitions.reward
    low, high, largest = reward.min(), reward.max(), np.abs(reward).max()
    if low == high:
        message = f"always {low:g} under random actions; a planner sees no difference unless it gets further"
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
    if limit is None:
        message = "no time limit is declared; wrap the environment with gymnasium.wrappers.TimeLimit"
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
