"""Cards of several arms, and the errors of their models."""

import dataclasses
import json

import jax.numpy as jnp
import pytest
from tiny import ONE_NETWORK, PLANNER

import forethought
from forethought.cards import CARDS, Arm, Card, Mark
from forethought.cards.marks import median_ratio
from forethought.cli.model_errors import model_errors
from forethought.core import AbstractLearner, AbstractModel
from forethought.envs.point_mass import PointMass
from forethought.models.simulator import Simulator
from forethought.presets.mpc_ladder import PRESETS, MPCLadderConfig
from forethought.presets.run import RunConfig

AGENT = MPCLadderConfig(version="0.5", random_steps=20, model=ONE_NETWORK, planner=PLANNER)
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
        Mark("ratio of errors", 0.0, "anything", median_ratio(("0.5", "visited_error"), ("0.5", "holdout_error"))),
        Mark("ratio to itself", 2.0, "too much", median_ratio(("0.5", "visited_error"), ("0.5", "visited_error"))),
    ),
    published="",
    raw="",
    model_errors=True,
)


class Shifted(AbstractModel):
    """The point mass, but every observation comes out 0.1 too high."""

    truth: Simulator

    def init(self, obs, *, key):
        return self.truth.init(obs, key=key)

    def step(self, belief, action, *, key):
        belief, said = self.truth.step(belief, action, key=key)
        return dataclasses.replace(belief, obs=belief.obs + 0.1), said

    def observation(self, belief):
        return self.truth.observation(belief)


class Knows(AbstractLearner):
    """Has nothing to learn."""

    model: Shifted

    def fit(self, replay, *, key):
        return self, {"model/loss": jnp.zeros(())}


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


def test_errors_on_random_and_on_own_data_have_one_unit(tmp_path):
    config = dataclasses.replace(AGENT, version="1.5", random_steps=1)
    learner = Knows(Shifted(Simulator(PointMass())))
    run = forethought.train(
        "mpc-ladder", "point-mass", config=config, run=RUN, learner=learner, out=tmp_path / "run", quiet=True
    )
    found = model_errors(run, episodes=2)
    # The same shift everywhere is the same error, though the planner's states spread differently from random ones.
    assert found["visited_error"] == pytest.approx(found["holdout_error"], rel=1e-3)
    assert 0.05 < found["holdout_error"] < 1.0
