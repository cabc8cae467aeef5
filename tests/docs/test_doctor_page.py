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

PAGE = (ROOT / "docs" / "doctor.md").read_text()
FAULTS = json.loads(doctor_faults.RAW.read_text())
COVERAGE = json.loads(doctor_coverage.RAW.read_text())


def block(name: str) -> str:
    return re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)[1]


def test_the_table_of_planted_faults_is_what_was_measured():
    for row in doctor_faults.fault_rows(FAULTS):
        assert f"| {' | '.join(row)} |" in block("faults")
    assert set(FAULTS["faults"]) == set(doctor_faults.FAULTS) == set(doctor_faults.NAMED)


def test_every_planted_fault_was_found_by_its_own_name():
    for fault, name in doctor_faults.NAMED.items():
        assert len(FAULTS["faults"][fault]) >= 2
        for seed in FAULTS["faults"][fault].values():
            fired = doctor_faults.alarms(seed["findings"])
            assert fired == [] if name is None else name in fired


def test_at_most_one_of_ten_healthy_runs_raises_an_alarm():
    assert len(FAULTS["healthy"]) == 10
    assert sum(bool(doctor_faults.alarms(run["findings"])) for run in FAULTS["healthy"].values()) <= 1
    assert table(["seed", "findings", "verdict"], doctor_faults.healthy_rows(FAULTS)) == block("healthy")


def test_no_threshold_was_chosen_on_a_run_of_the_tables():
    seeds = {int(seed) for seed in FAULTS["healthy"]} | {int(s) for f in FAULTS["faults"].values() for s in f}
    assert not seeds & {100, 101, 102}


def test_the_table_of_coverage_is_what_was_measured():
    head = ["task", "before", "after", "horizons within 87 to 93 %"]
    assert table(head, doctor_coverage.table_rows(COVERAGE)) == block("coverage")
    for task in COVERAGE["tasks"].values():
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
    ],
)
def test_the_thresholds_on_the_page_are_those_of_the_code(value, text):
    assert text in " ".join(PAGE.split())
    number = {"half": 0.5, "twice": 2.0, "95 %": 0.05, "0.2 %": 0.002, "1,200": 1200}
    shown = next((v for word, v in number.items() if word in text), None)
    if shown is None:
        shown = float(re.search(r"\d+(\.\d+)?", text)[0])
    assert shown == pytest.approx(value)
