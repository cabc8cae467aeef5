"""What JAX must be told before it is imported: threads, device, where compiled programs are kept."""

import os
import sys
import warnings
from pathlib import Path

from ..errors import UserError
from ..storage.provenance import usable_cores

PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu"}  # the first computes; calls back to the host need a CPU beside it


def cache_folder() -> Path:
    """Where compiled programs are kept between processes."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "forethought" / "jax"


def prepare(threads: int | None = None, device: str = "auto") -> None:
    """Settings for the JAX that is about to be imported; what the user has set in the environment stays.

    Raises UserError if `threads` is below 1, or if a GPU is asked for and JAX finds none.
    """
    if threads is not None and threads < 1:
        raise UserError(f"threads={threads} must be at least 1")
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(cache_folder()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",  # XLA's remarks about machine features are not for a user
        "MPLBACKEND": "agg",
        "JAX_NUM_CPU_DEVICES": str(usable_cores()),  # what several seeds are shared out over
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    # XLA sizes its pool by these, measured with jax 0.10; --xla_cpu_multi_thread_eigen=false changes nothing.
    if threads is not None:
        for name in ("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "JAX_NUM_CPU_DEVICES"):
            os.environ[name] = str(threads)
    if device != "auto":
        os.environ["JAX_PLATFORMS"] = PLATFORMS[device]
    # Video writers start ffmpeg; the fork is followed by an exec at once, so JAX's threads do no harm.
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    if device == "gpu":
        _require_gpu()


def _require_gpu() -> None:
    jax = sys.modules.get("jax") or __import__("jax")
    try:
        jax.devices("gpu")
    except RuntimeError:
        raise UserError(
            'device=gpu: JAX finds no GPU here; install GPU support with pip install "forethought[gpu]", or use '
            "--device cpu"
        ) from None
