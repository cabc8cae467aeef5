"""What a run shows must never depend on one part of it that cannot be made."""

import dataclasses
import types

import numpy as np
import pytest
from tiny import CONFIGS, Walk

import forethought
from forethought import checkup, reporting
from forethought.cli import tables
from forethought.diagnostics.finding import Finding
from forethought.presets.parts import PlannerConfig
from forethought.presets.planet import PlaNetConfig
from forethought.presets.world_model import WorldModelConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "walk"
    run = forethought.RunConfig(steps=50, eval_every=0, final_episodes=2, video=False)
    return forethought.train("pets", Walk, config=CONFIGS["pets"], run=run, out=out, quiet=True)


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def caught(tmp_path_factory):
    """A run of a latent agent on pictures, too short to have learned anything."""
    model = WorldModelConfig(
        cell="gru", deter=8, hidden=8, latents=2, classes=2, prior_layers=1, units=8, layers=1, depth=1, kernel=3
    )
    planner = PlannerConfig(horizon=2, population=8, elites=2, iterations=1)
    config = PlaNetConfig(
        random_steps=40, update_every=40, updates=2, batch_size=2, batch_length=4, model=model, planner=planner
    )
    run = forethought.RunConfig(steps=80, eval_every=0, final_episodes=2)
    out = tmp_path_factory.mktemp("runs") / "catch"
    return forethought.train("planet", "catch", config=config, run=run, out=out, quiet=True)


@pytest.mark.slow
def test_a_run_on_pictures_shows_what_was_imagined_beside_what_was_real_without_being_asked(caught):
    folder = caught.folder
    assert (folder.figures / "imagined.png").is_file()
    assert [p.stem for p in sorted(folder.videos.iterdir())] == ["imagined", "policy"]
    page = folder.report.read_text()
    assert "Imagined beside real" in page and 'class="still"' in page
    folder.report.unlink()
    caught.report()
    assert 'class="still"' in folder.report.read_text()


@pytest.mark.slow
def test_the_doctor_shows_it_from_the_folder_of_the_run(caught, tmp_path):
    found = forethought.doctor(caught.path, episodes=3, horizon=4, out=tmp_path)
    assert found.paths["still"] == tmp_path / "imagined.png" and found.paths["video"].stem == "imagined"
    assert 'class="still"' in found.paths["page"].read_text()
    assert found.heads.terminations == 3 and found.examination.names == ("picture",)


def test_statistics_are_held_against_the_rows_that_were_there_at_the_last_fit(trained):
    _, replay = trained.trained()
    assert int(replay.size) == 50  # fits were due at 20 and 40
    _, fitted = checkup._fitted_to(trained.setup, replay)
    np.testing.assert_array_equal(np.flatnonzero(fitted), np.arange(40))
    short = dataclasses.replace(trained.setup, run=dataclasses.replace(trained.setup.run, replay_capacity=30))
    assert checkup._fitted_to(short, replay) is None


def test_a_run_says_whether_it_learned_in_its_record_its_report_and_its_curve(trained):
    record = trained.folder.record
    assert len(record["random"]["returns"]) >= 5 and trained.random_return == record["random"]["mean_return"]
    assert "than random actions (" in record["outcome"] or record["outcome"].startswith("above random actions by")
    page = trained.folder.report.read_text()
    assert "Random actions" in page and record["outcome"][1:].split(":")[0] in page
    assert trained.shown.outcome == record["outcome"]


def test_the_dashed_line_of_random_actions_is_drawn(trained, monkeypatch):
    drawn = []
    monkeypatch.setattr(reporting, "plot_learning_curves", lambda *a, **more: drawn.append(more["random"]))
    monkeypatch.setattr(reporting, "write_report", lambda path, **more: path)
    reporting.write(trained.folder)
    assert drawn == [trained.random_return] * 2


def test_whether_it_learned_is_recorded_before_what_may_be_broken_off(trained, monkeypatch):
    def broken_off(*_, **__):
        raise KeyboardInterrupt

    told = []
    monkeypatch.setattr(reporting, "note_outcome", lambda *_: told.append("outcome"))
    monkeypatch.setattr(reporting, "look", broken_off)
    state, replay = trained.trained()
    with pytest.raises(KeyboardInterrupt):
        reporting.show(trained.setup, trained.folder, state, replay, trained.evaluate(episodes=2))
    assert told == ["outcome"]


def test_once_the_time_is_over_what_takes_long_is_left_out_and_that_is_said(trained, monkeypatch):
    monkeypatch.setattr(reporting, "look", lambda *_, **__: pytest.fail("looked"))
    pace = types.SimpleNamespace(over=True, said=lambda: "4 minutes are over")
    state, replay = trained.trained()
    shown = reporting.show(trained.setup, trained.folder, state, replay, trained.evaluate(episodes=2), pace=pace)
    assert shown.notes == [
        "4 minutes are over: no look at the model, no video (`forethought doctor` and `video` make them)"
    ]
    assert shown.notes[0].split(":")[0] in trained.folder.report.read_text()


def test_findings_stand_on_the_terminal_beside_the_verdict(capsys):
    found = [
        Finding("reward-head-useless", "warning", "the reward is no better than a constant", "train longer", {}),
        Finding("constant-column", "note", "dimension 0 never changes", "leave it out", {}),
    ]
    tables.show_model(types.SimpleNamespace(verdict="Trust it.", findings=found))
    assert capsys.readouterr().out == (
        "model   Trust it.\nwarning reward-head-useless: the reward is no better than a constant\n"
    )
