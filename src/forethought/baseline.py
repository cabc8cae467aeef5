"""Random actions in a run's environment, for what it has learned to be held against."""

import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.random as jr
import numpy as np

from .agents.uniform import Uniform
from .core import AbstractEnv, AbstractGame
from .diagnostics.baseline import Baseline, random_phase
from .display import Display
from .errors import StorageFault, UserError
from .outlook import parameter_bytes
from .pace import Pace
from .presets.steps import usual_steps
from .run.evaluate import Evaluation, JitEvaluator
from .run.host_evaluate import HostEvaluator
from .run.jit import JitDriver, most_ticks
from .run.matches import RandomPlayer, play
from .run.progress import EVALUATE, Progress, stream
from .run.seeds import of_seed
from .setup import Setup, opponent
from .storage.run_folder import RunFolder

EPISODES = 5  # that a baseline is made of at least, time permitting
GAMES = 20
MOST_BYTES = 2**28  # of a progress that a copy is made of
SECONDS = 10.0  # after which no further episode begins in an environment stepped from Python
_STREAM = 0xBA5E


def played(setup: Setup, driver: Any, progress: Progress, pace: Pace | None = None) -> Iterator[float | Baseline]:
    """Plays episodes of random actions: yields the part done, in (0, 1), and in the end the baseline.

    In a game of two the moves are random and legal, against the run's opponent. Where the driver has a compiled program
    for random actions already, a copy of the `progress` goes on with it.
    """
    key = jr.fold_in(jr.key(setup.run.seed), _STREAM)
    if isinstance(setup.env, AbstractGame) and _of_two(setup):
        yield _of_game(setup, setup.env, key)
        return
    compiled = (
        isinstance(driver, JitDriver) and setup.agent.schedule.random_steps > 0 and not setup.agent.schedule.inline
    )
    if compiled and parameter_bytes(progress) < MOST_BYTES:
        yield from _continued(driver, progress)
        return
    for part in _evaluator(setup).steps(None, key=key, **_limits(setup, pace)):
        if isinstance(part, Evaluation):
            yield Baseline(tuple(float(x) for x in part.returns), "episodes of random actions")
        else:
            yield part


def _continued(driver: JitDriver, progress: Progress) -> Iterator[float | Baseline]:
    """Episodes that begin and end after `progress`, of which nothing is changed."""
    begun, before = int(progress.env_steps), np.ravel(progress.episodes.count).tolist()
    progress = dataclasses.replace(progress, metrics={})  # as the program was compiled for
    progress = jax.tree.map(lambda x: x.copy() if isinstance(x, jax.Array) else x, progress)
    limit = driver.env.spec.max_episode_steps or 1000
    most = -(-(EPISODES + 1) * limit // driver.env.spec.action_repeat)  # the episode under way is no random one
    ticks, returns = 0, []
    while ticks < most and len(returns) < EPISODES * len(before):
        count = min(most_ticks(driver.agent), most - ticks)
        progress = driver.collect(progress, count, random=True)
        if np.any(np.asarray(progress.fault.code)):
            break
        ticks += count
        for i, seen in enumerate(before):
            one = of_seed(progress.episodes, i, driver.num_seeds or 1)
            for _, total, length, end in one.since(int(seen)):
                if length * driver.num_envs <= end - begun:
                    returns.append(total)
            before[i] = int(one.count)
        yield min(max(ticks / most, len(returns) / (EPISODES * len(before))), 0.99)
    if not returns:
        raise UserError("no episode of random actions came to its end")
    yield Baseline(tuple(returns), "episodes of random actions")


def settled(
    setup: Setup, folder: RunFolder, display: Display, driver: Any, progress: Progress, pace: Pace | None = None
) -> list[str]:
    """Sees to it that the run's record holds a baseline: from its random phase, or played now; notes.

    Once the time of `pace` is needed for other things, one episode has to do.
    """
    if folder.record.get("random") is not None:
        return []
    episodes = () if _of_two(setup) else random_phase(folder.metrics("episode"), setup.agent.schedule.random_steps)
    found = Baseline(episodes, "episodes of the random phase")
    try:
        if len(episodes) < EPISODES:
            parts = played(setup, driver, progress, pace)
            found = display.watched(parts, "playing random actions, for comparison")
        folder.update_record(random=found.as_dict())
    except StorageFault:
        raise
    except UserError as error:  # a run that has ended well must not fail by what it is compared with
        return [f"nothing to compare with, random actions fail: {error}"]
    return []


def _of_two(setup: Setup) -> bool:
    return isinstance(setup.env, AbstractGame) and setup.env.num_players == 2


def _limits(setup: Setup, pace: Pace | None) -> dict[str, Any]:
    """What keeps a slow environment from costing more than a baseline is worth."""
    if isinstance(setup.env, AbstractEnv):
        return {"clock": setup.run.steps}
    begun = time.monotonic()
    short = lambda: pace is not None and pace.evaluated_enough()
    return {"clock": setup.run.steps, "enough": lambda: time.monotonic() - begun > SECONDS or short()}


def _evaluator(setup: Setup) -> JitEvaluator | HostEvaluator:
    if not isinstance(setup.env, AbstractEnv):
        return HostEvaluator(Uniform(setup.env.spec), setup.evaluation_env, num_episodes=EPISODES)
    try:
        return _compiled(setup.env)
    except TypeError:  # an environment that holds arrays cannot be looked up
        return JitEvaluator(Uniform(setup.env.spec), setup.env, num_episodes=EPISODES)


@functools.lru_cache(maxsize=8)
def _compiled(env: AbstractEnv) -> JitEvaluator:
    """One compiled program for all runs of a process in the same environment."""
    return JitEvaluator(Uniform(env.spec), env, num_episodes=EPISODES)


def _of_game(setup: Setup, game: AbstractGame, key: Any) -> Baseline:
    if setup.run.opponent == "random":
        return Baseline((0.0,), "random moves against random moves, each side first as often", exact=True)
    other, draw = opponent(game, setup.run.opponent), stream(key, EVALUATE, 0)
    games = play(game, RandomPlayer(game), other, num_games=GAMES, key=draw)
    return Baseline(tuple(float(x) for x in np.ravel(games.outcomes)), "games of random moves")


def advice(setup: Setup, *, updates: int, steps: int) -> str:
    """What to try where a run is no better than random actions."""
    usual = usual_steps(setup.agent_name, setup.preset)
    if setup.run.oracle:
        return "it plans on the true dynamics, so let it search more per action: a larger --planner.population"
    more = f"let it make all {setup.run.steps:,} steps" if steps < setup.run.steps else ""
    if more and setup.run.max_minutes is not None:
        more += f": allow more than `--max-minutes {setup.run.max_minutes:g}`"
    if not updates and more and setup.run.steps > setup.agent.schedule.random_steps:
        return f"nothing was learned in {steps:,} steps, {more}"
    if not updates:
        return (
            f"nothing was learned in {steps:,} steps, try `--steps {max(usual, 4 * setup.agent.schedule.random_steps)}`"
        )
    few = f"{updates:,} updates are few" if updates > 1 else "one update is little"
    if more:
        return f"{few}, {more}"
    if steps < usual:
        return f"{few}, try `--steps {usual}`"
    return f"{few}, try `--steps {4 * steps}`, or another preset (`forethought list presets`)"
