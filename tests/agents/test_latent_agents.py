"""The agents of latent world models, small enough to compile fast."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from latent_world import PICTURE, SMALL, VECTOR, part, random_batch
from tiny import Walk, run_to, same_bits, updated

from forethought.agents.dreamer_v1 import DreamerV1
from forethought.agents.dreamer_v2 import DreamerV2
from forethought.agents.dreamer_v3 import DreamerV3
from forethought.agents.planet import PlaNet
from forethought.core import programs
from forethought.presets.dreamer_v1 import DreamerV1Config
from forethought.presets.dreamer_v2 import DreamerV2Config
from forethought.presets.dreamer_v3 import PRESETS, DreamerV3Config
from forethought.presets.parts import PlannerConfig
from forethought.presets.planet import PlaNetConfig
from forethought.replay.sequence import SequenceReplay
from forethought.run.jit import JitDriver
from forethought.types import Transition

PLAIN = dataclasses.replace(SMALL, cell="gru", latent="gaussian", norm="none", activation="elu", reward="normal")
DREAM = {"batch_size": 3, "batch_length": 5, "imagination": 3, "random_steps": 16, "actor_layers": 1}
AGENTS = {
    "planet": lambda spec: PlaNet(
        spec,
        PlaNetConfig(
            random_steps=16,
            update_every=6,
            updates=2,
            batch_size=3,
            batch_length=5,
            model=dataclasses.replace(PLAIN, continues=False),
            planner=PlannerConfig(horizon=3, population=8, elites=2, iterations=2, initial_std=0.5, clipped=True),
        ),
    ),
    "dreamer-v1": lambda spec: DreamerV1(
        spec, DreamerV1Config(**DREAM, update_every=6, updates=2, critic_layers=1, model=PLAIN)
    ),
    "dreamer-v2": lambda spec: DreamerV2(
        spec,
        DreamerV2Config(
            **DREAM,
            update_every=6,
            target_every=2,
            critic_layers=1,
            model=dataclasses.replace(SMALL, cell="layer-gru", norm="none", reward="normal"),
        ),
    ),
    "dreamer-v3": lambda spec: DreamerV3(
        spec, DreamerV3Config(**DREAM, train_ratio=2.5, critic_layers=1, warmup=2, model=SMALL)
    ),
}


def filled(spec, steps: int = 24) -> SequenceReplay:
    """A replay that holds one long episode of random numbers."""
    replay = SequenceReplay.empty(spec, 64)
    batch = random_batch(spec, 1, steps + 1)

    def add(replay, t):
        no = jnp.zeros(1, bool)
        row = Transition(batch.obs[:, t], batch.action[:, t + 1], batch.reward[:, t + 1], batch.obs[:, t + 1], no, no)
        return replay.add(row), None

    return jax.jit(lambda r: jax.lax.scan(add, r, jnp.arange(steps))[0])(replay)


@pytest.mark.parametrize("name", ["planet", pytest.param("dreamer-v3", marks=pytest.mark.slow)])
def test_a_run_cut_in_two_is_the_run_in_one_bit_for_bit(name):
    programs.forget()  # so that the driver counts every trace
    driver = JitDriver(AGENTS[name](Walk().spec), Walk())
    data = {"env": SequenceReplay.empty(Walk().spec, 64)}
    whole = run_to(driver, driver.start(data, seed=0), 30)
    first = run_to(driver, driver.start(data, seed=0), 25)
    assert same_bits(run_to(driver, first, 30), whole)
    assert int(whole.updates) >= 2
    assert driver.traces == {"collect": 2, "update": 1}  # random and chosen actions


@pytest.mark.parametrize("name", AGENTS)
def test_it_acts_within_bounds_and_remembers_what_it_did(name):
    agent = AGENTS[name](VECTOR)
    state = agent.init(key=jr.key(0))
    memory = agent.init_memory(state)
    assert bool(memory.first)
    act = jax.jit(lambda m, k: agent.act(state, m, jnp.ones(3), key=k, explore=True)[:2])
    action, after = act(memory, jr.key(1))
    assert -2 <= float(action[0]) <= 4 and not bool(after.first)
    np.testing.assert_array_equal(after.action, action)
    again, _ = act(dataclasses.replace(after, first=jnp.array(True)), jr.key(1))
    np.testing.assert_allclose(again, action, atol=1e-6)  # a new episode knows nothing of the last


@pytest.mark.parametrize(
    "name", ["planet", *(pytest.param(f"dreamer-v{k}", marks=pytest.mark.slow) for k in (1, 2, 3))]
)
def test_it_takes_pictures_and_numbered_actions(name):
    agent = AGENTS[name](PICTURE)
    state, metrics = eqx.filter_jit(lambda s, r: updated(agent, s, r, key=jr.key(1)))(
        agent.init(key=jr.key(0)), filled(PICTURE)
    )
    assert all(np.isfinite(v) for v in metrics.values()) and "model/image_loss" in metrics
    action, _, _ = agent.act(state, agent.init_memory(state), jnp.zeros(128), key=jr.key(2), explore=False)
    assert action.dtype == jnp.int32 and 0 <= int(action) < 3


def gradients(name, batch, which: str, **settings):
    """Gradients of the loss of `which` part alone, by replacing the others' by constants."""
    agent = AGENTS[name](VECTOR)
    agent = type(agent)(VECTOR, dataclasses.replace(agent.config, **settings))
    state = agent.init(key=jr.key(0))

    def loss(learned):
        if name == "dreamer-v3":
            _, (_, metrics) = agent.loss(learned, state, batch, key=jr.key(1))
        elif name == "dreamer-v2":
            _, metrics = agent.loss(learned, state.target_critic, batch, key=jr.key(1))
        else:
            _, metrics = agent.loss(learned, batch, key=jr.key(1))
        return metrics[which]

    grads = eqx.filter_jit(eqx.filter_grad(loss))(state.learned)
    size = lambda tree: sum(float(jnp.abs(x).sum()) for x in jax.tree.leaves(tree))
    return {part: size(getattr(grads, part)) for part in ("model", "actor", "critic")}


