"""Test-wide settings: one persistent compilation cache, so that a second run compiles nothing."""

import os
import pathlib

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("MUJOCO_GL", "egl")
_cache = (
    pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "forethought" / "jax"
)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
