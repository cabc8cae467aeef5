"""A run ends in time for its final evaluation and its pages."""

import types

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Averaging

import forethought
from forethought import pace as module
from forethought.core import Clock, Schedule
from forethought.pace import Pace, next_work
from forethought.presets.run import RunConfig


@pytest.fixture
def now(monkeypatch):
    clock = types.SimpleNamespace(t=0.0)
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock.t))
    return clock


def paced(now, *, side_by_side=False, **run):
    return Pace(RunConfig(**run), side_by_side=side_by_side)


def test_without_a_limit_time_is_never_over(now):
    pace = paced(now)
    now.t = 1e9
    assert not pace.must_end and not pace.over and not pace.evaluated_enough()


def test_training_ends_in_time_for_the_final_evaluation_and_the_pages(now):
    pace = paced(now, max_minutes=4, final_episodes=5)
    pace.evaluated(20.0, 2)  # 10 s an episode: 50 s, and 15 s of pages
    now.t = 240 - 66
    assert not pace.must_end
    now.t = 240 - 64
    assert pace.must_end and not pace.over


def test_episodes_side_by_side_take_as_long_as_one(now):
    pace = paced(now, side_by_side=True, max_minutes=4, final_episodes=5)
    pace.evaluated(20.0, 2)
    assert pace.final_s == 20.0


def test_half_of_the_time_is_for_training_however_slow_evaluations_are(now):
    pace = paced(now, max_minutes=4, final_episodes=100)
    pace.evaluated(60.0, 1)
    now.t = 119
    assert not pace.must_end
    now.t = 121
    assert pace.must_end


def test_work_without_a_pause_is_not_begun_when_it_would_end_too_late(now):
    pace = paced(now, max_minutes=4)
    for seconds in (50, 50, 50, 50, 30):  # the first ones hold compilation
        pace.working()
        now.t += seconds
        pace.paused()
    assert pace.slowest_s == 30
    now.t = 240 - 24 - 15 - 31
    assert not pace.must_end
    now.t += 2
    assert pace.must_end


def test_the_evaluation_leaves_time_for_the_pages(now):
    pace = paced(now, max_minutes=4)
    now.t = 240 - 16
    assert not pace.evaluated_enough()
    now.t = 240 - 14
    assert pace.evaluated_enough() and not pace.over
    assert pace.said() == "4 minutes are over but for the final evaluation and the report"
    now.t = 241
    assert pace.over and pace.said() == "4 minutes are over"


def test_one_minute_is_over(now):
    pace = paced(now, max_minutes=1)
    now.t = 61
    assert pace.said() == "1 minute is over"


def test_what_evaluations_will_take_counts_in_what_is_left(now):
    pace = paced(now, eval_episodes=2, final_episodes=5)
    pace.evaluated(6.0, 2)
    assert pace.apart_s(100, 400, 100) == 2 * 6 + 5 * 3 + module.PAGES_S  # evaluations at 200 and 300, then the last
    assert pace.apart_s(100, 400, 0) == 5 * 3 + module.PAGES_S


@pytest.mark.parametrize(
    ("steps", "updates", "words"),
    [
        (0, 0, "taking random steps"),
        (20, 0, "compiling and learning for the first time"),
        (20, 1, "compiling and acting for the first time"),
        (25, 1, "acting"),
        (40, 1, "learning"),
        (40, 2, "acting"),
    ],
)
def test_what_comes_next_is_said(steps, updates, words):
    agent = types.SimpleNamespace(schedule=Schedule.one_round("model", 20, random_steps=20))
    clock = Clock(*(jnp.asarray(count, jnp.int32) for count in (steps, steps, [updates])))
    assert next_work(agent, types.SimpleNamespace(clock=clock, env_steps=steps, updates=updates)) == words


class Ten(gymnasium.Env):
    """Ten steps an episode; a picture of nothing."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, render_mode="rgb_array"):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        self.made = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.made += 1
        return np.zeros(2, np.float32), 1.0, False, self.made == 10, {}

    def render(self):
        return np.zeros((20, 20, 3), np.uint8)


def test_a_final_evaluation_that_was_cut_short_says_so_and_was_filmed(monkeypatch, tmp_path):
    monkeypatch.setattr(Pace, "evaluated_enough", lambda self: True)
    run = RunConfig(steps=20, eval_every=0, final_episodes=5, max_minutes=60)
    trained = forethought.train(Averaging(), Ten, run=run, out=tmp_path / "run", quiet=True)
    (row,) = trained.metrics("eval")
    assert len(row["returns"]) == 1 and trained.folder.record["random"]["returns"] == [10.0]
    said = "the final evaluation is of 1 of 5 episodes: 60 minutes are over but for the final evaluation and the report"
    assert [event["message"] for event in trained.metrics("event")] == [said]
    assert len(trained.outcome.films[0].frames) == 11 and trained.shown.video is not None
    assert trained.folder.record["outcome"].startswith("no better than random actions (10.0 against 10.0)")
