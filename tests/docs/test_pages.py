"""The pages hang together, and name only what exists."""

import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import forethought
from forethought.cards import CARDS
from forethought.catalogue import AGENTS
from forethought.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FILES = sorted([*PAGES, ROOT / "CITATION.cff", *(ROOT / "docs").rglob("*.py")])
name_of = lambda path: str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+://", target):
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), f"{target} is not there"
            assert not anchor or anchor in headings(found), f"{found.name} has no heading #{anchor}"


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_has_a_page_with_all_its_parts(agent):
    text = (ROOT / "docs" / "algorithms" / f"{agent}.md").read_text()
    for part in ("**Claim.**", f"forethought train {agent} ", "## Settings", "## Metrics", "## Deviations"):
        assert part in text, f"{part} is missing"
    assert f"({agent}.md)" in (ROOT / "docs" / "algorithms" / "README.md").read_text()


@pytest.mark.parametrize("card", CARDS)
def test_every_card_is_on_the_page_of_cards(card):
    assert f"| `{card}` |" in (ROOT / "docs" / "cards.md").read_text()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_commands_in_the_docs_exist(path):
    for line in commands(path.read_text()):
        word, *rest = shlex.split(line, comments=True)[1:]
        if word.startswith("-"):
            assert word in ("--help", "--version"), line
            continue
        assert word in COMMANDS, f"`{line}`: there is no command {word}"
        known = importlib.import_module(f"forethought.cli.{COMMANDS[word].module}").option_list()
        for option in (part.partition("=")[0] for part in rest if part.startswith("--")):
            assert option in (*known, "--help", "--debug"), f"`{line}`: {word} has no option {option}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_options_named_alone_in_the_docs_exist(path):
    known = {"--help", "--version", "--debug"}
    for command in COMMANDS.values():
        known |= set(importlib.import_module(f"forethought.cli.{command.module}").option_list())
    for option in re.findall(r"`(--[a-z][\w.-]*)", path.read_text()):
        assert option in known or option == "--planner.", f"no command has the option {option}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_page_names_a_package_host(path):
    hosts = (
        "pypi",
        "pythonhosted",
        "anaconda.org",
        "storage.googleapis",
        "conda-forge",
        "--index-url",
        "--extra-index",
    )
    found = [host for host in hosts if host in path.read_text().lower()]
    assert not found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_page_is_unfinished(path):
    assert not re.search(r"\bTBD\b|\bTODO\b|\bFIXME\b|\bXXX\b|lorem ipsum", path.read_text())


def test_one_version_everywhere():
    version = forethought.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_oracle_that_the_cards_name_is_committed():
    relative = [
        card for card in CARDS.values() if "oracle" in card.marks[0].reason or "planner" in card.marks[0].reason
    ]
    assert len(relative) >= 5
    for card in relative:
        env = "Pendulum-v1" if card.env.startswith("pendulum") else card.env  # ours equals it step by step
        assert json.loads((ROOT / "reproductions" / "oracles" / f"{env}.json").read_text())["env"] == env


def headings(page: Path) -> set[str]:
    """Anchors of a page, as they are made of its headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text: str) -> list[str]:
    """Command lines that begin with `forethought`, in fenced blocks and in inline code."""
    fenced = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [part.strip() for block in fenced for line in block.splitlines() for part in line.split("&&")]
    lines += re.findall(r"`(forethought [^`\n]+)`", text)
    return [line for line in lines if re.match(r"forethought [a-z-]", line)]
