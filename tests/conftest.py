"""Test-wide settings: programs that compile quickly, and one persistent cache, so that a second run compiles nothing.

Most of the suite's time is compiling, so LLVM is told not to optimise: the same programs, a third less work.
"""

import gc
import os
import pathlib
import sys

import pytest

pytest_plugins = ["costs"]

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("MUJOCO_GL", "egl")
_quick = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{_quick} {os.environ.get('XLA_FLAGS', '')}"
_cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "forethought" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_of_one_module_only():
    """Drops compiled programs after every module: each takes memory maps, of which Linux grants 65,530 a process.

    Past that JAX dies with a segmentation fault.
    """
    yield
    import jax

    tiny = sys.modules.get("tiny")
    if tiny is not None:  # drivers count their traces, so none may outlive its programs
        tiny.jit_driver.cache_clear()
        tiny.step_driver.cache_clear()
    jax.clear_caches()
    gc.collect()
