"""Gymnasium vector environments under each autoreset mode."""

from functools import partial

import gymnasium
import jax.random as jr
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from toy_envs import Counter, Faulty

from forethought.envs.host import GymnasiumVectorEnv, seed_from
from forethought.errors import EnvironmentFault, UserError

KEYS = [jr.key(0), jr.key(1)]


def make(mode, kind=SyncVectorEnv):
    return GymnasiumVectorEnv(kind([partial(Counter, 2), partial(Counter, 4)], autoreset_mode=mode))


def play(host, num_steps, asked=None):
    def reset_key(i):
        if asked is not None:
            asked.append(i)
        return jr.key(10 + i)

    actions = np.ones((host.num_envs, 1), np.float32)
    return [host.step(actions, step_key=jr.key(2), reset_key=reset_key) for _ in range(num_steps)]


SPAWNED = partial(AsyncVectorEnv, context="spawn")  # a fork of a process in which JAX has threads may hang


@pytest.mark.parametrize("kind", [SyncVectorEnv, SPAWNED], ids=["sync", "async"])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_next_obs_is_the_true_successor_in_every_autoreset_mode(mode, kind):
    host = make(mode, kind)
    np.testing.assert_array_equal(host.start(KEYS), [[0, 0], [0, 0]])
    _, ended, after = play(host, 3)
    host.close()
    np.testing.assert_array_equal(ended.next_obs, [[0, 2], [0, 2]])
    np.testing.assert_array_equal(ended.terminated, [True, False])
    assert ended.valid.all() and not ended.truncated.any()
    if mode == AutoresetMode.NEXT_STEP:
        assert not ended.fresh.any()
        np.testing.assert_array_equal(after.valid, [False, True])
        np.testing.assert_array_equal(after.fresh, [True, False])
        np.testing.assert_array_equal(after.obs, [[1, 0], [0, 3]])
        assert after.reward[0] == 0 and not after.terminated[0]
    else:
        np.testing.assert_array_equal(ended.fresh, [True, False])
        np.testing.assert_array_equal(ended.obs, [[1, 0], [0, 2]])
        np.testing.assert_array_equal(after.next_obs, [[1, 1], [0, 3]])
        assert after.valid.all()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_valid_rows_are_whole_episodes_in_every_autoreset_mode(mode):
    host = make(mode)
    obs = host.start(KEYS)
    for out in play(host, 12):
        ongoing = out.valid
        np.testing.assert_array_equal(out.next_obs[ongoing, 0], obs[ongoing, 0])
        np.testing.assert_array_equal(out.next_obs[ongoing, 1], obs[ongoing, 1] + 1)
        np.testing.assert_array_equal(out.terminated[ongoing], (out.next_obs[:, 1] >= [2, 4])[ongoing])
        assert (out.obs[out.fresh, 1] == 0).all()
        obs = out.obs


def test_disabled_autoreset_seeds_each_episode_from_its_own_key():
    host, asked = make(AutoresetMode.DISABLED), []
    host.start(KEYS)
    play(host, 2, asked)
    assert asked == [0]
    assert host.env.envs[0].seeds == [seed_from(KEYS[0]), seed_from(jr.key(10))]
    assert host.env.envs[1].seeds == [seed_from(KEYS[1])]


def test_the_mode_is_the_environments_own_when_two_of_one_class_share_their_metadata():
    first = SyncVectorEnv([Counter], autoreset_mode=AutoresetMode.SAME_STEP)
    SyncVectorEnv([Counter], autoreset_mode=AutoresetMode.DISABLED)
    assert GymnasiumVectorEnv(first).mode == AutoresetMode.SAME_STEP


def test_a_vector_environment_of_its_own_class_takes_one_seed():
    host = GymnasiumVectorEnv(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point"))
    obs = host.start(KEYS)
    assert obs.shape == (2, 4) and host.spec.max_episode_steps == 500
    out = host.step(np.array([0, 1]), step_key=KEYS[0], reset_key=lambda i: KEYS[0])
    assert out.valid.all() and not np.array_equal(out.next_obs, obs)


def test_a_mode_that_is_not_declared_is_refused():
    env = SyncVectorEnv([Counter])
    env.autoreset_mode = None
    env.metadata = {}
    with pytest.raises(UserError, match="autoreset_mode"):
        GymnasiumVectorEnv(env)


@pytest.mark.parametrize(("fault", "words"), [("nan", "number 1.*step 2.*not finite"), ("raise", "one of 2.*fire")])
def test_a_fault_in_one_of_many_is_named(fault, words):
    host = GymnasiumVectorEnv(SyncVectorEnv([lambda: Counter(ends=9), lambda: Faulty(fault)]))
    host.start(KEYS)
    with pytest.raises(EnvironmentFault, match=words):
        play(host, 2)


def test_copy_is_made_again_or_copied():
    host = GymnasiumVectorEnv(SyncVectorEnv([Counter]))
    host.start(KEYS[:1])
    other = host.copy()
    other.start(KEYS[:1])
    np.testing.assert_array_equal(play(host, 1)[0].next_obs, [[0, 1]])
    made = []
    GymnasiumVectorEnv(host.env, again=lambda: made.append(1) or SyncVectorEnv([Counter])).copy()
    assert made == [1]


class Says(SyncVectorEnv):
    """Hands out flags and rewards to choose."""

    said = None

    def step(self, actions):
        actions *= 2
        obs, *rest, infos = super().step(actions)
        said = dict(zip(("reward", "terminated", "truncated"), rest)) | (self.said or {})
        return obs, *said.values(), infos


def saying(**said):
    host = GymnasiumVectorEnv(Says([Counter, Counter]))
    host.env.said = said
    host.start(KEYS)
    return host


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"terminated": ["False", "True"]}, "number 0.*terminated is 'False', wanted True or False"),
        ({"truncated": np.array([0.0, np.nan])}, "number 1.*truncated is .*nan.*, wanted True or False"),
        ({"terminated": np.zeros(3, bool)}, r"terminated has shape \(3,\), wanted a bool for each of 2"),
        ({"terminated": False}, r"terminated has shape \(\), wanted a bool for each of 2"),
        ({"reward": np.array([1.0, 1e39])}, r"number 1.*reward 1e\+39 overflows float32"),
        ({"reward": 1.0}, "rewards have shape"),
    ],
)
def test_flags_and_rewards_that_are_none_are_faults(said, words):
    with pytest.raises(EnvironmentFault, match=words):
        play(saying(**said), 1)


def test_flags_of_another_type_are_taken_and_actions_changed_in_place_stay_inside():
    host = saying(terminated=[1, np.array([0])])
    assert play(host, 1)[0].terminated.tolist() == [True, False]
