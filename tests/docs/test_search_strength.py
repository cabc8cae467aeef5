"""What docs/games.md says of the strength of searches and networks is what the raw files say."""

import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "reproductions"))
        yield importlib.import_module("search_strength")


def test_the_table_is_that_of_the_raw_files_and_all_seeds_are_in_it(script):
    found = script.load()
    assert sorted((one["agent"], one["seed"]) for one in found) == [
        (agent, seed) for agent in ("alphazero", "expert-iteration") for seed in range(3)
    ]
    page = (ROOT / "docs/games.md").read_text()
    assert f"<!-- search strength -->\n{script.strength_table(found)}\n<!-- end -->" in page


def test_every_network_alone_comes_to_beat_the_search_it_began_to_learn_from(script):
    for one in script.load():
        first, last = one["rows"][0]["alone"], one["rows"][-1]["alone"]
        assert first["against_start"] < 0.5 < last["against_start"]
        assert last["endgames_kept"]["24"] > first["endgames_kept"]["24"]
