"""The environment lint."""

import re
import time

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from toy_envs import Clock, Counter, Faulty, Sloppy, Spaces, normalised

from forethought.envs.check import check_env, check_given
from forethought.envs.pendulum import Pendulum, pendulum_reward
from forethought.errors import UserError
from forethought.types import Transition, never_terminates


def found(findings, name):
    return next(f for f in findings if f.name == name)


def test_a_sound_environment_has_no_complaints():
    findings = check_env("pendulum", num_steps=210)
    assert {f.level for f in findings} == {"ok"}
    assert {"values", "seeds", "reward", "time limit", "episode ends", "reward function", "render", "speed"} <= {
        f.name for f in findings
    }


@pytest.mark.parametrize(
    ("env", "name", "level", "words"),
    [
        (Sloppy, "observation space", "warning", "float64, the space says float32"),
        (Sloppy, "seeds", "error", "step 0.*np_random"),
        (Sloppy, "reward", "warning", "scale it"),
        (Sloppy, "episode ends", "warning", "exactly 4 steps"),
        (Sloppy, "time limit", "warning", "TimeLimit"),
        (Sloppy, "render", "warning", "no RGB"),
        (Faulty, "values", "error", "step 2.*not finite"),
        (lambda: Counter(ends=10**6), "episode ends", "warning", "none in 60"),
        (lambda: Spaces(spaces.Box(0, 1, (2,), np.float32)), "observation space", "error", "2 in dimension 1"),
        (lambda: Spaces(None, spaces.Box(-1e6, 1e6, (1,))), "action space", "warning", "narrow"),
        (lambda: Spaces(None, spaces.MultiDiscrete([2])), "construction", "error", "MultiDiscrete"),
        (lambda: Spaces(), "reward", "warning", "always 0"),
        (lambda: TooLong(), "time limit", "error", "past the declared limit of 5"),
        (lambda: gymnasium.wrappers.TimeLimit(Counter(9), 3), "time limit", "ok", "3 steps"),
        (lambda: gymnasium.wrappers.TimeLimit(Counter(9), 3), "episode ends", "ok", "20 truncated"),
        ("no-such-thing", "construction", "error", "unknown environment"),
        (lambda: NoTimeLimit(), "time limit", "ok", "none is declared.*truncated after 4 steps"),
        (lambda: Rounded(1 + 2**-52), "observation space", "ok", "inside their bounds"),
        (lambda: Rounded(-(2**-60)), "observation space", "ok", "inside their bounds"),
        (lambda: Rounded(1.001), "observation space", "error", r"1.001 in dimension 0 outside \[0, 1\]"),
        (lambda: Clock(1.7e9, 0.05), "precision", "warning", "dimension 0.*apart.*TransformObservation"),
        (normalised, "construction", "error", "NormalizeObservation keeps running statistics"),
        (lambda: Remembering(), "seeds", "error", "not in a fresh copy: something outlives reset"),
    ],
)
def test_each_flaw_is_found_and_named(env, name, level, words):
    finding = found(check_env(env, num_steps=60), name)
    assert finding.level == level and re.search(words, finding.message), finding


class NoTimeLimit(Counter):
    """Truncates itself."""

    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        return obs, reward, False, self.steps == 4, info


class Rounded(Counter):
    """Shows one number in float64, of a Box from 0 to 1."""

    def __init__(self, number):
        super().__init__(ends=4)
        self.number, self.observation_space = number, spaces.Box(0, 1, (1,), np.float64)

    def obs(self):
        return np.array([self.number])


class Remembering(Counter):
    """Normalises by the largest step that it has ever seen."""

    largest = 0

    def obs(self):
        self.largest = max(self.largest, self.steps + self.episode)
        return np.array([self.steps / (1 + self.largest), 0], np.float32)


class Slow(Counter):
    """Takes its time; the number of the episode is not shown, so that episodes repeat."""

    def obs(self):
        return np.array([0, self.steps], np.float32)

    def step(self, action):
        time.sleep(0.02)
        return super().step(action)


