"""Videos of episodes: H.264 that browsers play, or a GIF where there is no ffmpeg."""

import contextlib
import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import IO, cast

import numpy as np

from ..errors import StorageFault, UserError

MOST_FPS = 240
NARROW = 240  # pixels that a caption takes
_NO_PICTURE = (
    'the environment gave no picture; make it with render_mode="rgb_array", or, for one of your own, '
    "return RGB frames [height, width, 3] uint8 from render()"
)


def write_video(path: str | PathLike[str], frames: Iterable[np.ndarray | None], fps: float = 30.0) -> Path:
    """Write `frames`, each `[height, width, 3]` uint8, at `fps` frames a second; the path written to.

    An .mp4 holds H.264 with 4:2:0 colours (odd sizes get one more row or column, as that needs). Where
    ffmpeg is missing a .gif of the same name is written instead, and that path returned; a `path` ending in
    .gif asks for one. The file appears whole or not at all. Raises UserError if there is no frame or a frame
    is no RGB picture, and StorageFault if the file cannot be written.
    """
    target = Path(path)
    check_video(target, fps)
    pictures = _checked(frames)
    first = next(pictures, None)
    if first is None:
        raise UserError(f"no frames to write to {str(target)!r}: {_NO_PICTURE}")
    if target.suffix.lower() == ".mp4" and not _has_ffmpeg():
        target = target.with_suffix(".gif")
    write = _write_mp4 if target.suffix.lower() == ".mp4" else _write_gif
    part = target.with_name(f".{target.stem}.part{target.suffix.lower()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.unlink(missing_ok=True)  # a link there would be written through
            write(part, first, pictures, fps)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFault(f"cannot write the video {str(target)!r}: {error}") from error
    return target


def check_video(path: Path, fps: float | None) -> None:
    """Raises UserError for a path or a number of frames a second that no video has, before anything is drawn."""
    if path.suffix.lower() not in (".mp4", ".gif"):
        ends = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise UserError(f"video path {str(path)!r} {ends}; use .mp4 or .gif")
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise UserError(f"fps={fps} must be above 0 and at most {MOST_FPS}; 30 is usual")


def overlay(frame: np.ndarray, text: str) -> np.ndarray:
    """A copy of `frame` `[height, width, 3]` with a small caption in its upper left corner.

    A frame that is too narrow for it is enlarged a whole number of times, pixel by pixel.
    """
    from PIL import Image, ImageDraw, ImageFont

    times = -(-NARROW // frame.shape[1])
    frame = np.repeat(np.repeat(frame, times, 0), times, 1)
    image = Image.fromarray(np.ascontiguousarray(frame))
    size = max(10, round(image.height / 24))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image, "RGBA")
    pad = max(3, size // 3)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left, bottom - top
    corner = (pad, pad)
    box = (*corner, min(corner[0] + width + 2 * pad, image.width - 1), corner[1] + height + 2 * pad)
    draw.rounded_rectangle(box, radius=pad, fill=(20, 24, 28, 170))
    draw.text((corner[0] + pad - left, corner[1] + pad - top), text, font=font, fill=(255, 255, 255, 255))
    return np.asarray(image)


def _checked(frames: Iterable[np.ndarray | None]) -> Iterator[np.ndarray]:
    """Frames of one even size; a size that differs from the first one's is an error."""
    shape = None
    for i, frame in enumerate(frames):
        if frame is None:
            raise UserError(f"frame {i} is None: {_NO_PICTURE}")
        frame = np.asarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise UserError(
                f"frame {i} has shape {frame.shape} and dtype {frame.dtype}; wanted [height, width, 3] uint8"
            )
        shape = shape or frame.shape
        if frame.shape != shape:
            raise UserError(f"frame {i} has shape {frame.shape}, the first has {shape}; render at one size")
        yield np.pad(frame, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")


def _has_ffmpeg() -> bool:
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return False
    return True


def _write_mp4(path: Path, first: np.ndarray, rest: Iterator[np.ndarray], fps: float) -> None:
    """Pipe the frames to ffmpeg. Started without Python code between fork and exec, which JAX's threads forbid."""
    import imageio_ffmpeg

    height, width, _ = first.shape
    options = (
        f"-y -loglevel error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps:g} -i - "
        "-an -c:v libx264 -pix_fmt yuv420p -crf 23 -preset veryfast -movflags +faststart"
    )
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *options.split(), str(path)]
    with tempfile.TemporaryFile() as said:
        # A session of its own: a Ctrl-C that the run handles must not reach ffmpeg.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, start_new_session=True)
        pipe = cast(IO[bytes], process.stdin)
        try:
            for frame in itertools.chain([first], rest):
                pipe.write(np.ascontiguousarray(frame).tobytes())
            pipe.close()
            failed = process.wait() != 0
        except BrokenPipeError:
            failed = True
        finally:
            process.kill()  # only matters when the frames broke off
            with contextlib.suppress(OSError):
                pipe.close()
            process.wait()
        if failed:
            said.seek(0)
            raise OSError(said.read().decode(errors="replace").strip() or "ffmpeg failed")


def _write_gif(path: Path, first: np.ndarray, rest: Iterator[np.ndarray], fps: float) -> None:
    from PIL import Image

    images = (Image.fromarray(frame) for frame in rest)
    Image.fromarray(first).save(path, save_all=True, append_images=images, duration=max(20, round(1000 / fps)), loop=0)
