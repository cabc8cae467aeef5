"""Nothing that takes more than two seconds goes by without a word."""

import io
import time

import pytest

from forethought import display as module
from forethought.display import Display


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setattr(module, "SILENT", 0.3)
    display = Display(stream=io.StringIO())
    yield display
    display.stop()


def lines(display):
    return display.stream.getvalue().splitlines()


def test_long_work_says_what_it_is_without_being_asked(shown):
    shown.doing("compiling the first state")
    time.sleep(1.1)
    assert lines(shown)[0].startswith("compiling the first state")


def test_work_that_comes_again_and_again_needs_no_line_each_time(shown):
    for _ in range(2):
        shown.doing("learning")
        time.sleep(0.7)
        shown.doing("acting")
    assert len([line for line in lines(shown) if "learning" in line]) == 1


def test_short_work_says_nothing(shown):
    shown.doing("saving")
    shown.stop()
    assert lines(shown) == []


def test_a_quiet_display_says_nothing_and_starts_nothing():
    display = Display(quiet=True, stream=io.StringIO())
    display.doing("compiling")
    assert display._watch is None and display.watched(iter([0.5, "answer"]), "evaluating") == "answer"


def test_what_is_watched_is_returned_and_its_share_and_rest_are_said(shown):
    shown._since = time.monotonic() - 30

    def parts():
        shown._since, shown.printed = time.monotonic() - 30, 0.0
        yield 0.25
        yield "found"

    assert shown.watched(parts(), "playing 20 episodes") == "found"
    assert lines(shown)[0] == "playing 20 episodes 25 %, 1:30 left (0:30)"


def test_evaluations_and_pages_count_in_what_is_left(shown):
    shown.update(10, 100)
    shown.update(20, 100)
    shown._from = (time.monotonic() - 10, 20)
    shown.apart = 60.0
    shown.update(40, 100)  # 20 steps in 10 s: 30 s for the rest
    assert shown.values["left"] == "1:30"
    assert "estimated time left: 1:30, evaluations and report included" in lines(shown)


def test_what_is_left_counts_down_between_updates_and_is_unknown_once_it_is_over(shown):
    shown.update(10, 100)
    shown.update(20, 100)
    shown._from = (time.monotonic() - 10, 20)
    shown.update(100, 100)
    shown._ends = time.monotonic() + 20.2
    assert "left 0:20" in shown._text()
    shown._ends = time.monotonic() - 1
    assert "left ?" in shown._text()


def test_steps_that_will_not_be_taken_do_not_count_in_what_is_left(shown):
    shown.update(10, 1000)
    shown.update(20, 1000)
    shown._from = (time.monotonic() - 10, 20)
    shown.update(40, 1000)
    assert shown.values["left"] == "8:00"
    shown.last(15.2)  # as --max-minutes has it
    assert "left 0:15" in shown._text()