def test_a_slow_environment_is_looked_at_for_so_long_and_says_how_far_it_is():
    told, begun = [], time.monotonic()
    findings = check_env(Slow, num_steps=100_000, max_seconds=1.0, progress=told.append)
    assert time.monotonic() - begun < 10  # by the steps it would be an hour
    values = found(findings, "values")
    assert values.level == "ok" and re.search("random steps of 100000, since it is slow", values.message)
    assert found(findings, "seeds").level == "ok"
    assert any("playing random steps" in line and "s left" in line for line in told)


class SlowlyMade(Slow):
    """Takes its time to be made and at its first step."""

    def __init__(self):
        time.sleep(1.5)
        super().__init__()
        self.cold = True

    def step(self, action):
        time.sleep(0.6 if self.cold else 0)
        self.cold = False
        return super().step(action)


def test_making_an_environment_takes_no_time_away_from_looking_at_it():
    findings = check_env(SlowlyMade, num_steps=1000, max_seconds=0.5)
    assert int(found(findings, "values").message.split()[0]) >= 20
    assert float(found(findings, "speed").message.split()[0]) > 5


class TooLong(Counter):
    """Declares a limit of five steps and does not keep it."""

    def __init__(self):
        super().__init__(ends=50)
        self.spec = gymnasium.envs.registration.EnvSpec("TooLong-v0", max_episode_steps=5)


def test_a_time_limit_reported_as_termination_is_an_error():
    class Merged(Counter):
        def __init__(self):
            super().__init__(ends=5)
            self.spec = gymnasium.envs.registration.EnvSpec("Merged-v0", max_episode_steps=5)

    finding = found(check_env(Merged, num_steps=30), "episode ends")
    assert finding.level == "error" and "truncated" in finding.message


def random_transitions(n=20):
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(n, 3)).astype(np.float32), rng.uniform(-2, 2, (n, 1)).astype(np.float32)
    reward = np.array([pendulum_reward(o, a, o) for o, a in zip(obs, action)], np.float32)
    no = np.zeros(n, bool)
    return Transition(obs, action, reward, obs, no, no)


def test_true_functions_agree():
    assert check_given(pendulum_reward, never_terminates, random_transitions()) is None
    assert check_given(None, None, random_transitions()) is None


def test_the_first_mismatch_is_shown_with_all_that_led_to_it():
    t, number = random_transitions(), 7
    obs, action, reward = (np.array(x) for x in (t.obs, t.action, t.reward))
    obs[number], action[number], reward[number:] = [0.5, -0.25, 1.5], 0.75, 3.0
    message = check_given(pendulum_reward, None, Transition(obs, action, reward, obs, t.terminated, t.truncated))
    assert f"13 of 20 transitions; first in number {number}" in message
    for part in ("obs=[ 0.5 , -0.25,  1.5 ]", "action=[0.75]", "next_obs=[ 0.5", "got -0.44", "wanted 3."):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (lambda obs, action, next_obs: np.cos(obs[0]), "TracerArrayConversionError.*jax.numpy"),
        (lambda obs, action, next_obs: 1.0 if obs[0] > 0 else 0.0, "cannot be traced.*jnp.where"),
        (lambda obs, action, next_obs: -(action**2), r"shape \(1,\), wanted a scalar"),
        (lambda obs, action: 0.0, "TypeError.*obs, action, next_obs"),
        (lambda obs, action, next_obs: obs["speed"], "raised"),
    ],
)
def test_functions_that_cannot_work_say_why(reward, words):
    message = check_given(reward, None, random_transitions())
    assert re.search(words, message) and "\n" not in message


def test_a_wrong_termination_function_is_an_error_of_the_check():
    findings = check_env(Pendulum, num_steps=30, termination=lambda obs, action, next_obs: jnp.array(True))
    finding = found(findings, "termination function")
    assert finding.level == "error" and "got True, wanted False" in finding.message


def test_a_number_of_steps_below_one_is_refused():
    with pytest.raises(UserError, match="num_steps=0"):
        check_env("pendulum", num_steps=0)
