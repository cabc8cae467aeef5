"""Films of a policy's episodes: as fast as the environment says, and with the frame that they end on."""

import itertools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from .core import AbstractEnv
from .diagnostics.video import overlay, write_video
from .errors import UserError
from .run.evaluate import Evaluation
from .run.film import Film
from .run.host_evaluate import HostEvaluator
from .run.interface import finished
from .setup import Setup

SECONDS = 3.0  # that a film lasts at least where the environment states no speed
SLOWEST, FASTEST = 2.0, 30.0  # frames a second, in the same case


def film(
    setup: Setup,
    state: Any,
    path: Path,
    *,
    evaluation: Evaluation | None = None,
    films: Sequence[Film] = (),
    episodes: int = 1,
    fps: float | None = None,
    key: Any = None,
) -> tuple[Path, list[str]]:
    """A video of episodes of the policy, and what should be known of it.

    Frames come from the states of `evaluation`, or from `films` of its episodes; where there are neither, episodes are
    played, the first from `key`. Raises UserError if the environment has no picture.
    """
    if isinstance(setup.env, AbstractEnv) and evaluation is not None and evaluation.states is not None:
        films = [_drawn(setup.env, evaluation, k) for k in range(min(episodes, len(evaluation.lengths)))]
        speed = setup.env.render_fps
    else:
        speed = setup.evaluation_env.render_fps
        if not films or evaluation is None:
            films = [Film() for _ in range(episodes)]
            more = {"plan_ms": setup.run.plan_ms, "clock": setup.run.steps}
            evaluator = HostEvaluator(setup.agent, setup.evaluation_env, num_episodes=episodes, **more)
            evaluation = finished(
                evaluator.steps(state, key=jr.key(setup.run.seed) if key is None else key, films=films)
            )
    if not films or not films[0].frames:
        raise UserError(f"{setup.env_name} draws no picture; make it with render_mode='rgb_array'")
    rewards = np.asarray(evaluation.trajectories.reward)
    lengths = np.asarray(evaluation.lengths).tolist()
    number = lambda k: k if len(films) > 1 else None
    each = (_named(one, rewards[k], lengths[k], setup, episode=number(k)) for k, one in enumerate(films))
    named = list(itertools.chain.from_iterable(each))
    written = write_video(path, named, fps=fps or speed or _usual_speed(len(named)))
    return written, _notes(films, lengths, setup)


def _usual_speed(frames: int) -> float:
    return float(np.clip(frames / SECONDS, SLOWEST, FASTEST))


def _drawn(env: AbstractEnv, evaluation: Evaluation, episode: int) -> Film:
    """Frames of an evaluation episode, drawn from its recorded states."""
    states = jax.tree.map(lambda x: x[episode], evaluation.states)
    at = lambda step: lambda: env.render(jax.tree.map(operator.itemgetter(step), states))
    one, length = Film(), -(-int(evaluation.lengths[episode]) // env.spec.action_repeat)  # the last may be cut short
    one.every = -(-length // one.most)  # drawing is dear: no frame that is thrown away later
    for step in range(0, length, one.every):
        one.add(step, at(step))
    one.end(length, at(length)())
    return one


def _named(
    one: Film, rewards: np.ndarray, length: int, setup: Setup, *, episode: int | None = None
) -> list[np.ndarray]:
    """The frames with step and return so far, in simulator steps; and with the number of the `episode`."""
    total = np.concatenate([[0.0], np.cumsum(rewards)])
    which = "" if episode is None else f"episode {episode + 1}   "
    repeat = setup.env.spec.action_repeat
    return [
        overlay(frame, f"{which}step {min(step * repeat, length):,}   return {total[step]:.1f}")
        for frame, step in zip(one.frames, one.steps)
    ]


def _notes(films: Sequence[Film], lengths: Sequence[int], setup: Setup) -> list[str]:
    """What is not in the film."""
    repeat = setup.env.spec.action_repeat
    notes = []
    for k, (one, length) in enumerate(zip(films, lengths)):
        which = f"episode {k + 1} of the video" if len(films) > 1 else "the video"
        if one.every > 1:
            actions = -(-length // repeat)
            notes.append(f"{which} shows one step in {one.every} of the episode's {actions:,}, and the last")
        if one.steps and one.steps[-1] * repeat < length:
            notes.append(
                f"{which} ends at step {one.steps[-1] * repeat:,} of {length:,}: the environment resets itself "
                "before its last state can be drawn"
            )
    return notes
