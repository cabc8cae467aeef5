"""CONTRIBUTING says where the suite's time goes as the committed raw file has it."""

import json
import pathlib

import costs

ROOT = pathlib.Path(__file__).parents[2]


def test_the_table_is_that_of_the_raw_file():
    raw = json.loads((ROOT / "tests" / "suite_costs.json").read_text())
    table = "\n".join(costs.by_folder(raw))
    assert f"<!-- table: suite -->\n\n{table}\n\n<!-- end -->" in (ROOT / "CONTRIBUTING.md").read_text()


def test_costs_add_up_by_folder_and_in_all():
    spent = {"tests/a/x.py": {"cpu": 1.0, "tests": 2}, "tests/a/y.py": {"cpu": 3.0, "tests": 1}}
    rows = costs.by_folder({"modules": {name: {part: 0.0 for part in costs.PARTS} | s for name, s in spent.items()}})
    assert rows[2:] == ["| 4 | 0 | 0 | 0 | 3 | a |", "| 4 | 0 | 0 | 0 | 3 | all |"]
