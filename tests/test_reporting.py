"""What a run shows must never depend on one part of it that cannot be made."""

import dataclasses

import numpy as np
import pytest
from tiny import CONFIGS, Walk

import forethought
from forethought import checkup, reporting


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "walk"
    run = forethought.RunConfig(steps=50, eval_every=0, final_episodes=2, video=False)
    return forethought.train("pets", Walk, config=CONFIGS["pets"], run=run, out=out, quiet=True)


def test_a_doctor_that_fails_costs_a_finished_run_no_report(trained, monkeypatch):
    def fails(*_, **__):
        raise KeyError("of a user's own model")

    monkeypatch.setattr(reporting, "of_evaluation", fails)
    state, replay = trained.trained()
    evaluation = trained.evaluate(episodes=2)
    trained.folder.report.unlink()
    reporting.show(trained.setup, trained.folder, state, replay, evaluation, video=False)
    assert "the doctor could not look at the model: KeyError" in trained.folder.report.read_text()


def test_pictures_that_cannot_be_drawn_cost_no_more_than_themselves(trained, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise ValueError("nothing to draw")

    monkeypatch.setattr(reporting, "plot_traces", fails)
    monkeypatch.setattr(reporting, "plot_drift", fails)
    found = trained.doctor(episodes=2, horizon=3, out=tmp_path)
    assert found.paths["summary"].is_file()
    page = found.paths["page"].read_text()
    assert "no figure &#x27;Imagined return&#x27;: ValueError: nothing to draw" in page
    assert "imagination could not be drawn beside reality" in page


def test_statistics_are_held_against_the_rows_that_were_there_at_the_last_fit(trained):
    _, replay = trained.trained()
    assert int(replay.size) == 50  # fits were due at 20 and 40
    _, fitted = checkup._fitted_to(trained.setup, replay)
    np.testing.assert_array_equal(np.flatnonzero(fitted), np.arange(40))
    short = dataclasses.replace(trained.setup, run=dataclasses.replace(trained.setup.run, replay_capacity=30))
    assert checkup._fitted_to(short, replay) is None
