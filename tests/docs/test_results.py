"""The numbers in the documentation are those of the committed raw files."""

import dataclasses
import importlib
import json
import pathlib
import statistics

import pytest

from forethought.cards import CARDS, ORACLES, Results
from forethought.cards.marks import values
from forethought.catalogue import find
from forethought.diagnostics.statistics import bootstrap_interval
from forethought.presets.run import RunConfig
from forethought.presets.values import from_dict

ROOT = pathlib.Path(__file__).parents[2]
MEASURED = [name for name, card in CARDS.items() if (ROOT / card.raw).is_dir()]
EVERY_ARM = [pytest.param(CARDS[name], arm, id=f"{name} {arm.name}") for name in MEASURED for arm in CARDS[name].arms]
LATENT = [name for name in MEASURED if CARDS[name].agent.startswith(("planet", "dreamer"))]
BY_MARKS = [
    name
    for name in MEASURED
    if CARDS[name].agent in ("alphazero", "expert-iteration", "gps", "sac", "ppo", "dqn", "mbpo")
]
TRIALS = [name for name in MEASURED if CARDS[name].balanced_steps]
MAZES = [name for name in MEASURED if CARDS[name].counted_episodes is not None]
ONE_ARM = [name for name in MEASURED if len(CARDS[name].arms) == 1 and name not in (*LATENT, *BY_MARKS, *TRIALS)]
LADDER = "mpc-ladder/cartpole"
LEARNED = "pets/cartpole-learned-reward"
NOT_YET = "Not measured yet."
PLANNER_BLOCKS = ("planner tasks", "cem and shooting", "planner dimensions")


def results(card: str) -> Results:
    """A card's committed raw files."""
    found = {}
    for arm in CARDS[card].arms:
        files = (ROOT / CARDS[card].raw / arm.name).glob("seed-*.json")
        found[arm.name] = {raw["seed"]: raw for raw in (json.loads(file.read_text()) for file in files)}
    return found


@pytest.fixture
def script(monkeypatch):
    """A script of `reproductions/`, imported by name."""
    monkeypatch.syspath_prepend(str(ROOT / "reproductions"))
    return importlib.import_module


@pytest.mark.parametrize("env", ORACLES)
def test_the_oracle_is_the_mean_of_its_committed_returns(env):
    raw = json.loads((ROOT / ORACLES[env].raw).read_text())
    mean = lambda returns: statistics.fmean(r for seed in returns.values() for r in seed)
    assert ORACLES[env].mean_return == pytest.approx(mean(raw["returns"]), abs=1e-3)
    if ORACLES[env].random_return is not None:
        assert ORACLES[env].random_return == pytest.approx(mean(raw["random_returns"]), abs=1e-3)


def test_what_has_no_raw_files_is_said_not_to_be_measured():
    cards, planners = ((ROOT / "docs" / page).read_text() for page in ("cards.md", "planners.md"))
    ladder = (ROOT / "docs/algorithms/mpc-ladder.md").read_text()
    assert {"pets/cartpole", "pets/cartpole-learned-reward"} <= set(MEASURED)
    for card in set(CARDS) - set(MEASURED):
        assert f"`{card}`: {NOT_YET[0].lower()}{NOT_YET[1:]}" in cards
    blocks = [("ladder", cards, CARDS[LADDER].raw), ("ladder marks", cards, CARDS[LADDER].raw)]
    blocks += [(name, planners, "reproductions/planners") for name in PLANNER_BLOCKS]
    blocks += [("horizons", planners, "reproductions/horizons"), ("exploitation", ladder, "reproductions/exploitation")]
    blocks += [("fresh", cards, "reproductions/fresh")]
    for name, page, raw in blocks:
        assert (ROOT / raw).is_dir() != (f"<!-- {name} -->\n{NOT_YET}\n<!-- end -->" in page), name


def needs(raw: str):
    """Leaves a test out while there are no such raw files; the page must then say so."""
    return pytest.mark.skipif(not (ROOT / raw).is_dir(), reason=f"{raw} is not measured yet, and its page says so")


