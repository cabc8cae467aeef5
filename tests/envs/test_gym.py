"""Every environment as a plain `gymnasium.Env`."""

import gymnasium
import numpy as np
import pytest
from toy_envs import Counter

from forethought.envs.gym import make_gym
from forethought.errors import UserError


def test_a_jax_environment_is_a_gymnasium_one_with_seeds_and_a_time_limit():
    env = make_gym("point-mass")
    first, _ = env.reset(seed=3)
    assert env.observation_space.contains(first) and env.action_space.shape == (2,)
    steps = [env.step(env.action_space.low) for _ in range(100)]
    assert steps[-1][3] is True and not any(step[2] or step[3] for step in steps[:-1])
    assert all(env.observation_space.contains(step[0]) for step in steps) and isinstance(steps[0][1], float)
    again, _ = env.reset(seed=3)
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(env.reset()[0], env.reset()[0])  # without a seed, another episode each time


def test_gymnasiums_own_come_as_they_are():
    env = make_gym("toy_envs:Counter", env_kwargs={"ends": 4})
    assert type(env) is Counter and env.ends == 4


def test_repeated_actions_sum_rewards_and_stop_at_the_end():
    env = make_gym(Counter, action_repeat=2)
    env.reset(seed=0)
    assert env.step(np.ones(1))[1:3] == (2.0, False) and env.step(np.ones(1))[1:3] == (1.0, True)


def test_several_side_by_side_are_refused():
    with pytest.raises(UserError, match="2 environments side by side"):
        make_gym(gymnasium.vector.SyncVectorEnv([Counter, Counter]))
