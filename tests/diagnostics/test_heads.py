"""Reward and continue heads: broken ones are found, healthy ones are not, and few ends accuse nobody."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from picture_world import catch_logged, catch_model, played, scrambled

from forethought.diagnostics import heads as checks
from forethought.diagnostics.findings import Evidence, find
from forethought.diagnostics.logged import Logged
from forethought.diagnostics.one_step import OneStep, following
from forethought.envs.catch import Catch

SPEC = Catch().spec


def names(model, *, episodes: int = 24, training: bool = True, said=None) -> list[str]:
    past = Logged.of_trajectories(played(Catch(), 30, 9)) if training else None
    evidence = Evidence(spec=SPEC, fresh=catch_logged(episodes), training=past, model=model, said=said)
    return [f.name for f in find(evidence, key=jr.key(0))]


def never_ends(model):
    """The same with a continue head whose answer is always about 1."""
    return eqx.tree_at(
        lambda m: (m.continue_head.network.out.weight, m.continue_head.network.out.bias),
        model,
        replace_fn=lambda x: jnp.zeros_like(x) if x.ndim > 1 else jnp.full_like(x, 9.0),
    )


@pytest.fixture(scope="module")
def said() -> OneStep:
    return following(catch_model(), catch_logged(), SPEC, key=jr.key(0))


def claimed(reward=None, continuation=None, data=None) -> tuple[OneStep, Logged]:
    data = catch_logged() if data is None else data
    n = len(data.rows.reward)
    reward = np.zeros(n) if reward is None else reward
    return OneStep(None, None, None, reward, np.ones(n) if continuation is None else continuation), data


@pytest.mark.slow
def test_a_healthy_latent_model_is_found_nothing_wrong_with():
    assert names(catch_model()) == []


@pytest.mark.slow
def test_a_scrambled_reward_head_is_found_and_nothing_else():
    model = catch_model()
    broken = eqx.tree_at(lambda m: m.reward_head, model, scrambled(model.reward_head))
    assert names(broken) == ["reward-head-useless"]


@pytest.mark.slow
def test_a_continue_head_stuck_at_one_is_found_and_nothing_else():
    assert names(never_ends(catch_model())) == ["continue-head-useless"]


@pytest.mark.slow
def test_a_model_without_a_continue_head_is_found_where_episodes_end():
    without = eqx.tree_at(lambda m: m.continue_head, catch_model(), None)
    assert names(without) == ["continue-head-useless"]


@pytest.mark.slow
def test_four_ends_accuse_no_continue_head_and_those_of_the_training_data_help():
    stuck = never_ends(catch_model())
    data = catch_logged(4)
    fresh = (following(stuck, data, SPEC, key=jr.key(0)), data)
    assert checks.useless_continuation([fresh]) == []
    past = Logged.of_trajectories(played(Catch(), 30, 9))
    (found,) = checks.useless_continuation([fresh, (following(stuck, past, SPEC, key=jr.key(0)), past)])
    assert found.numbers["ends"] == 34 and "training data" in found.sentence


@pytest.mark.slow
def test_the_measures_of_a_healthy_head_say_so(said):
    found = checks.heads(said, catch_logged())
    assert found.steps == 24 * 9 and found.terminations == 24
    assert found.reward_error < 0.5 * found.reward_constant and found.reward_correlation > 0.9
    assert found.brier < 0.2 * found.brier_constant and found.told_apart > 0.95
    assert sum(steps for *_, steps, _ in found.bins) == found.steps
    assert sum(ends for *_, ends in found.bins) == found.terminations


def test_measures_of_constant_answers_are_those_of_the_constant():
    said, data = claimed(reward=np.full(216, 0.25), continuation=np.full(216, 8 / 9))
    found = checks.heads(said, data)
    real = data.rows.reward
    assert found.reward_error == pytest.approx(np.sqrt(np.mean((real - 0.25) ** 2)))
    assert found.brier == pytest.approx(found.brier_constant) == pytest.approx(8 / 81)
    assert found.told_apart == 0.5 and np.isnan(found.reward_correlation)
    (line,) = found.calibration()
    assert line[:3] == ("5 % to 20 %", 216, 24) and line[3] == "11 %"


def test_ends_told_apart_are_pairs_in_the_right_order_and_ties_count_half():
    end, ended = np.array([0.9, 0.2, 0.1, 0.2, 0.5]), np.array([True, True, False, False, False])
    assert checks.told_apart(end, ended) == pytest.approx((3 + 1.5) / 6)
    assert np.isnan(checks.told_apart(end, np.zeros(5, bool)))


def test_intervals_of_shares_are_wilsons():
    low, high = checks.wilson(0, 10)
    assert low == 0.0 and high == pytest.approx(0.2775, abs=1e-4)
    np.testing.assert_allclose(checks.wilson(5, 10), (0.2366, 0.7634), atol=1e-4)


@pytest.mark.slow
def test_a_reward_that_is_off_by_a_constant_still_ranks_and_is_of_use(said):
    data = catch_logged()
    shifted, _ = claimed(reward=data.rows.reward + 5.0)
    assert checks.useless_reward(shifted, data, None) == []
    constant, _ = claimed(reward=np.full(216, 0.1))
    assert [f.name for f in checks.useless_reward(constant, data, None)] == ["reward-head-useless"]


def test_fresh_rewards_that_hardly_vary_are_no_test_of_the_head():
    data = catch_logged()
    small = data._replace(rows=data.rows._replace(reward=0.01 * data.rows.reward))
    constant, _ = claimed(reward=np.full(216, 0.1))
    assert checks.useless_reward(constant, small, data) == []
    assert len(checks.useless_reward(constant, small, None)) == 1


@pytest.mark.slow
def test_what_was_already_asked_is_not_asked_again(said):
    never, _ = claimed(reward=np.asarray(said.reward))
    assert "continue-head-useless" in names(catch_model(), training=False, said=never)


@pytest.mark.slow
def test_samples_of_a_filter_follow_each_episode_from_its_beginning(said):
    data = catch_logged()
    alone = data.chosen([3])
    again = following(catch_model(), alone, SPEC, key=jr.key(0))
    start, end = data.spans[3]
    np.testing.assert_allclose(again.continuation, said.continuation[start:end], atol=0.1)  # other samples of it
    assert said.mean is None and said.continuation.shape == (216,)
