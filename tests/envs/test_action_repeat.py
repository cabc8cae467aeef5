"""Action repeat around JAX-native environments."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs import pixels
from forethought.envs.mountain_car import MountainCarContinuous
from forethought.envs.pendulum import Pendulum
from forethought.envs.raster import raster
from forethought.envs.repeat import ActionRepeat
from forethought.envs.task import TaskState


def test_rewards_are_summed_and_states_passed_on():
    env, action = Pendulum(), jnp.array([0.7])
    state, _ = env.reset(key=jr.key(0))
    got = jax.jit(lambda s: ActionRepeat(env, 3).step(s, action, key=jr.key(1)))(state)
    total = 0.0
    for _ in range(3):
        state, obs, reward, *_ = env.step(state, action, key=jr.key(1))
        total += reward
    np.testing.assert_allclose(got[1], obs, atol=1e-5)
    np.testing.assert_allclose(got[2], total, rtol=1e-5)
    assert got[0].steps == 3


def test_the_time_limit_counts_simulator_steps():
    env = ActionRepeat(Pendulum(), 150)
    state, _ = env.reset(key=jr.key(0))
    assert env.spec.max_episode_steps == 200 and env.spec.action_repeat == 150
    state, *_, truncated = jax.jit(env.step)(state, jnp.zeros(1), key=jr.key(1))
    assert not truncated
    state, *_, truncated = jax.jit(env.step)(state, jnp.zeros(1), key=jr.key(1))
    assert truncated and state.steps == 200


def test_stops_where_the_episode_terminates():
    env = ActionRepeat(MountainCarContinuous(), 5)
    almost = TaskState(jnp.array([0.40, 0.03]), jnp.zeros((), jnp.int32))
    state, obs, reward, terminated, truncated = jax.jit(env.step)(almost, jnp.ones(1), key=jr.key(0))
    assert terminated and not truncated and state.steps == 2
    np.testing.assert_allclose(reward, 100 - 2 * 0.1, rtol=1e-6)
    assert obs[0] >= 0.45 and env.termination_function(obs, jnp.ones(1), obs)


def test_a_summed_reward_is_not_offered_as_a_function_of_one_transition():
    assert ActionRepeat(Pendulum(), 2).reward_function is None
    assert ActionRepeat(Pendulum(), 1).reward_function is not None


def test_repeating_less_than_once_is_refused():
    with pytest.raises(ValueError, match="action_repeat=0"):
        ActionRepeat(Pendulum(), 0)


@pytest.mark.parametrize("repeat", [1, 4])
def test_of_a_task_seen_as_pictures_only_the_last_one_is_drawn(monkeypatch, repeat):
    drawn = []

    def counted(scene, size, *, grey):
        jax.debug.callback(lambda: drawn.append(1))
        return raster(scene, size, grey=grey)

    monkeypatch.setattr(pixels, "raster", counted)
    plain, env = Pendulum(), ActionRepeat(pixels.Pixels(Pendulum(), 8), repeat)
    state, _ = env.reset(key=jr.key(0))
    jax.effects_barrier()
    drawn.clear()
    state, obs, reward, *_ = jax.jit(env.step)(state, jnp.ones(1), key=jr.key(1))
    jax.effects_barrier()
    assert len(drawn) == 1
    same, _ = plain.reset(key=jr.key(0))
    same, _, wanted, *_ = ActionRepeat(plain, repeat).step(same, jnp.ones(1), key=jr.key(1))
    np.testing.assert_allclose(reward, wanted, rtol=1e-5)
    np.testing.assert_allclose(obs, raster(plain.scene(same.physics), 8).reshape(-1), atol=1)
