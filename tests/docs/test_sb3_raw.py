"""The raw files of stable-baselines3's runs hold together."""

import json
import pathlib
import statistics

import pytest

ROOT = pathlib.Path(__file__).parents[2]
RAW = sorted((ROOT / "benchmarks" / "results" / "sb3").glob("*/*.json"))


@pytest.mark.parametrize("file", RAW, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_a_run_ended_with_is_what_its_curve_says(file):
    raw = json.loads(file.read_text())
    evaluations = [row for row in raw["rows"] if row["kind"] == "eval"]
    assert [len(row["returns"]) for row in evaluations] == [10] * 19 + [20]
    for row in evaluations:
        assert row["mean_return"] == pytest.approx(statistics.mean(row["returns"]), abs=1e-3)
    assert [row["final"] for row in evaluations] == [False] * 19 + [True]
    assert raw["rows"][-1] == evaluations[-1] and raw["final_return"] == evaluations[-1]["mean_return"]
    above = [row["env_steps"] for row in evaluations if row["mean_return"] >= raw["mark"]]
    assert raw["first_evaluation_at_mark"] == (above[0] if above else None)


def test_no_seed_is_left_out():
    seeds: dict[str, list[int]] = {}
    for file in RAW:
        seeds.setdefault(file.parent.name, []).append(json.loads(file.read_text())["seed"])
    assert set(seeds) == {"dqn-cartpole", "ppo-cartpole", "sac-pendulum"}
    assert all(found == list(range(5)) for found in seeds.values())
