"""What is asked for most often must not wait for JAX."""

import os
import signal
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
        "list",
        "list agents",
        "list envs",
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
        "print(sum('XLAEigen' in n for n in names), len(jax.devices()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    device, threads = done.stdout.splitlines()
    assert device.startswith("cpu ") and device.endswith("jax")
    assert threads == "1 1"


INTERRUPTED = """
import os, signal, sys, threading, types

def slow(argv):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    {does}

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
module = types.ModuleType("forethought.cli.listing")
module.run = slow
sys.modules["forethought.cli.listing"] = module
import forethought.__main__ as entry
sys.argv = ["forethought", "list"]
sys.exit(entry.main())
"""


@pytest.mark.parametrize(
    "does",
    [
        "import time; time.sleep(30)",
        "import hashlib; hashlib.pbkdf2_hmac('sha1', b'', b'', 10**9)",  # calls no handler, as XLA while it compiles
    ],
)
def test_ctrl_c_ends_a_command_at_once_with_code_130_and_one_line(does):
    program = INTERRUPTED.format(does=does)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr, done.stdout) == (130, "forethought: interrupted\n", "")


def test_ctrl_c_saves_a_run_that_has_taken_steps_and_the_second_one_is_handed_on():
    from forethought.cli.interrupts import _would_lose_steps
    from forethought.training import StopRequest

    handed_on = []
    before = signal.signal(signal.SIGINT, lambda number, frame: handed_on.append(number))
    try:
        with StopRequest() as stop:
            assert not _would_lose_steps()
            stop.begun = True
            assert _would_lose_steps()
            os.kill(os.getpid(), signal.SIGINT)
            assert (stop.by, handed_on) == ("Ctrl-C", [])
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            assert handed_on == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
