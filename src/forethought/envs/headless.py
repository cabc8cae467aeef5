"""Drawing on a machine without a display."""

import ctypes.util
import os
import sys


def choose_renderers() -> None:
    """Choose how MuJoCo and pygame draw where there is no display, unless the user has chosen.

    Sets environment variables that these packages read once, so it has to run before they are imported.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl" if ctypes.util.find_library("EGL") else "off")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