@pytest.mark.parametrize("card", MEASURED)
def test_a_card_has_all_its_seeds_committed_and_they_pass(card):
    found = results(card)
    for arm, runs in found.items():
        assert sorted(runs) == list(range(CARDS[card].seeds)), arm
    for mark in CARDS[card].marks:
        assert mark.passed(mark.measure(found)), mark.what


@pytest.mark.parametrize(("card", "arm"), EVERY_ARM)
def test_raw_curves_are_of_the_cards_settings_and_hold_the_final_return(card, arm):
    for raw in results(card.name)[arm.name].values():
        assert (raw["agent"], raw["env"], raw["preset"]) == (arm.agent or card.agent, card.env, arm.preset)
        assert raw["total_steps"] == arm.run.steps
        agent = find(arm.agent or card.agent)
        assert from_dict(agent.config_type, raw["config"]) == agent.preset(arm.preset)
        run = from_dict(RunConfig, raw["run"])
        free = {"seed": run.seed, "threads": run.threads, "device": run.device}
        assert run == dataclasses.replace(arm.run, **free)
        last = [row for row in raw["rows"] if row["kind"] == "eval" and row["final"]][-run.num_seeds :]
        assert {len(row["returns"]) for row in last} == {arm.run.final_episodes}
        assert statistics.fmean(r for row in last for r in row["returns"]) == pytest.approx(raw["final_return"])


@pytest.mark.parametrize("card", ONE_ARM)
def test_the_table_of_results_is_what_the_raw_curves_say(card):
    finals, oracle = values(results(card), "", "final_return"), ORACLES.get(CARDS[card].env)
    median, least = statistics.median(finals), CARDS[card].marks[0].bound
    cells = [f"{x:.1f}" for x in (median, min(finals), max(finals))]
    if oracle is None:
        cells += ["", ""]
    else:
        floor = oracle.random_return or 0.0
        share = 100 * (median - floor) / (oracle.mean_return - floor)
        cells += [f"{oracle.mean_return:.1f}", f"{share:.1f} %"]
    row = f"| `{card}` | {' | '.join(cells)} | {least:.1f} | passed |"
    assert row in (ROOT / "docs/cards.md").read_text()


@pytest.mark.parametrize("card", LATENT)
def test_the_table_of_latent_agents_is_what_the_raw_curves_say(card):
    finals, minutes = values(results(card), "", "final_return"), values(results(card), "", "wall_s")
    median, least = statistics.median(finals), CARDS[card].marks[0].bound
    digits = 2 if abs(least) < 10 else 1
    cells = [f"{x:.{digits}f}" for x in (median, min(finals), max(finals), least)]
    row = [f"`{card}`", str(CARDS[card].seeds), f"{CARDS[card].arms[0].run.steps:,}", *cells]
    row += ["passed" if median >= least else "missed", f"{statistics.median(minutes) / 60:.1f}"]
    assert f"| {' | '.join(row)} |" in (ROOT / "docs/cards.md").read_text()


@pytest.mark.parametrize("card", BY_MARKS)
def test_the_tables_of_marks_are_what_the_raw_curves_say(card):
    text, found = (ROOT / "docs/cards.md").read_text(), results(card)
    minutes = statistics.median(values(found, CARDS[card].arms[0].name, "wall_s")) / 60
    for mark in CARDS[card].marks:
        measured = mark.measure(found)
        bound = f"{'at most' if mark.at_most else 'at least'} {mark.bound:.2f}"
        cells = [mark.what, f"{measured:.2f}", bound, "passed" if mark.passed(measured) else "missed"]
        assert f"| `{card}` | {' | '.join(cells)} | {minutes:.1f} |" in text


@needs("reproductions/fresh")
def test_the_table_of_one_fresh_seed_each_is_what_the_raw_curves_say(script):
    text = (ROOT / "docs/cards.md").read_text()
    assert f"<!-- fresh -->\n{script('figures').fresh_table()}\n<!-- end -->" in text


