"""Test-wide settings: programs that compile quickly, and one persistent cache, so that a second run compiles nothing.

Most of the suite's time is compiling, so LLVM does not optimise, and XLA emits fusions in the older way, which takes
half the time: the same programs for a third of the work.
"""

import contextlib
import gc
import os
import pathlib
import sys
from typing import Any

import pytest

pytest_plugins = ["costs"]

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("MUJOCO_GL", "egl")
_quick = (
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
)
if _quick not in os.environ.get("XLA_FLAGS", ""):  # workers inherit them; twice would be another key of the cache
    os.environ["XLA_FLAGS"] = f"{_quick} {os.environ.get('XLA_FLAGS', '')}"
_cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "forethought" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

LOWERINGS = 500  # functions that one MLIR context serves


def _lower_in_one_context() -> None:
    """JAX makes an MLIR context for every function that it lowers, and keeps it with the compiled program.

    That costs a quarter of the time of a small function and 1.3 MB of memory each; one context serves many as well, but
    for functions that are lowered in the midst of another.
    """
    from jax._src.interpreters import mlir

    make, served, context = mlir.make_ir_context, 0, None

    def shared() -> Any:
        nonlocal served, context
        with contextlib.suppress(ValueError):  # there is no current one
            if mlir.ir.Context.current is not None:
                return make()
        if context is None or served >= LOWERINGS:
            served, context = 0, make()
        served += 1
        return context

    mlir.make_ir_context = shared


with contextlib.suppress(ImportError, AttributeError):  # no public interface: without it the suite is only slower
    _lower_in_one_context()

gc.set_threshold(50_000, 20, 50)  # traced programs are millions of objects, seldom garbage: a tenth of the time

MOST_MAPS = 15_000  # of the 65,530 memory maps that Linux grants a process; the dearest module takes some 15,000


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_until_memory_maps_run_short():
    """Drops compiled programs after a module once they take many memory maps: past the limit JAX dies at once."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") < MOST_MAPS:
        return
    import jax

    tiny = sys.modules.get("tiny")
    if tiny is not None:  # drivers count their traces, so none may outlive its programs
        tiny.jit_driver.cache_clear()
        tiny.step_driver.cache_clear()
    programs = sys.modules.get("forethought.core.programs")
    if programs is not None:
        programs.forget()
    jax.clear_caches()
    gc.collect()
