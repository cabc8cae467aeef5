"""Videos and captions."""

import warnings

import imageio_ffmpeg
import jax
import numpy as np
import pytest
from PIL import Image

from forethought.diagnostics import video
from forethought.diagnostics.video import overlay, write_video
from forethought.errors import StorageFault, UserError

pytestmark = pytest.mark.filterwarnings("ignore:os.fork")  # from the reader used to look at the results


def frames(n=6, height=33, width=47):
    for t in range(n):
        frame = np.full((height, width, 3), 200, np.uint8)
        frame[:, : 5 + t * 5] = (255, 0, 0)
        yield frame


def read(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]


def test_mp4_is_h264_in_420_with_even_sizes_and_every_frame(tmp_path):
    meta, pictures = read(write_video(tmp_path / "videos" / "v.mp4", frames(), fps=10))
    assert (meta["codec"], meta["fps"], meta["size"]) == ("h264", 10, (48, 34))
    assert meta["pix_fmt"].startswith("yuv420p")
    assert len(pictures) == 6


def test_mp4_shows_what_was_drawn(tmp_path):
    _, pictures = read(write_video(tmp_path / "v.mp4", frames()))
    assert pictures[5][16, 10].astype(int) == pytest.approx([255, 0, 0], abs=40)
    assert pictures[5][16, 44].astype(int) == pytest.approx([200, 200, 200], abs=40)


def test_writing_does_not_fork_python_beside_the_threads_of_jax(tmp_path):
    jax.numpy.zeros(3).block_until_ready()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        write_video(tmp_path / "v.mp4", frames())
    assert not [w for w in seen if "fork" in str(w.message)]


def test_what_ffmpeg_says_reaches_the_user(tmp_path, monkeypatch):
    false = tmp_path / "ffmpeg"
    false.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    false.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(false))
    with pytest.raises(StorageFault, match="no space left"):
        write_video(tmp_path / "v.mp4", frames(200, 200, 200))
    assert [file.name for file in tmp_path.iterdir()] == ["ffmpeg"]


def test_without_ffmpeg_a_gif_is_written_instead(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_has_ffmpeg", lambda: False)
    path = write_video(tmp_path / "v.mp4", frames(4), fps=10)
    assert path == tmp_path / "v.gif"
    with Image.open(path) as film:
        assert (film.n_frames, film.info["duration"]) == (4, 100)


@pytest.mark.parametrize("none", [[], [None]])
def test_an_environment_without_a_picture_is_told_how_to_get_one(tmp_path, none):
    with pytest.raises(UserError, match='render_mode="rgb_array"'):
        write_video(tmp_path / "v.mp4", none)
    assert not list(tmp_path.iterdir())


def test_a_frame_that_breaks_off_leaves_no_half_video(tmp_path):
    def broken():
        yield from frames(3)
        yield np.zeros((9, 9, 3), np.uint8)

    with pytest.raises(UserError, match="frame 3 has shape"):
        write_video(tmp_path / "v.mp4", broken())
    assert not list(tmp_path.iterdir())


def test_floats_are_no_picture(tmp_path):
    with pytest.raises(UserError, match="float64"):
        write_video(tmp_path / "v.mp4", [np.zeros((8, 8, 3))])


def test_a_place_that_cannot_be_written_is_a_storage_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFault, match="cannot write the video"):
        write_video(tmp_path / "file" / "v.mp4", frames())


def test_caption_changes_only_the_upper_left_of_a_copy():
    frame = np.full((200, 300, 3), 255, np.uint8)
    marked = overlay(frame, "step 12  reward 0.5")
    assert frame.min() == 255
    assert marked.shape == frame.shape and marked.dtype == np.uint8
    assert marked[:30, :150].min() < 120
    assert marked[60:].min() == 255


def test_a_frame_that_is_too_narrow_for_its_caption_is_enlarged():
    frame = np.zeros((64, 48, 3), np.uint8)
    frame[-1, -1] = 255
    marked = overlay(frame, "episode 2   step 12   return -1,234.5")
    assert marked.shape == (5 * 64, 5 * 48, 3)
    assert marked[-5:, -5:].min() == 255 and marked[-10:-5, -10:].max() == 0