def test_the_table_beside_stable_baselines3_is_what_both_raw_files_say(script):
    text = (ROOT / "docs/cards.md").read_text()
    assert f"<!-- beside -->\n{script('figures').beside_table()}\n<!-- end -->" in text


def test_what_is_said_of_fresh_seeds_is_what_their_raw_curves_say(script):
    fresh = script("fresh_seeds")
    for name, page in fresh.PAGES.items():
        seeds = fresh.finals(ROOT / "reproductions" / f"{name.replace('/', '-')}-fresh")
        assert len(seeds) == 20 and min(seeds) > 10_000
        said = f"<!-- fresh seeds -->\n{fresh.statement(CARDS[name])}\n<!-- end -->"
        assert said in (ROOT / "docs/algorithms" / page).read_text()


def test_the_table_of_mazes_is_what_the_raw_curves_say(script):
    assert f"<!-- mazes -->\n{script('mazes').cards_table()}\n<!-- end -->" in (ROOT / "docs/cards.md").read_text()


@pytest.mark.parametrize("card", MAZES)
def test_raw_files_of_mazes_hold_every_run(card):
    for runs in results(card).values():
        for raw in runs.values():
            assert len(raw["episode_steps"]) == len(raw["reward"]) == raw["run"]["num_seeds"] == 30
            assert all(reward == sorted(reward) and reward[0] == 0 for reward in raw["reward"])


@needs("reproductions/model-trust")
def test_whoever_trusts_the_model_where_it_agrees_gathers_what_is_gathered_without_one(script):
    """At least 95 % of it, with every wrong model; who trusts everywhere does not."""
    mazes, page = script("mazes"), (ROOT / "docs/algorithms/dyna-q.md").read_text()
    raw = json.loads(mazes.TRUST.read_text())
    assert len(raw["shares"]) == 5
    for task in mazes.TASKS:
        free, everywhere, careful = mazes.WAYS
        least = 0.95 * mazes.goals(raw, task, free).mean()
        assert all(mazes.goals(raw, task, careful, share).mean() >= least for share in raw["shares"])
        assert mazes.goals(raw, task, everywhere, raw["shares"][-1]).mean() < least
    for name, block in (("trust", mazes.trust_table), ("trust policies", mazes.policy_table)):
        assert f"<!-- {name} -->\n{block(raw)}\n<!-- end -->" in page


@needs("reproductions/model-samples")
def test_frozen_lake_and_taxi_are_solved_from_model_samples(script):
    toy_text = script("toy_text")
    raw, page = json.loads(toy_text.RAW.read_text()), (ROOT / "docs/algorithms/model-samples.md").read_text()
    assert f"<!-- toy text -->\n{toy_text.worth_table(raw)}\n<!-- end -->" in page
    for cells in raw["environments"].values():
        assert all(min(cells[method]) > 0.95 * cells["best"] for method in toy_text.METHODS)


def test_the_returns_with_the_other_preset_are_what_the_raw_curves_say():
    folder = ROOT / CARDS[LEARNED].raw / "with-preset-cartpole"
    runs = [json.loads(file.read_text()) for file in folder.glob("seed-*.json")]
    assert {(raw["preset"], raw["given"]["reward"]) for raw in runs} == {("cartpole", "learned")} and len(runs) == 4
    finals = [raw["final_return"] for raw in runs]
    text = " ".join((ROOT / "docs/cards.md").read_text().split())
    assert f"returns of {min(finals):.1f} to {max(finals):.1f}" in text
    finals, mark = values(results(LEARNED), "", "final_return"), CARDS[LEARNED].marks[0]
    assert len(finals) == 10 and min(finals) > mark.bound and "all ten seeds swing up" in text


