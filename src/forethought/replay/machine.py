"""How much memory there is for a replay."""

import os
from pathlib import Path

import jax

SHARE = 0.25  # of the memory, that a replay takes unless told otherwise
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def host_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def device_bytes() -> int:
    """Memory of the device that JAX computes on."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(stats.get("bytes_limit", 0)) or host_bytes()
