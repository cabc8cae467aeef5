"""The tables of latent ablations are what the committed raw files say, and their measures are right."""

import dataclasses
import importlib
import json
import math
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.models.world_model import WorldModel
from forethought.presets.planet import PlaNetConfig
from forethought.presets.values import from_dict

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs/models.md").read_text()


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "reproductions"))
    return importlib.import_module("latent_ablations")


@pytest.fixture
def futures(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "reproductions"))
    return importlib.import_module("latent_futures")


@pytest.mark.slow
def test_the_tables_are_what_the_raw_files_say(script):
    found = script.load()
    for block in script.BLOCKS:
        assert f"<!-- {block} -->\n{script.shown(block, found)}\n<!-- end -->" in PAGE


def test_all_arms_are_of_the_scripts_settings_and_learned_from_as_many_gradient_steps(script, futures):
    found = script.load()
    for arm, config in script.ARMS.items():
        for raw in found[arm].values():
            assert from_dict(PlaNetConfig, json.loads(raw["config"])) == config
            assert raw["gradient_steps"] == script.ROUNDS * script.UPDATES
            assert len(raw["error"]) == futures.HORIZON and len(raw["returns"]) == script.PLAYED


def test_arms_differ_only_in_what_they_are_named_after(script):
    plain = script.ARMS["rssm"]
    for arm, config in script.ARMS.items():
        same = {"cell": plain.model.cell, "latent": plain.model.latent, "overshooting": plain.model.overshooting}
        assert dataclasses.replace(config, model=dataclasses.replace(config.model, **same)) == plain
        assert (config.model.overshooting > 1) == arm.endswith("-overshooting")
        assert (config.model.cell == "none") == arm.startswith("ssm")
        assert (config.model.latent == "point") == arm.startswith("rnn")


@pytest.mark.parametrize("truth", [0.0, 1.5])
def test_the_energy_score_of_normal_draws_is_the_closed_form(futures, truth):
    draws = jr.normal(jr.key(0), (400, 50, 1))
    score = futures.energy_score(draws, jnp.full((50, 1), truth)).mean()
    density = math.exp(-(truth**2) / 2) / math.sqrt(2 * math.pi)
    exact = truth * math.erf(truth / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)
    assert score == pytest.approx(exact, abs=0.02)


def test_the_energy_score_of_equal_draws_is_the_distance(futures):
    draws = jnp.broadcast_to(jnp.array([3.0, 4.0]), (5, 1, 2))
    assert futures.energy_score(draws, jnp.zeros((1, 2)))[0] == pytest.approx(5.0)


def test_two_branches_score_better_than_the_middle_between_them(futures):
    truth, branches = jnp.array([[1.0], [-1.0]]), jnp.array([1.0, -1.0] * 500)[:, None, None]
    honest = futures.energy_score(jnp.broadcast_to(branches, (1000, 2, 1)), truth)
    np.testing.assert_allclose(honest, 0.5, atol=2e-3)
    np.testing.assert_allclose(futures.energy_score(jnp.zeros((4, 2, 1)), truth), 1.0)
    np.testing.assert_allclose(futures.squared_error(jnp.broadcast_to(branches, (1000, 2, 1)), truth), 1.0)


def test_the_true_dynamics_err_only_from_the_second_step_on_which_is_when_the_wind_may_have_turned(futures):
    episodes = futures.collected(3, key=jr.key(0))
    steps = futures.windows(episodes.rows)
    assert steps.obs.shape == (12, futures.CONTEXT + futures.HORIZON, 2)
    obs, reward = futures.true_futures(steps, futures.states_after_context(episodes.states), key=jr.key(1))
    found = futures.judged(obs, reward, steps, (jnp.ones(2), jnp.ones(())))
    np.testing.assert_allclose([found["error"][0], found["energy_score"][0], found["reward_error"][0]], 0, atol=1e-5)
    assert found["error"][-1] > 1e-3


@pytest.mark.slow
def test_a_future_is_filtered_and_imagined_step_by_step(script, futures):
    sizes = {"deter": 6, "hidden": 6, "units": 6, "latents": 3, "layers": 1, "head_layers": 1}
    config = dataclasses.replace(script.ARMS["rnn"].model, **sizes)
    model = WorldModel(futures.ENV.spec, config, key=jr.key(0))
    steps = jax.tree.map(lambda x: x[:2], futures.windows(futures.collected(1, key=jr.key(1)).rows))
    obs, reward = futures.futures(model, steps, key=jr.key(2))
    assert obs.shape == (futures.DRAWS, 2, futures.HORIZON, 2)
    np.testing.assert_allclose(obs[0], obs[-1])  # a point latent draws nothing
    filtered, imagined = eqx.filter_jit(model.observe), eqx.filter_jit(model.step)
    belief = model.init(steps.obs[1, 0], key=jr.key(3))
    for t in range(1, futures.CONTEXT):
        belief = filtered(belief, steps.action[1, t], steps.obs[1, t], key=jr.key(3))
    for t in range(3):
        belief, prediction = imagined(belief, steps.action[None, 1, futures.CONTEXT + t], key=jr.key(3))
        np.testing.assert_allclose(obs[0, 1, t], model.observation(belief).mean()[0], atol=1e-5)
        np.testing.assert_allclose(reward[0, 1, t], prediction.reward[0], atol=1e-5)
