"""Where a policy ends is where its episodes end."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import Averaging, Walk

from forethought.cli.end_points import NEW, end_points
from forethought.envs.block_pushing import BlockPushing
from forethought.errors import UserError
from forethought.run.evaluate import JitEvaluator


class Shoving(Averaging):
    """Pushes on along x, so that the block still moves when the episode is over."""

    def act(self, state, memory, obs, *, key, explore):
        return jnp.array([-0.3, 0.0]), memory, None


def run_of(env):
    agent = Shoving(env.spec)
    setup = types.SimpleNamespace(agent=agent, env=env, run=types.SimpleNamespace(seed=3))
    return types.SimpleNamespace(setup=setup, agent_state=lambda: jnp.zeros(8))


def test_the_distance_is_that_after_the_last_step_of_an_episode():
    env = BlockPushing()
    found = end_points(run_of(env), episodes=2)
    first = np.array(found["first_distances"])
    assert first.shape == (2,) and (first > 0.4).all()

    def walk(obs):
        step = lambda state, _: (env.step(state, jnp.array([-0.3, 0.0]), key=jr.key(0))[0], None)
        state = jax.lax.scan(step, env.state_from(obs), length=60)[0]
        return env.goal_distance(env.observe(state.physics))

    run = run_of(env)
    starts = JitEvaluator(run.setup.agent, env, num_episodes=2, max_steps=1)(jnp.zeros(8), key=jr.key(3 + NEW))
    wanted = eqx.filter_jit(jax.vmap(walk))(jnp.asarray(starts.trajectories.obs[:, 0]))
    np.testing.assert_allclose(found["last_distances"], wanted, rtol=1e-3)


def test_a_task_without_a_place_to_reach_is_refused():
    with pytest.raises(UserError, match="walk has no place to reach"):
        end_points(run_of(Walk()), episodes=2)
