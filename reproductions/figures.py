"""Draws the pictures of the documentation from the committed raw curves.

    python reproductions/figures.py

writes docs/images/pets-cartpole.png from reproductions/pets-cartpole/seed-*.json, and, where the runs themselves are
still beside them (from `forethought reproduce pets/cartpole --out reproductions/pets-cartpole`),
docs/images/pets-cartpole.gif.
"""

import json
import pathlib

import imageio
from PIL import Image

from forethought.cards import oracle_return
from forethought.diagnostics.curves import plot_learning_curves

HERE = pathlib.Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"


def curve(folder: pathlib.Path, path: pathlib.Path) -> None:
    """Returns of the training episodes of all seeds: PETS explores by planning alone, so they are its performance."""
    rows = [row for file in sorted(folder.glob("seed-*.json")) for row in json.loads(file.read_text())["rows"]]
    oracle = oracle_return("pets-cartpole")
    plot_learning_curves({"PETS": rows}, path, metric="episode", oracle=oracle, title="PETS on its cart-pole")


def film(video: pathlib.Path, path: pathlib.Path) -> None:
    """Every second frame, at half size."""
    frames = [Image.fromarray(f).resize((240, 160), Image.Resampling.LANCZOS) for f in imageio.get_reader(video)]
    few = [f.quantize(32) for f in frames[::2]]
    few[0].save(path, save_all=True, append_images=few[1:], duration=67, loop=0, optimize=True)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    curve(HERE / "pets-cartpole", IMAGES / "pets-cartpole.png")
    video = HERE / "pets-cartpole" / "runs" / "seed-0" / "videos" / "policy.mp4"
    if video.is_file():
        film(video, IMAGES / "pets-cartpole.gif")
