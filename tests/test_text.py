"""Percentages are written in one way."""

import re
from pathlib import Path

import pytest

import forethought
from forethought.text import gigabytes, percent


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"),
        (0.9, "90 %"),
        (1.2, "120 %"),
        (123.4, "12,340 %"),
        (0.0523, "5.2 %"),
        (0.08, "8 %"),
        (0.0997, "10 %"),
        (0.00052, "0.052 %"),
        (4e-8, "<0.01 %"),
        (-4e-8, "-<0.01 %"),
        (-0.123, "-12 %"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_a_percentage_has_two_digits_and_never_an_exponent(share, words):
    assert percent(share) == words


def test_a_signed_percentage_says_its_sign():
    assert [percent(x, signed=True) for x in (0.5, -0.5, 0.001, 1e-9)] == ["+50 %", "-50 %", "+0.1 %", "+<0.01 %"]


def test_gigabytes_have_no_exponent_where_they_are_many():
    assert [gigabytes(x) for x in (1.5e9, 999e9, 3.2e12)] == ["1.5 GB", "999 GB", "3,200 GB"]


def test_nobody_writes_percentages_of_their_own():
    home = Path(forethought.__file__).parent
    own = re.compile(r"\{[^{}]*%\}|\{[^{}]*:[^{}]*[gf]\} %")
    found = [str(f.relative_to(home)) for f in home.rglob("*.py") if own.search(f.read_text()) and f.name != "text.py"]
    assert found == []
