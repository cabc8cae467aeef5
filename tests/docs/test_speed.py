"""The tables of docs/speed.md are those of the raw files, and the raw files hold together."""

import json
import pathlib
import statistics

import pytest

from benchmarks import tables

ROOT = pathlib.Path(__file__).parents[2]
RAW = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def timings(raw: dict) -> list[tuple[list[float], dict[str, float]]]:
    """Single values and the summary that was made of them, throughout a raw file."""
    found, arms = [], raw.get("arms", raw.get("solve", {}))
    for arm in arms if isinstance(arms, list) else arms.values():
        summary = next(arm[name] for name in ("simulations_per_s", "steps_per_s", "wall_s") if name in arm)
        found.append((arm["all"] if "all" in arm else [t["wall_s"] for t in arm["timings"]], summary))
    for part in [*raw.get("parts", {}).values(), *raw.get("replan", {}).values()]:
        found += [(part["returns"], part["return"])] if "returns" in part else [(part["milliseconds"], part["ms"])]
    return found


def test_the_page_says_what_the_raw_files_say():
    page = (ROOT / "docs" / "speed.md").read_text()
    assert {name for _, name, _ in tables.BLOCK.findall(page)} == set(tables.RENDER)
    assert tables.rendered(page) == page, "run `python -m benchmarks.tables`"


def test_a_changed_raw_figure_changes_the_page(tmp_path):
    for file in RAW:
        text = file.read_text()
        (tmp_path / file.name).write_text(text)
    raw = json.loads((tmp_path / "planning.json").read_text())
    next(iter(raw["arms"].values()))["wall_s"]["median"] *= 3
    (tmp_path / "planning.json").write_text(json.dumps(raw))
    page = (ROOT / "docs" / "speed.md").read_text()
    assert tables.rendered(page, tmp_path) != page


@pytest.mark.parametrize("file", RAW, ids=lambda file: file.stem)
def test_a_raw_file_names_its_machine_and_its_medians_are_those_of_its_timings(file):
    raw = json.loads(file.read_text())
    assert {"date", "hardware", "versions", "machine", "settings"} <= set(raw)
    assert all(values for values, _ in timings(raw))
    for values, summary in timings(raw):
        assert summary["n"] == len(values)
        assert summary["median"] == pytest.approx(statistics.median(values))
        assert (summary["min"], summary["max"]) == pytest.approx((min(values), max(values)))


def test_an_arm_that_reached_the_oracle_did_so_in_its_first_trial_above_the_mark():
    raw = json.loads((ROOT / "benchmarks" / "results" / "time_to_oracle.json").read_text())
    for run in raw["runs"].values():
        above = [trial for trial in run["trials"] if trial["return"] >= raw["settings"]["mark"]]
        assert run["reached"] == (above[0] if above else None)
