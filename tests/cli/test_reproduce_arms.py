"""Cards of several arms, and the errors of their models."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import ONE_NETWORK, PLANNER

import forethought
from forethought.agents.uniform import Uniform
from forethought.cards import CARDS, Arm, Card, Mark
from forethought.cards.marks import ratio_of_medians
from forethought.cli.model_errors import RANDOM, model_errors
from forethought.presets.mpc_ladder import PRESETS, MPCLadderConfig
from forethought.presets.run import RunConfig
from forethought.run.evaluate import JitEvaluator

pytestmark = pytest.mark.slow  # a run is trained for them

AGENT = MPCLadderConfig(
    version="0.5", random_steps=20, model=dataclasses.replace(ONE_NETWORK, holdout_ratio=0.2), planner=PLANNER
)
RUN = RunConfig(steps=25, eval_every=0, final_episodes=2, video=False)
CARD = Card(
    name="tiny/ladder",
    agent="mpc-ladder",
    env="point-mass",
    env_version="",
    arms=(Arm("0.5", "tiny", RUN), Arm("oracle", "tiny", dataclasses.replace(RUN, steps=1, oracle=True))),
    seeds=1,
    given="",
    marks=(
        Mark("ratio of errors", 0.0, "anything", ratio_of_medians(("0.5", "visited_error"), ("0.5", "holdout_error"))),
        Mark("ratio to itself", 2.0, "too much", ratio_of_medians(("0.5", "visited_error"), ("0.5", "visited_error"))),
    ),
    published="",
    raw="",
    model_errors=True,
)


def test_every_arm_has_its_raw_file_and_every_mark_its_line(cli, monkeypatch, tmp_path):
    monkeypatch.setitem(PRESETS, "tiny", AGENT)
    monkeypatch.setitem(CARDS, "tiny/ladder", CARD)
    said = cli("reproduce", "tiny/ladder", "--out", "out", "--quiet")
    assert said.code == 1, said.err
    raw = json.loads((tmp_path / "out" / "0.5" / "seed-0.json").read_text())
    oracle = json.loads((tmp_path / "out" / "oracle" / "seed-0.json").read_text())
    assert (raw["arm"], oracle["arm"]) == ("0.5", "oracle")
    assert raw["holdout_error"] > 0 and raw["visited_error"] > 0 and "visited_error" not in oracle
    ratio = raw["visited_error"] / raw["holdout_error"]
    assert f"ratio of errors {ratio:.4g}, mark 0 (anything)\n" in said.out
    assert "ratio to itself 1, mark 2 (too much): missed\n" in said.out
    assert raw["commit"] is None or len(raw["commit"].split()[0]) == 40
    before = (tmp_path / "out" / "0.5" / "seed-0.json").read_bytes()
    assert cli("reproduce", "tiny/ladder", "--out", "out", "--quiet").out == said.out
    assert (tmp_path / "out" / "0.5" / "seed-0.json").read_bytes() == before


def test_errors_are_of_the_episodes_it_plays_in_the_units_that_they_say(tmp_path):
    run = forethought.train("mpc-ladder", "point-mass", config=AGENT, run=RUN, out=tmp_path / "run", quiet=True)
    found = model_errors(run, episodes=2)
    assert found["holdout_error"] == run.metrics("update")[-1]["model/holdout_mse"]
    model, played = run.agent_state().learner.model, run.evaluate(episodes=2).trajectories
    belief = jax.vmap(jax.vmap(lambda obs: model.init(obs, key=jr.key(0))))(jnp.asarray(played.obs))
    step = jax.vmap(jax.vmap(lambda belief, action: model.step(belief, action[None], key=jr.key(0))[0]))
    error = np.asarray(step(belief, jnp.asarray(played.action)).mean[:, :, 0] - played.next_obs)
    assert found["visited_error"] == pytest.approx(np.mean((error / np.asarray(model.targets.scale)) ** 2), rel=1e-3)
    agent = Uniform(run.setup.env.spec)
    chance = JitEvaluator(agent, run.setup.env, num_episodes=2)(None, key=jr.key(RANDOM)).trajectories
    unit = (chance.next_obs - chance.obs).std((0, 1))
    assert found["visited_error_common"] == pytest.approx(np.mean((error / unit) ** 2), rel=1e-3)
    assert found["random_error_common"] > 0


def test_errors_of_a_task_with_angles(tmp_path):
    run = forethought.train("mpc-ladder", "cartpole-swingup", config=AGENT, run=RUN, out=tmp_path / "run", quiet=True)
    assert all(0 < error < 1e6 for error in model_errors(run, episodes=1).values())


def test_a_model_without_a_holdout_has_no_holdout_error(tmp_path):
    config = dataclasses.replace(AGENT, model=ONE_NETWORK)
    run = forethought.train("mpc-ladder", "point-mass", config=config, run=RUN, out=tmp_path / "run", quiet=True)
    with pytest.raises(forethought.UserError, match="holdout_ratio"):
        model_errors(run, episodes=1)
