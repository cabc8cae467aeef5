"""Real and imagined pictures drawn side by side: a still strip of every few steps, and frames of a video."""

import colorsys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import StorageFault
from ..storage.files import replacing
from .divergence import APART, TOGETHER
from .figures import PALETTE
from .imagined_pictures import PictureTrace

ROWS = ("real", "imagined", "spread", "error")
SEEN = (120, 128, 138)  # colour of what the model was shown
SIDE = 96  # pixels that a picture is blown up to, about
MOST_SPREAD = 0.35  # standard deviation of a pixel that is drawn brightest; half is the most there can be
_GROUND, _INK, _DARK = (255, 255, 255), (36, 41, 47), (16, 18, 22)
_EDGE, _GAP, _HEAD, _SIDE = 3, 6, 18, 66  # in pixels: frame, between pictures, line of text, names of the rows


class Column(NamedTuple):
    """One step: what stands over it, and its pictures below one another, all `[height, width, 3]` uint8."""

    head: str
    colour: tuple[int, int, int]
    cells: tuple[np.ndarray, ...]


def colours(channels: int) -> np.ndarray:
    """A colour for each channel of a picture that is neither grey nor RGB, `[channels, 3]` in 0..1."""
    named = [tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in PALETTE[:6]]
    more = [colorsys.hsv_to_rgb((0.13 + 0.618 * i) % 1, 0.45, 0.95) for i in range(max(channels - len(named), 0))]
    return np.array([*named, *more][:channels])


def visible(picture: np.ndarray) -> np.ndarray:
    """`[height, width, channels]` in 0..1 as `[height, width, 3]` uint8.

    One channel is grey and three are RGB; of any other number each has a colour, later ones over earlier ones.
    """
    picture = np.clip(np.nan_to_num(picture), 0.0, 1.0)
    channels = picture.shape[-1]
    if channels in (1, 3):
        shown = np.broadcast_to(picture, (*picture.shape[:2], 3))
    else:
        shown = np.broadcast_to(np.array(_DARK) / 255, (*picture.shape[:2], 3))
        for channel, colour in zip(np.moveaxis(picture, -1, 0), colours(channels)):
            shown = shown + channel[..., None] * (colour - shown)
    return np.rint(255 * shown).astype(np.uint8)


def heat(amount: np.ndarray) -> np.ndarray:
    """`[height, width]` in 0..1 from black through orange to near white, `[height, width, 3]` uint8."""
    stops = np.array([_DARK, (122, 46, 20), (230, 126, 34), (255, 243, 205)], float)
    return np.stack([np.interp(amount, (0, 0.33, 0.67, 1), stops[:, c]) for c in range(3)], -1).astype(np.uint8)


def column(trace: PictureTrace, row: int) -> Column:
    """The column of one row of a trace's axis C + T."""
    ahead, lost = row - trace.context + 1, trace.diverged_at
    cells = (
        visible(trace.real[row]),
        visible(trace.imagined[row]),
        heat(trace.spread[row].max(-1) / MOST_SPREAD),
        heat(np.abs(trace.imagined[row] - trace.real[row]).max(-1)),
    )
    if ahead <= 0:
        return Column("seen" if ahead == 0 else f"seen {ahead}", SEEN, cells)
    return Column(f"+{ahead}", TOGETHER if lost is None or ahead < lost else APART, cells)


def panel(columns: Sequence[Column], title: str = "", *, least_width: int = 44) -> np.ndarray:
    """Columns beside one another, the imagined picture of each framed in its colour; `[height, width, 3]` uint8."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = columns[0].cells[0].shape[:2]
    factor = max(1, round(SIDE / max(height, width)))
    cell_h, cell_w = factor * height + 2 * _EDGE, factor * width + 2 * _EDGE
    step = max(cell_w, least_width) + _GAP
    top = _HEAD * (bool(title) + 1)
    size = (_SIDE + step * len(columns) + _GAP, top + len(ROWS) * (cell_h + _GAP) + _GAP)
    image = Image.new("RGB", size, _GROUND)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    pen.text((_GAP, 3), title, font=font, fill=_INK)
    for i, name in enumerate(ROWS):
        pen.text((_GAP, top + i * (cell_h + _GAP) + cell_h // 2 - 7), name, font=font, fill=_INK)
    for j, one in enumerate(columns):
        left = _SIDE + j * step + (step - _GAP - cell_w) // 2
        pen.text((left + cell_w // 2, top - 4), one.head, font=font, fill=one.colour, anchor="ms")
        for i, cell in enumerate(one.cells):
            at = (left, top + i * (cell_h + _GAP))
            colour = one.colour if ROWS[i] == "imagined" else (208, 214, 220)
            pen.rectangle((*at, at[0] + cell_w - 1, at[1] + cell_h - 1), fill=colour)
            grown = Image.fromarray(np.repeat(np.repeat(cell, factor, 0), factor, 1))
            image.paste(grown, (at[0] + _EDGE, at[1] + _EDGE))
    return np.asarray(image)


def told_of(trace: PictureTrace) -> str:
    """A line about the stretch: where it is from, and the step at which it diverged."""
    lost, steps = trace.diverged_at, lambda n: "1 step" if n == 1 else f"{n} steps"
    apart = f"diverged {steps(lost)} ahead" if lost is not None else f"not diverged in {steps(trace.steps)}"
    where = f"episode {trace.episode}, imagined from step {trace.start} on"
    return f"{where}, mean of {trace.samples} sample{'s' if trace.samples > 1 else ''}: {apart}"


def strip(traces: Sequence[PictureTrace], path: str | PathLike[str], *, columns: int = 12) -> Path:
    """Writes a PNG of about `columns` steps of each stretch, the one at which it diverged among them; the path.

    Raises StorageFault if it cannot be written.
    """
    from PIL import Image

    panels = []
    for trace in traces:
        every = -(-trace.steps // max(columns - 2, 1))
        rows = {0, trace.context - 1, *range(trace.context, len(trace.real), every)}
        if trace.diverged_at is not None:
            rows.add(trace.context + trace.diverged_at - 1)
        panels.append(panel([column(trace, row) for row in sorted(rows)], told_of(trace)))
    width = max(p.shape[1] for p in panels)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in panels]
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            Image.fromarray(np.concatenate(padded)).save(file, format="PNG")
    except (OSError, StorageFault) as error:
        raise StorageFault(f"cannot write the picture {str(target)!r}: {error.__cause__ or error}") from error
    return target


def frames(traces: Sequence[PictureTrace]) -> list[np.ndarray]:
    """Frames of a video in which all stretches run side by side, imagination beginning at the same time in each."""
    before, after = max(t.context for t in traces), max(t.steps for t in traces)
    made = []
    for time in range(-before, after):
        shown = []
        for trace in traces:
            row = min(max(trace.context + time, 0), len(trace.real) - 1)
            one = column(trace, row)
            lost = trace.diverged_at
            if lost is not None and row - trace.context + 1 >= lost:
                one = one._replace(head=f"{one.head}, diverged at +{lost}")
            shown.append(one)
        made.append(panel(shown, least_width=120))
    return made
