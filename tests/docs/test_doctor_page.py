"""The tables of the doctor's page are what the committed raw files say."""

import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "reproductions"))
import doctor_coverage  # noqa: E402
import doctor_faults  # noqa: E402
from writing import table  # noqa: E402

from forethought.diagnostics import data_checks, model_checks  # noqa: E402


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "doctor.md").read_text()


@pytest.fixture
def faults():
    return raw(doctor_faults)


@pytest.fixture
def coverage():
    return raw(doctor_coverage)


def raw(script):
    """What the script measured; fails where its raw file is not there."""
    if not script.RAW.is_file():
        command = f"python reproductions/{script.__name__}.py measure"
        pytest.fail(f"{script.RAW.relative_to(ROOT)} is missing; make it with: {command}")
    return json.loads(script.RAW.read_text())


def block(page: str, name: str) -> str:
    return re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)[1]


def test_the_table_of_planted_faults_is_what_was_measured(page, faults):
    for row in doctor_faults.fault_rows(faults):
        assert f"| {' | '.join(row)} |" in block(page, "faults")
    assert set(faults["faults"]) == set(doctor_faults.FAULTS) == set(doctor_faults.NAMED)


def test_every_planted_fault_was_found_by_its_own_name(faults):
    for fault, name in doctor_faults.NAMED.items():
        assert len(faults["faults"][fault]) >= 2
        for seed in faults["faults"][fault].values():
            fired = doctor_faults.alarms(seed["findings"])
            assert fired == [] if name is None else name in fired


def test_at_most_one_of_ten_healthy_runs_raises_an_alarm(page, faults):
    assert len(faults["healthy"]) == 10
    assert sum(bool(doctor_faults.alarms(run["findings"])) for run in faults["healthy"].values()) <= 1
    assert table(["seed", "findings", "verdict"], doctor_faults.healthy_rows(faults["healthy"])) == block(
        page, "healthy"
    )


def test_no_threshold_was_chosen_on_a_run_of_the_tables(faults):
    seeds = {int(seed) for seed in faults["healthy"]} | {int(s) for f in faults["faults"].values() for s in f}
    assert not seeds & {100, 101, 102}


def test_the_table_of_coverage_is_what_was_measured(page, coverage):
    head = ["task", "before", "after", "horizons within 87 to 93 %"]
    assert table(head, doctor_coverage.table_rows(coverage)) == block(page, "coverage")
    for task in coverage["tasks"].values():
        assert [row[0] for row in task["rows"]] == list(range(1, 21))
        assert all(0 <= share <= 1 for row in task["rows"] for share in row[1:3])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (data_checks.LAG_BETTER, "less than 0.6 of the variance"),
        (data_checks.LAG_LEAST, "at least 0.2 %"),
        (model_checks.REWARD_BETTER, "error below 0.7 of that at their own"),
        (data_checks.UNLEARNED, "over half of the reward's variance"),
        (data_checks.CLIP_BETTER, "less than 0.8 of its error"),
        (data_checks.HIDDEN_LEAST, "more than 95 % of a change"),
        (data_checks.HIDDEN_BETTER, "less than 0.4 of the rest"),
        (data_checks.JUMP, "more than twice what 99.9 %"),
        (model_checks.FROZEN, "varies by less than 0.001"),
        (model_checks.MISMATCH, "wrong by a factor of 2"),
        (model_checks.SHIFTED, "over half a standard deviation"),
        (model_checks.STRETCHED, "stretch by over 1.5"),
        (model_checks.OTHER_WORLD, "over 3 times those on the latest"),
        (data_checks.LAG_ROWS, "at most 1,200 transitions"),
        (data_checks.EARLY, "in the first 3 steps"),
        (data_checks.EARLY_CHANCE, "chance is below 5 %"),
    ],
)
def test_the_thresholds_on_the_page_are_those_of_the_code(page, value, text):
    assert text in " ".join(page.split())
    number = {"half": 0.5, "twice": 2.0, "95 %": 0.05, "below 5 %": 0.05, "0.2 %": 0.002, "1,200": 1200}
    shown = next((v for word, v in number.items() if word in text), None)
    if shown is None:
        shown = float(re.search(r"\d+(\.\d+)?", text)[0])
    assert shown == pytest.approx(value)
