"""What a run was made with: versions and hardware, for its record."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..version import __version__

PACKAGES = ("forethought", "jax", "jaxlib", "equinox", "optax", "numpy", "gymnasium")
ENVIRONMENT_PACKAGES = ("mujoco", "dm-control", "gymnax", "minari", "mctx", "pgx")  # recorded where installed


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that decide a run's numbers; imports none of them."""
    found = {"python": platform.python_version(), "os": platform.platform()}
    for package in (*PACKAGES, *ENVIRONMENT_PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            if package == "forethought":  # run from its sources
                found[package] = __version__
            elif package in PACKAGES:
                found[package] = "not installed"
    return found


def hardware(devices: Sequence[Any] = ()) -> dict[str, Any]:
    """CPU model, usable cores, memory in GiB, and the JAX `devices` given.

    The devices are handed in because asking JAX for them would initialise it.
    """
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "devices": [f"{device.platform}: {device.device_kind}" for device in devices],
    }


def _cpu_model() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
