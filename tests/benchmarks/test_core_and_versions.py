"""The benchmarks of the core and of two versions run, and their tables are made of what they write."""

import json

import pytest

from benchmarks import arms, core, tables, versions, work
from benchmarks.record import ROOT, summary

pytestmark = pytest.mark.slow


def test_appending_and_seeds_are_timed_and_shown(monkeypatch, tmp_path):
    monkeypatch.setattr(core, "CAPACITIES", (2000,))
    monkeypatch.setattr(core, "SEEDS", {})  # whole runs, of minutes
    out = tmp_path / "core.json"
    core.main(["--rounds", "2", "--steps", "600", "--out", str(out), "--quiet", "--threads", "1"])
    raw = json.loads(out.read_text())
    assert [len(arm["timings"]) for arm in raw["arms"].values()] == [2, 2]
    for label, seconds in (("1 seed", 10.0), ("8 seeds", 35.0)):
        raw["arms"][f"mbpo, {label}"] = {"wall_s": summary([seconds]), "task": {}}
    shown = tables.core(raw)
    assert "| 2,000 |" in shown and "600 steps of MBPO" in shown and "3.5 times as long" in shown


def test_another_checkout_is_measured_beside_this_one(monkeypatch, tmp_path):
    networks = work.Networks(hidden=(8,), members=2, elites=2)
    monkeypatch.setattr(work, "Planning", lambda: work_planning(networks, particles=2, population=4, horizon=2))
    monkeypatch.setattr(work, "FITTING", {"batch 256": work.Fitting(networks, batch=8, steps=2)})
    monkeypatch.setattr(work, "DREAMING", {"tiny": work.DREAMING["tiny"]})
    monkeypatch.setattr(versions, "RUNS", {"host steps": ("host_steps", {"num_envs": 2, "steps": 8})})
    out = tmp_path / "versions.json"
    versions.main([str(ROOT), "--rounds", "2", "--out", str(out), "--quiet", "--threads", "1"])
    raw = json.loads(out.read_text())
    assert len(raw["arms"]) == 8 and all(len(arm["timings"]) == 2 for arm in raw["arms"].values())
    assert str(ROOT) not in out.read_text()  # raw files are public
    assert raw["settings"]["before"] == raw["commit"]
    shown = tables.versions(raw)
    assert shown.count(" %") >= 12 and "| host steps |" in shown
    raw["arms"]["host steps, now"]["timings"] = [
        {"wall_s": 2 * t["wall_s"]} for t in raw["arms"]["host steps, before"]["timings"]
    ]
    assert "| +100 % (+100 % to +100 %) |" in tables.versions(raw)


work_planning = work.Planning


def test_a_folder_without_benchmarks_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        versions.main([str(tmp_path)])
    assert "holds no benchmarks/ours.py" in capsys.readouterr().err


def test_arms_of_another_checkout_run_in_it():
    found = versions.all_arms(ROOT)
    elsewhere = [arm.process.root or arm.process.package for arm in found]
    assert elsewhere == [ROOT, None] * (len(found) // 2) and len({arm.process for arm in found}) == len(found)
    assert all(isinstance(arm, arms.Arm) for arm in found)
