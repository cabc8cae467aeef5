"""The benchmark of Dyna-Q runs, at sizes of no interest; its NumPy arm is Dyna-Q. No test looks at a time."""

import json

import numpy as np
import pytest

from benchmarks import dyna

pytestmark = pytest.mark.slow


def test_both_arms_are_timed_and_written(tmp_path):
    path = tmp_path / "dyna.json"
    words = "--runs 2 --planning-steps 3 --steps 5 --seconds 0 --threads 1 --quiet --out"
    dyna.main([*words.split(), str(path)])
    raw = json.loads(path.read_text())
    assert [(arm["arm"], arm["runs"]) for arm in raw["arms"]] == [("numpy", 1), ("forethought", 2)]
    assert all(arm["steps_per_s"]["n"] == len(arm["all"]) == 3 for arm in raw["arms"])
    assert raw["settings"]["planning_steps"] == 3 and raw["machine"]["wall_s"] > 0


def test_the_loop_in_numpy_learns_the_maze():
    following, start, goal = dyna.maze()
    visits = []
    watched = type(
        "Watched", (), {"shape": following.shape, "__getitem__": lambda _, at: (visits.append(at), following[at])[1]}
    )
    go = dyna.numpy_dyna(watched(), start, goal, 20, 0)
    go(3000)
    goals = np.array([following[at] == goal for at in visits])
    assert goals[-500:].sum() > 20 > goals[:500].sum()  # 14 steps are the least