@needs("reproductions/mpc-ladder-cartpole")
def test_the_table_of_the_ladder_is_what_the_raw_curves_say():
    text, found = (ROOT / "docs/cards.md").read_text(), results(LADDER)
    for arm in found:
        spread = bootstrap_interval(values(found, arm, "final_return"), lambda x: x.mean())
        cells = [f"{spread.estimate:.1f} ({spread.low:.1f}, {spread.high:.1f})"]
        fields = ("holdout_error", "visited_error", "visited_error_common")
        cells += [f"{statistics.median(values(found, arm, f)):.3f}" if arm != "oracle" else "" for f in fields]
        assert f"| {arm} | {' | '.join(cells)} |" in text
    for mark in CARDS[LADDER].marks:
        assert f"| {mark.what} | {mark.measure(found):.2f} | {mark.bound:.0f} |" in text


def test_the_readme_quotes_the_same_numbers():
    finals, oracle = values(results("pets/cartpole"), "", "final_return"), ORACLES["pets-cartpole"].mean_return
    text = " ".join((ROOT / "README.md").read_text().split())
    median = statistics.median(finals)
    assert f"median return is {median:.1f}, {100 * median / oracle:.1f} % of the planner's {oracle:.1f}" in text
    assert f"each seed's is at least {min(finals):.1f}" in text


@needs("reproductions/planners")
@needs("reproductions/horizons")
def test_the_tables_of_planners_are_what_the_raw_files_say(script):
    text, planners, horizons = (ROOT / "docs/planners.md").read_text(), script("planners"), script("horizons")
    for name, table in planners.BLOCKS.items():
        assert f"<!-- {name} -->\n{table(planners.load())}\n<!-- end -->" in text
    assert f"<!-- horizons -->\n{horizons.sweep_table(horizons.load(horizons.RAW))}\n<!-- end -->" in text


@needs("reproductions/planners")
def test_cem_is_above_random_shooting_wherever_reward_is_not_sparse(script):
    planners = script("planners")
    differences = planners.cem_above_shooting(planners.load())
    dense = [difference for task, difference in differences.items() if task not in planners.SPARSE]
    assert len(dense) == 5 and all(difference.low > 0 for difference in dense)


@needs("reproductions/horizons")
def test_the_best_horizon_is_neither_the_longest_nor_the_shortest(script):
    horizons = script("horizons")
    raw = horizons.load(horizons.RAW)
    assert horizons.best_horizon(raw) not in (horizons.HORIZONS[0], horizons.HORIZONS[-1])


@needs("reproductions/exploitation")
def test_the_table_of_exploitation_is_what_the_raw_file_says(script):
    exploitation = script("exploitation")
    table = exploitation.exploitation_table(exploitation.load(exploitation.RAW))
    page = (ROOT / "docs/algorithms/mpc-ladder.md").read_text()
    assert f"<!-- exploitation -->\n{table}\n<!-- end -->" in page


@needs("reproductions/local-models")
def test_the_page_of_local_controllers_says_what_the_raw_file_says(script):
    local = script("local_models")
    raw, page = local.load(local.RAW), (ROOT / "docs/algorithms/local-lqr.md").read_text()
    for name, block in local.BLOCKS.items():
        assert f"<!-- {name} -->\n{block(raw)}\n<!-- end -->" in page
    for task in local.tasks(raw):
        assert "not" not in local.reached(raw, task, "default")
        assert local.numbers(raw, task, "default", "local/kl_share_most").max() <= 1.1
        assert local.numbers(raw, task, "default", "local/kl_share_least").min() >= 0.9
        errors = [local.numbers(raw, task, "default", f"error_{kind}") for kind in ("mixture", "none")]
        assert (errors[0] < errors[1]).all()


@needs("reproductions/guided-policies")
def test_the_page_of_guided_policy_search_says_where_its_policies_end(script):
    guided = script("guided_policies")
    page = (ROOT / "docs/algorithms/gps.md").read_text()
    assert f"<!-- ends -->\n{guided.ends_table(guided.load(guided.RAW))}\n<!-- end -->" in page


@needs("reproductions/pilco-cartpole-swingup")
def test_the_table_of_trials_is_what_the_raw_files_say(script):
    page = (ROOT / "docs" / "cards.md").read_text()
    assert f"<!-- trials -->\n{script('trials').block()}\n<!-- end -->" in page
