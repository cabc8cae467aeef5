"""The command line in this process, and one tiny run that tests may look at."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import toy_world
from toy_world import TINY

from forethought import display
from forethought.cli.main import main


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def mistake(self) -> str:
        """The one line that a mistake is told in; fails if there is more or less than that."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("forethought: "), self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Runs a command line in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toy_world, "fault", None)
    for seconds in ("SILENT", "LINE_EVERY"):  # a slow machine must not add lines of progress to what is compared
        monkeypatch.setattr(display, seconds, 1e9)

    def run(*argv: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    code = main(
        ["train", "pets", "point-mass", "--steps", "60", *TINY, "--quiet", "--out", str(path), "--eval-every", "20"]
    )
    assert code == 0
    return path


@pytest.fixture
def trained(trained_once, tmp_path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(trained_once, tmp_path / "trained"))
