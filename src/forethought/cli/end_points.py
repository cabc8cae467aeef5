"""How far from its goal a finished run's policy ends."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..api import Run
from ..envs.task import AbstractTask
from ..errors import UserError
from ..run.evaluate import JitEvaluator

NEW = 2_000_000  # added to the run's seed: starts that are no part of its training


def end_points(run: Run, *, episodes: int) -> dict[str, list[float]]:
    """`first_distances` and `last_distances` to the goal, in m, of fresh episodes of the last policy.

    Raises UserError for a task without a place to reach.
    """
    setup = run.setup
    env = setup.env
    if not isinstance(env, AbstractTask):
        raise UserError(f"{env.spec.name} has no place to reach, so it cannot be said how far from it a policy ends")
    found = JitEvaluator(setup.agent, env, num_episodes=episodes)(run.agent_state(), key=jr.key(setup.run.seed + NEW))
    played, last = found.trajectories, -(-found.lengths // env.spec.action_repeat) - 1
    seen = {"first_distances": played.obs[:, 0], "last_distances": played.next_obs[np.arange(episodes), last]}
    distances = {name: env.goal_distance(jnp.asarray(obs)) for name, obs in seen.items()}
    return {name: [float(f"{x:.5g}") for x in np.asarray(distance)] for name, distance in distances.items()}
