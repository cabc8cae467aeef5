"""Gradient steps of SAC and branched rollouts are counted by hand, and every peer is asked for the same work."""

import argparse
import json

import pytest

from benchmarks import arms, branched_rollouts, sac_updates, work

pytestmark = pytest.mark.slow

TINY = work.SacUpdates(obs=3, action=2, hidden=(5, 7), batch=4, steps=6, rows=8)


def test_flop_of_a_gradient_step_of_sac_by_hand():
    actor, critic = (3 * 5, 5 * 7, 7 * 4), (5 * 5, 5 * 7, 7 * 1)
    forward = 2 * (sum(actor) + 2 * sum(critic))  # next action, and both critics' targets
    critics = 2 * 2 * (3 * sum(critic) - critic[0])  # nothing needs the gradient of the first layer's input
    behind = 2 * 2 * (2 * sum(critic) - 3 * 5)  # back to the action, but not to the observation
    own = 2 * (3 * sum(actor) - actor[0])
    assert TINY.flop == 6 * 4 * (forward + critics + behind + own)


def test_weights_of_sac_by_hand():
    assert TINY.weights == (4 * 5 + 6 * 7 + 8 * 4) + 2 * (6 * 5 + 6 * 7 + 8 * 1)


def test_flop_of_branched_rollouts_by_hand():
    networks = work.Networks(obs=3, action=2, hidden=(5,), members=3, elites=2)
    task = work.BranchedRollouts(networks, policy=(4, 4), starts=10, horizon=6)
    model = 2 * (5 * 5 + 5 * 2 * 4)  # mean and deviation of three changes and the reward
    policy = 2 * (3 * 4 + 4 * 4 + 4 * 4)
    assert task.flop == 10 * 6 * (model + policy)


def test_both_peers_take_the_same_gradient_steps(tmp_path):
    given = argparse.Namespace(no_peers=False, venv=tmp_path)
    found = [arm for arm in sac_updates.all_arms(given, work.SAC_UPDATES) if not arm.name.startswith("peak")]
    kinds = ("ours", "stable-baselines3", "mbrl-lib", "mbrl-lib, malloc tuned")
    assert [arm.name for arm in found] == [f"{kind}, {size}" for size in work.SAC_UPDATES for kind in kinds]
    assert all(arm.flop == work.SAC_UPDATES[arm.name.rpartition(", ")[2]].flop for arm in found)
    assert len({arm.process for arm in found}) == len(found)


def work_of(networks):
    return _ROLLOUTS(networks, policy=(4, 4), starts=300, horizon=1)


_ROLLOUTS = work.BranchedRollouts


@pytest.mark.parametrize("benchmark", [sac_updates, branched_rollouts], ids=["sac_updates", "branched_rollouts"])
def test_a_benchmark_writes_its_raw_file(monkeypatch, tmp_path, benchmark):
    tiny = work.SacUpdates(obs=3, action=2, hidden=(4,), batch=4, steps=2, rows=8)
    monkeypatch.setattr(work, "SAC_UPDATES", {"tiny": tiny})
    networks = work.Networks(obs=3, action=2, hidden=(4,), members=3, elites=2)
    monkeypatch.setattr(work, "BranchedRollouts", lambda: work_of(networks))
    one = arms.Arm("peak", arms.Process("NumPy", "benchmarks.numpy_worker"), "peak", {"size": 8, "repeats": 2}, 1)
    monkeypatch.setattr(arms, "peak_arms", lambda venv: [one])
    out = tmp_path / "raw.json"
    benchmark.main(["--no-peers", "--rounds", "2", "--out", str(out), "--quiet"])
    assert [len(arm["timings"]) for arm in json.loads(out.read_text())["arms"].values()] == [2, 2]
