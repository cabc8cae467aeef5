"""Renderers that do not work: what to install."""

import sys
import types

import gymnasium
import pytest

from forethought.envs.headless import no_picture, opengl_failed
from forethought.envs.make import make
from forethought.envs.pixels import RenderedPixels
from forethought.errors import UserError


def fail_in(module):
    """A function that raises as libraries do that find no OpenGL, from within `module`."""
    inside = {"__name__": module}
    exec("def fail(*_, **__): raise RuntimeError(\"'NoneType' object has no attribute 'glGetError'\")", inside)
    return inside["fail"]


def caught_from(function):
    with pytest.raises(RuntimeError) as caught:
        function()
    return caught.value


def test_opengl_is_recognised_by_where_an_error_comes_from_or_by_its_words():
    assert opengl_failed(caught_from(fail_in("OpenGL.raw.GL")))
    assert opengl_failed(caught_from(fail_in("mujoco.egl")))
    assert not opengl_failed(caught_from(fail_in("OpenGLike")))
    assert opengl_failed(ImportError("Cannot initialize a EGL device display."))
    wrapped = ValueError("no")
    wrapped.__cause__ = caught_from(fail_in("dm_control._render.pyopengl"))
    assert opengl_failed(wrapped) and not opengl_failed(ValueError("no"))


def test_dm_control_that_finds_no_opengl_is_not_called_missing(monkeypatch):
    broken = types.ModuleType("dm_control")
    monkeypatch.setattr(broken, "__getattr__", fail_in("OpenGL.platform"), raising=False)
    monkeypatch.setitem(sys.modules, "dm_control", broken)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(UserError, match=r"now MUJOCO_GL=osmesa.*libegl1 libegl-mesa0.*libosmesa6") as caught:
        make("dm_control/cartpole-balance-v0")
    assert "not installed" not in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(UserError, match=r"dm_control is not installed.*forethought\[envs\]"):
        make("dm_control/cartpole-balance-v0")


def test_a_mujoco_task_that_finds_no_opengl_says_what_to_install(monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("BrokenGL-v0", entry_point=fail_in("mujoco.gl_context"))
    monkeypatch.setitem(gymnasium.registry, "BrokenGL-v0", spec)
    with pytest.raises(UserError, match=r"BrokenGL-v0 cannot be drawn here.*libegl1") as caught:
        make("BrokenGL-v0")
    assert "\n" not in str(caught.value)


NO_PYGAME = gymnasium.error.DependencyNotInstalled("pygame is not installed, run `pip install x`")
NO_DISPLAY = type("error", (RuntimeError,), {"__module__": "pygame"})("No available video device")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            gymnasium.error.DependencyNotInstalled("pygame is not installed, run `pip install x`"),
            r"forethought\[envs\]",
        ),
        (
            type("error", (RuntimeError,), {"__module__": "pygame"})("No available video device"),
            "SDL_VIDEODRIVER=dummy",
        ),
        (RuntimeError("gladLoadGL error: no OpenGL"), "apt-get install libegl1"),
        (ZeroDivisionError("division\nby zero"), r"own render\(\)"),
    ],
)
def test_each_renderer_gets_its_own_remedy(monkeypatch, error, words):
    env = gymnasium.make("Pendulum-v1", render_mode="rgb_array")

    def fail():
        raise error

    monkeypatch.setattr(env.unwrapped, "render", fail)
    with pytest.raises(UserError, match=f"Pendulum-v1 cannot be drawn here.*{words}") as caught:
        RenderedPixels(env, 32)
    assert "\n" not in str(caught.value)
    assert ("libegl1" in str(no_picture("x", error))) == ("OpenGL" in str(error))
