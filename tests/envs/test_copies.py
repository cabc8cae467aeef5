"""What copies of environments keep, and how environments are closed."""

import threading
import warnings

import gymnasium
import pytest
from gymnasium.vector import SyncVectorEnv
from toy_envs import Counter, Uncopyable

from forethought.envs.host import GymnasiumEnv, GymnasiumVectorEnv, duplicate
from forethought.errors import UserError


def test_copy_keeps_what_was_changed_on_the_instance():
    env = gymnasium.make("Pendulum-v1")
    env.unwrapped.max_torque = 0.25
    copied = GymnasiumEnv([env]).copy().envs[0]
    assert copied.unwrapped.max_torque == 0.25
    assert copied.unwrapped is not env.unwrapped


def test_what_cannot_be_deep_copied_is_made_from_its_spec():
    env = gymnasium.make("Pendulum-v1", g=5.0)
    env.unwrapped.lock = threading.Lock()
    made = duplicate(env)
    assert made.unwrapped.g == 5.0 and "lock" not in vars(made.unwrapped)


def test_refusal_to_copy_names_both_ways_that_failed():
    with pytest.raises(UserError, match="it has no Gymnasium spec; a deep copy fails with TypeError"):
        duplicate(Uncopyable())


class Grumbling(Counter):
    """Warns and fails when it is closed, and counts how often it was asked."""

    closed = 0

    def close(self):
        self.closed += 1
        warnings.warn("closing", stacklevel=2)
        raise RuntimeError("close failed")


class GrumblingVector(SyncVectorEnv):
    """The same, side by side."""

    count = 0

    def close(self, **kwargs):
        self.count += 1
        warnings.warn("closing", stacklevel=2)
        raise RuntimeError("close failed")


def test_closing_twice_closes_once_and_says_nothing():
    single, vector = Grumbling(), GrumblingVector([Counter, Counter])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for host in (GymnasiumEnv([single]), GymnasiumVectorEnv(vector)):
            host.close()
            host.close()
    assert (single.closed, vector.count) == (1, 1)
    vector.closed = True  # so that it is silent when collected
