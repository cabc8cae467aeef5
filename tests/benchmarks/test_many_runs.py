"""The benchmark of many runs in one process: what it counts and what it says of it. No test looks at a time."""

import json

import jax
import jax.numpy as jnp

from benchmarks import many_runs


def test_every_run_is_measured_and_written(monkeypatch, tmp_path):
    monkeypatch.setattr(many_runs, "run_once", lambda card, steps, seed, folder: float(seed))
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)  # the suite's cache on disk stays on
    path = tmp_path / "many_runs.json"
    many_runs.main(["--runs", "3", "--steps", "20", "--quiet", "--out", str(path)])
    raw = json.loads(path.read_text())
    assert [row["final_return"] for row in raw["runs"]] == [0.0, 1.0, 2.0]
    assert all(row["resident_mb"] > 50 and row["maps"] > 100 for row in raw["runs"])
    assert raw["compiled_after_the_first_run"] == 0 and raw["settings"]["card"] == "pets/cartpole"


def test_programs_are_counted_as_they_are_compiled():
    counted = many_runs.Compilations()
    jax.jit(lambda x: x * 2.25)(jnp.ones(3))
    before = counted.programs
    jax.jit(lambda x: x * 3.25)(jnp.ones(3))
    assert counted.programs == before + 1


def test_memory_is_held_against_that_after_the_second_run():
    run = lambda programs, mb: {"programs": programs, "resident_mb": mb}
    flat = many_runs.summary([run(60, 100.0), run(2, 400.0), run(1, 430.0), run(0, 420.0)])
    assert flat == {"compiled_after_the_first_run": 3, "memory_growth_since_the_second_run": 0.075, "flat": True}
    assert not many_runs.summary([run(60, 400.0), run(0, 400.0), run(0, 450.0)])["flat"]
    assert many_runs.summary([run(60, 400.0)])["flat"]