@pytest.mark.parametrize("name", [pytest.param("dreamer-v1", marks=pytest.mark.slow), "dreamer-v2", "dreamer-v3"])
def test_actor_and_critic_losses_reach_only_their_own_part(name):
    batch = random_batch(VECTOR, 3, 5, resets=(3,))
    actor, critic = gradients(name, batch, "actor/loss"), gradients(name, batch, "critic/loss")
    assert actor["actor"] > 0 and actor["model"] == actor["critic"] == 0
    assert critic["critic"] > 0 and critic["model"] == critic["actor"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name, settings", [("dreamer-v1", {}), ("dreamer-v2", {"entropy": 0.0})])
def test_dreams_from_terminal_states_teach_the_actor_nothing(name, settings):
    batch = random_batch(VECTOR, 3, 5)
    over = dataclasses.replace(batch, terminated=jnp.ones_like(batch.terminated))
    assert gradients(name, over, "actor/loss", **settings)["actor"] == 0


@pytest.mark.slow
def test_the_critic_of_v2_learns_a_terminal_state_s_own_reward():
    agent = DreamerV2(VECTOR, dataclasses.replace(AGENTS["dreamer-v2"](VECTOR).config, imagination=1))
    state, batch = agent.init(key=jr.key(0)), random_batch(VECTOR, 3, 5)
    over = dataclasses.replace(batch, terminated=jnp.ones_like(batch.terminated))
    _, metrics = agent.loss(state.learned, state.target_critic, over, key=jr.key(1))
    features = state.learned.model.features(state.learned.model.loss(over, key=jr.split(jr.key(1))[0])[1][0])
    said, reward = state.learned.critic(features).mean(), state.learned.model.reward_head(features).mean()
    np.testing.assert_allclose(metrics["dream/return"], jnp.mean(reward), rtol=1e-5)
    np.testing.assert_allclose(metrics["critic/loss"], jnp.mean(0.5 * (said - reward) ** 2), rtol=1e-5)


def test_the_replayed_critic_loss_of_v3_reaches_the_model_once_the_critic_says_something():
    # The critic's last layer starts at zero, so nothing passes through it yet.
    assert gradients("dreamer-v3", random_batch(VECTOR, 3, 5), "critic/replay_loss")["critic"] > 0


@pytest.mark.slow
def test_v3_starts_by_expecting_nothing():
    agent = AGENTS["dreamer-v3"](VECTOR)
    state = agent.init(key=jr.key(0))
    _, (scale, metrics) = agent.loss(state.learned, state, random_batch(VECTOR, 3, 5), key=jr.key(1))
    assert float(metrics["critic/value"]) == 0.0 and float(metrics["dream/return"]) == 0.0
    assert float(scale.scale) == 1.0


@pytest.mark.slow
def test_v3_can_dream_from_the_latest_states_only():
    agent = AGENTS["dreamer-v3"](VECTOR)
    agent = DreamerV3(VECTOR, dataclasses.replace(agent.config, imagination_starts=2))
    state = agent.init(key=jr.key(0))
    batch = random_batch(VECTOR, 3, 5)
    total, _ = agent.loss(state.learned, state, batch, key=jr.key(1))
    assert np.isfinite(total)
    assert part(batch, 3, 5).reward.shape == (3, 2)


@pytest.mark.slow
def test_v2_copies_its_target_when_due():
    agent = AGENTS["dreamer-v2"](VECTOR)
    replay, start = filled(VECTOR), agent.init(key=jr.key(0))
    update = eqx.filter_jit(lambda s, k: updated(agent, s, replay, key=k)[0])
    once = update(start, jr.key(1))
    twice = update(once, jr.key(2))
    assert same_bits(once.target_critic, start.target_critic)
    assert same_bits(twice.target_critic, twice.learned.critic)


def test_planet_remembers_the_action_that_was_executed_not_the_one_planned():
    agent = AGENTS["planet"](VECTOR)
    state = agent.init(key=jr.key(0))
    start = agent.init_memory(state)
    search = agent.begin(state, start, jnp.zeros(VECTOR.obs_dim), key=jr.key(1))
    planned, _, _ = agent.best(state, start, search, key=jr.key(2), explore=False)
    action, memory, _ = agent.best(state, start, search, key=jr.key(2), explore=True)
    assert float(action[0]) != float(planned[0])
    np.testing.assert_array_equal(memory.action, action)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_of_v3_have_the_size_that_they_are_named_for(name):
    agent = DreamerV3(dataclasses.replace(PICTURE, image=(64, 64, 3), obs_dim=64 * 64 * 3), PRESETS[name])
    learned = eqx.filter_eval_shape(lambda: agent.init(key=jr.key(0))).learned
    count = sum(x.size for x in jax.tree.leaves(eqx.filter(learned, lambda x: isinstance(x, jax.ShapeDtypeStruct))))
    if name.endswith("m"):
        assert count / 1e6 == pytest.approx(float(name[:-1]), rel=0.35)
    else:
        assert count < 2e6


@pytest.mark.parametrize(
    "kind, config, words",
    [
        (DreamerV3, DreamerV3Config(train_ratio=0), "train_ratio=0"),
        (DreamerV3, DreamerV3Config(horizon=1), "horizon=1"),
        (DreamerV2, DreamerV2Config(actor_gradient="both"), "actor_gradient='both'"),
        (DreamerV1, DreamerV1Config(batch_length=1), "batch_length=1"),
        (PlaNet, PlaNetConfig(updates=0), "updates=0"),
        (DreamerV1, DreamerV1Config(imagination=1), "imagination=1"),
        (DreamerV2, DreamerV2Config(imagination=0), "imagination=0"),
        (DreamerV2, DreamerV2Config(imagination_starts=51), "imagination_starts=51"),
    ],
)
def test_settings_that_cannot_be_are_named(kind, config, words):
    with pytest.raises(ValueError, match=words):
        kind(VECTOR, config)
