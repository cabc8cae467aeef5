"""What is asked for most often must not wait for JAX."""

import subprocess
import sys

import pytest

WITHOUT_JAX = """
import sys
from forethought.cli.main import main
code = main(sys.argv[1:])
heavy = {"jax", "equinox", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.mark.parametrize(
    "argv",
    [
        "--version",
        "--help",
        "list agents",
        "list presets",
        "list cards",
        "completion bash",
        "train --help",
        "train pets --help",
        "fit --help",
        "reproduce --help",
    ],
)
def test_help_lists_and_completion_do_not_import_jax(argv):
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX, *argv.split()], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_reader_that_goes_away_is_not_an_error():
    command = f"{sys.executable} -m forethought completion fish | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


def test_threads_and_device_are_set_before_jax_starts():
    program = (
        "import os, sys; from forethought.cli import machine; machine.prepare(1, 'cpu');"
        "assert 'jax' not in sys.modules;"
        "import jax; jax.jit(lambda x: x @ x)(jax.numpy.ones((64, 64))).block_until_ready();"
        "print(jax.default_backend(), jax.config.jax_compilation_cache_dir);"
        "tasks = f'/proc/{os.getpid()}/task';"
        "found = os.listdir(tasks) if os.path.isdir(tasks) else None;"  # Linux shows a process's threads
        "names = ['XLAEigen'] if found is None else [open(f'{tasks}/{t}/comm').read() for t in found];"
        "print(sum('XLAEigen' in n for n in names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    device, threads = done.stdout.splitlines()
    assert device.startswith("cpu ") and device.endswith("jax")
    assert threads == "1"
