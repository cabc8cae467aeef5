"""Frames of one episode, from the first observation to the last."""

from collections.abc import Callable

import numpy as np

MOST_FRAMES = 600  # kept of one episode


class Film:
    """The picture after every step; of a long episode after every second, fourth, ... one, and always the last."""

    def __init__(self, most: int = MOST_FRAMES) -> None:
        self.most, self.every = most, 1
        self.frames: list[np.ndarray] = []
        self.steps: list[int] = []  # the environment's steps that each frame comes after

    def add(self, step: int, draw: Callable[[], np.ndarray | None]) -> None:
        """What `draw` gives after `step` steps, if that one is kept."""
        if step % self.every == 0:
            self.end(step, draw())
        if len(self.frames) > self.most:
            self.frames, self.steps, self.every = self.frames[::2], self.steps[::2], 2 * self.every

    def end(self, step: int, frame: np.ndarray | None) -> None:
        """The last frame, which is kept whatever its step."""
        if frame is not None:
            self.frames.append(np.asarray(frame))
            self.steps.append(step)
