"""The benchmark of tree search runs, at sizes of no interest; no test looks at a time."""

import json

import pytest

from benchmarks import search

pytestmark = pytest.mark.slow


def test_every_guide_and_batch_is_timed_and_written(tmp_path):
    path = tmp_path / "search.json"
    words = "--batches 1 2 --simulations 3 --channels 2 --seconds 0 --threads 1 --quiet --out"
    search.main([*words.split(), str(path)])
    raw = json.loads(path.read_text())
    timed = [(arm["guide"], arm["batch"]) for arm in raw["arms"]]
    assert timed == [("network", 1), ("network", 2), ("none", 1), ("none", 2)]
    assert all(arm["simulations_per_s"]["n"] == len(arm["all"]) == 3 for arm in raw["arms"])
    assert raw["settings"]["simulations"] == 3 and raw["machine"]["wall_s"] > 0


def test_calls_are_timed_without_the_first_and_until_time_is_up(monkeypatch):
    calls, clock = [], iter(range(100))
    monkeypatch.setattr(search.time, "perf_counter", lambda: next(clock))
    taken = search.timed(lambda: calls.append(1), seconds=5.0)
    assert taken == [1] * 5 and len(calls) == 6
