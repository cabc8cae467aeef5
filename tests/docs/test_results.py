"""The numbers in the documentation are those of the committed raw files."""

import dataclasses
import json
import pathlib
import statistics

import pytest

from forethought.cards import CARDS, ORACLES
from forethought.catalogue import find
from forethought.presets.run import RunConfig
from forethought.presets.values import from_dict

ROOT = pathlib.Path(__file__).parents[2]


def finals(card: str) -> list[float]:
    """Final returns of a card's committed seeds."""
    files = sorted((ROOT / CARDS[card].raw).glob("seed-*.json"))
    return [json.loads(file.read_text())["final_return"] for file in files]


@pytest.mark.parametrize("env", ORACLES)
def test_the_oracle_is_the_mean_of_its_committed_returns(env):
    raw = json.loads((ROOT / ORACLES[env].raw).read_text())
    returns = [r for seed in raw["returns"].values() for r in seed]
    assert ORACLES[env].mean_return == pytest.approx(statistics.fmean(returns), abs=1e-3)


@pytest.mark.parametrize("card", CARDS)
def test_a_card_has_all_its_seeds_committed_and_their_median_passes(card):
    assert len(finals(card)) == CARDS[card].seeds
    assert statistics.median(finals(card)) >= CARDS[card].mark


@pytest.mark.parametrize("card", CARDS)
def test_raw_curves_are_of_the_cards_settings_and_hold_the_final_return(card):
    for file in (ROOT / CARDS[card].raw).glob("seed-*.json"):
        raw = json.loads(file.read_text())
        assert (raw["agent"], raw["env"], raw["preset"]) == (CARDS[card].agent, CARDS[card].env, CARDS[card].preset)
        assert raw["total_steps"] == CARDS[card].run.steps
        agent = find(CARDS[card].agent)
        assert from_dict(agent.config_type, raw["config"]) == agent.preset(CARDS[card].preset)
        run = from_dict(RunConfig, raw["run"])
        free = {"seed": run.seed, "threads": run.threads, "device": run.device}
        assert run == dataclasses.replace(CARDS[card].run, **free)
        last = [row for row in raw["rows"] if row["kind"] == "eval" and row["final"]][-1]
        assert len(last["returns"]) == CARDS[card].run.final_episodes
        assert statistics.fmean(last["returns"]) == pytest.approx(raw["final_return"])


@pytest.mark.parametrize("card", CARDS)
def test_the_table_of_results_is_what_the_raw_curves_say(card):
    values, oracle = finals(card), ORACLES[CARDS[card].env].mean_return
    median = statistics.median(values)
    cells = [f"{x:.1f}" for x in (median, min(values), max(values), oracle)]
    row = f"| `{card}` | {' | '.join(cells)} | {100 * median / oracle:.1f} % | {CARDS[card].mark:.1f} | passed |"
    assert row in (ROOT / "docs/cards.md").read_text()


def test_the_readme_quotes_the_same_numbers():
    values, oracle = finals("pets/cartpole"), ORACLES["pets-cartpole"].mean_return
    text = " ".join((ROOT / "README.md").read_text().split())
    median = statistics.median(values)
    assert f"median return is {median:.1f}, {100 * median / oracle:.1f} % of the planner's {oracle:.1f}" in text
    assert f"each seed's is at least {min(values):.1f}" in text
