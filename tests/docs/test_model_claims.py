"""What docs/models.md says of single models is what the committed raw files say, and these pass their marks."""

import importlib
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs/models.md").read_text()


@pytest.fixture
def script(monkeypatch):
    """A script of `reproductions/`, imported by name."""
    monkeypatch.syspath_prepend(str(ROOT / "reproductions"))
    return importlib.import_module


@pytest.mark.parametrize(
    ("name", "block", "table"),
    [
        ("system_identification", "system identification", "identification_table"),
        ("bayesian_network", "coverage", "coverage_table"),
        ("deep_belief", "deep belief", "error_table"),
    ],
)
def test_the_table_is_what_the_raw_file_says(script, name, block, table):
    found = script(name)
    assert f"<!-- {block} -->\n{getattr(found, table)(found.load(found.RAW))}\n<!-- end -->" in PAGE


@pytest.mark.parametrize("system", ["pendulum", "cart-pole", "bicycle"])
def test_every_parameter_is_within_two_per_cent_on_every_seed(script, system):
    found = script("system_identification")
    raw = found.load(found.RAW)
    assert raw["steps"] == 200
    errors = found.errors(raw, system)
    assert errors.shape[0] == 10 and np.abs(errors).max() < 0.02


def test_the_bayesian_networks_intervals_cover_what_they_say_where_a_plain_networks_do_not(script):
    found = script("bayesian_network")
    rows = found.load(found.RAW)["rows"]["200"]
    inside = {arm: np.mean(cell["coverage"]) for arm, cell in rows.items()}
    assert len(rows["plain"]["coverage"]) == 10
    assert 0.87 <= inside["bayesian"] <= 0.93 and not 0.87 <= inside["plain"] <= 0.93


def test_the_deep_belief_network_is_within_a_tenth_of_an_mlp_of_its_size_and_below_persistence(script):
    found = script("deep_belief")
    raw = found.load(found.RAW)
    error = {arm: np.array(found_["error"]) for arm, found_ in raw["slips"]["0.2"].items()}
    assert len(error["network"]) == 10
    assert (error["network"] < error["persistence"]).all() and (error["network"] <= 1.1 * error["mlp"]).all()
