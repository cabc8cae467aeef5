"""Makes the environment in which other libraries are measured: mbrl-lib, sheeprl and stable-baselines3 on PyTorch, and
crocoddyl (about 2.6 GB on disk).

    python -m benchmarks.peers.install

Run again, it only completes what is missing.
"""

import argparse
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-peers"
MBRL = "mbrl==0.2.0"


def python_of(folder: pathlib.Path) -> str:
    """The interpreter of the environment in `folder`. Exits with a remedy if there is none."""
    python = folder / "bin" / "python"
    if not python.is_file():
        sys.exit(f"no environment of peers in {folder}; make it with: python -m benchmarks.peers.install")
    return str(python)


def main() -> None:
    """Installs with pip, then imports what was installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=pathlib.Path, default=VENV, help="folder of the environment (%(default)s)")
    folder = parser.parse_args().venv
    if not (folder / "bin" / "python").is_file():
        venv.create(folder, with_pip=True)
    python = python_of(folder)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(pathlib.Path(__file__).with_name("requirements.txt"))], check=True)
    subprocess.run([*pip, "--no-deps", MBRL], check=True)
    for library in ("mbrl_lib", "sheeprl_dreamer", "sb3_sac"):
        subprocess.run([python, "-m", f"benchmarks.peers.{library}"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
