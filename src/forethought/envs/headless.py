"""Drawing on a machine without a display."""

import ctypes.util
import os
import sys
import traceback

from ..errors import UserError

_OPENGL = ("OpenGL", "glfw", "mujoco.egl", "mujoco.osmesa", "mujoco.glfw", "mujoco.gl_context", "dm_control._render")


def choose_renderers() -> None:
    """Choose how MuJoCo and pygame draw where there is no display, unless the user has chosen.

    Sets environment variables that these packages read once, so it has to run before they are imported.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl" if ctypes.util.find_library("EGL") else "off")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def opengl_failed(error: BaseException | None) -> bool:
    """Whether `error` comes out of the packages that open OpenGL for MuJoCo, or complains of it.

    They fail in many ways: an ImportError or AttributeError while they are imported, a RuntimeError when they draw.
    """
    while error is not None:
        modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
        if any(module == at or module.startswith(at + ".") for module in modules for at in _OPENGL):
            return True
        if any(word in str(error) for word in ("OpenGL", "MUJOCO_GL", "EGL", "OSMesa")):
            return True
        error = error.__cause__ or error.__context__
    return False


def no_picture(name: str, error: BaseException) -> UserError:
    """The error for a renderer that does not work, with what to install."""
    said = " ".join(str(error).split())
    what = f"{name} cannot be drawn here ({type(error).__name__}: {said})"
    if opengl_failed(error):
        chosen = os.environ.get("MUJOCO_GL")
        now = f" (now MUJOCO_GL={chosen})" if chosen else ""
        return UserError(
            f"{what}; MuJoCo needs OpenGL{now}: run apt-get install libegl1 libegl-mesa0 and set MUJOCO_GL=egl, or "
            "apt-get install libosmesa6 and MUJOCO_GL=osmesa; where nothing has to be drawn, MUJOCO_GL=off does"
        )
    if "No module named 'pygame'" in said or "pygame is not installed" in said:
        return UserError(f'{what}; run: pip install "forethought[envs]"')
    if type(error).__module__.startswith("pygame"):
        return UserError(f"{what}; without a display set SDL_VIDEODRIVER=dummy")
    return UserError(f"{what}; its own render() has to return one RGB frame")
