"""Links in a run folder that someone else made: nothing outside of it is read into a report, overwritten or removed."""

import os

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from forethought import reporting
from forethought.cli import plot
from forethought.diagnostics.figures import save_figure
from forethought.diagnostics.page import picture
from forethought.diagnostics.report import write_report
from forethought.diagnostics.video import write_video
from forethought.errors import UserError
from forethought.storage import files
from forethought.storage.run_folder import RunFolder, create_group, open_runs
from forethought.storage.sinks import TensorBoardSink

RECORD = {"agent": "pets", "env": "x", "seed": 0, "num_seeds": 1, "config": {}, "total_steps": 100}
SECRET = b"a secret"
ROWS = [
    {"kind": "eval", "seed": 0, "env_steps": k, "wall_s": 1.0, "returns": [k], "lengths": [1], "mean_return": k}
    | {"final": k == 2}
    for k in (1, 2)
]


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create(tmp_path / "run", RECORD)
    run.log(ROWS)
    return run


@pytest.fixture
def outside(tmp_path):
    path = tmp_path / "outside.png"
    path.write_bytes(SECRET)
    return path


def put_link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def test_a_lock_that_is_a_link_does_not_truncate_what_it_leads_to(run, outside):
    put_link(run.path / ".lock", outside)
    with pytest.raises(UserError, match=r"\.lock is a link, and links are not followed.*remove it"), run.locked():
        pass
    assert not run.is_locked and outside.read_bytes() == SECRET
    (run.path / ".lock").unlink()  # the remedy
    with run.locked():
        assert run.is_locked


def test_a_lock_that_is_another_file_too_is_refused(run, outside):
    os.link(outside, run.path / ".lock")
    with pytest.raises(UserError, match=r"is also another file \(a hard link\)"), run.locked():
        pass
    assert outside.read_bytes() == SECRET


def test_metrics_that_are_a_link_are_neither_read_nor_written(run, tmp_path):
    outside = tmp_path / "elsewhere.jsonl"
    outside.write_bytes(run.metrics_path.read_bytes() + b"half a line")
    before = outside.read_bytes()
    put_link(run.metrics_path, outside)
    for touch in (
        lambda: run.log(ROWS),
        run.metrics,
        lambda: run.truncate_metrics(0),
        lambda: run.save_checkpoint({}, env_steps=1, meta={}),
    ):
        with pytest.raises(UserError, match=r"metrics\.jsonl is a link"):
            touch()
    assert outside.read_bytes() == before


@pytest.mark.parametrize("name", ["run.json", "group.json"])
def test_a_record_that_is_a_link_is_not_read(run, tmp_path, name):
    outside = tmp_path / "elsewhere.json"
    outside.write_bytes((run.path / "run.json").read_bytes())
    put_link(run.path / name, outside)
    with pytest.raises(UserError, match=rf"{name} is a link"):
        RunFolder.open(run.path)


def test_a_checkpoint_that_is_a_link_is_passed_over(run, tmp_path):
    for steps in (1, 2):
        run.save_checkpoint({"w": jnp.full(2, float(steps))}, env_steps=steps, meta={})
    newest = run.checkpoints()[2]
    newest.rename(tmp_path / "elsewhere.npz")
    put_link(newest, tmp_path / "elsewhere.npz")
    loaded = run.load_checkpoint({"w": jnp.zeros(2)})
    assert loaded.tree["w"][0] == 1 and "it is a link" in loaded.notes[0]


@pytest.mark.parametrize("name", ["checkpoints", "figures", "videos", "replay", "tensorboard", "stages"])
def test_a_folder_that_is_a_link_is_refused(run, tmp_path, name):
    outside, folder = tmp_path / "elsewhere", run.path / name
    outside.mkdir()
    for file in ("step-000000009.npz", ".x.tmp"):
        (outside / file).write_bytes(SECRET)
    if folder.is_dir():
        folder.rmdir()
    put_link(folder, outside)
    touch = {
        "checkpoints": lambda: run.save_checkpoint({}, env_steps=1, meta={}),
        "stages": lambda: run.save_stage({}, env_steps=1),
    }
    with pytest.raises(UserError, match=rf"run/{name} is a link"):
        touch.get(name, lambda: getattr(run, name))()
    assert sorted(path.name for path in outside.iterdir()) == [".x.tmp", "step-000000009.npz"]


def test_a_plot_is_not_drawn_through_a_folder_that_is_a_link(run, tmp_path):
    run.figures.rmdir()
    put_link(run.figures, tmp_path)
    with pytest.raises(UserError, match="figures is a link"):
        plot._default_out([run.path])


def test_a_folder_of_a_seed_that_is_a_link_gets_no_events(tmp_path):
    (tmp_path / "board").mkdir()
    (tmp_path / "elsewhere").mkdir()
    put_link(tmp_path / "board" / "seed-0", tmp_path / "elsewhere")
    with TensorBoardSink(tmp_path / "board") as sink, pytest.raises(UserError, match="seed-0 is a link"):
        sink.write(ROWS)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_run_of_a_group_that_is_a_link_is_not_opened(run, tmp_path):
    group = create_group(tmp_path / "group", ["seed-0"])
    put_link(group / "seed-0", run.path)
    with pytest.raises(UserError, match="seed-0 is a link"):
        open_runs(group)


def draw(figure):
    figure.add_subplot().plot([0, 1])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.png", lambda path: save_figure(path, draw)),
        ("a.svg", lambda path: save_figure(path, draw)),
        ("a.gif", lambda path: write_video(path, [np.zeros((4, 4, 3), np.uint8)] * 2)),
        ("a.html", lambda path: write_report(path, record=RECORD, rows=[], figures={})),
        ("a.json", lambda path: reporting.write_json(path, {})),
    ],
)
@pytest.mark.parametrize("temporary", ["", ".{stem}.part{suffix}", ".{name}.part", ".{name}.{pid}.tmp"])
def test_what_is_written_replaces_a_link(tmp_path, outside, name, write, temporary):
    path = tmp_path / name
    parts = {"stem": path.stem, "suffix": path.suffix, "name": name, "pid": os.getpid()}
    put_link(path.with_name(temporary.format(**parts)) if temporary else path, outside)
    write(path)
    assert outside.read_bytes() == SECRET and not path.is_symlink() and path.stat().st_size


def test_a_report_embeds_no_file_that_a_link_leads_to(run, outside):
    outside.write_bytes(b"\x89PNG" + SECRET)
    (run.path / "report.html").symlink_to(outside)
    for name in ("learning_curve.png", "model_check.png", "forecasts.png", "ladder.png", "imagined.png"):
        put_link(run.figures / name, outside)
    for name in ("policy.gif", "imagined.gif"):
        put_link(run.videos / name, outside)
    page = reporting.write(run).report
    import base64

    text = page.read_text()
    assert base64.b64encode(b"\x89PNG" + SECRET).decode() not in text and "is a link" in text
    assert "data:image/png" in text  # the curve that was drawn in the place of a link
    assert outside.read_bytes() == b"\x89PNG" + SECRET and not page.is_symlink()


def test_a_pipe_in_place_of_a_picture_does_not_wait_for_its_other_end(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert "is no regular file" in picture("A", tmp_path / "a.png")
    with pytest.raises(UserError, match="is no regular file"):
        files.append(tmp_path / "a.png", b"x\n")


def test_a_link_to_a_picture_that_is_inside_is_not_embedded_either(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    put_link(tmp_path / "b.png", tmp_path / "a.png")
    assert "data:image/png" in picture("A", tmp_path / "a.png") and "is a link" in picture("B", tmp_path / "b.png")
