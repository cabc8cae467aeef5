"""SAC, PPO and DQN: what they act, store and learn from."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import same_bits

from forethought.agents.dqn import DQN
from forethought.agents.ppo import PPO, Drawn
from forethought.agents.sac import SAC
from forethought.core import Clock
from forethought.presets.dqn import DQNConfig
from forethought.presets.ppo import PPOConfig
from forethought.presets.sac import SACConfig
from forethought.types import Box, Discrete, EnvSpec, Transition

BOX = EnvSpec("toy", 2, Box((-1.0, 0.0), (3.0, 0.5)), action_repeat=2)
CARDS = EnvSpec("cards", 2, Discrete(3), action_repeat=2)
AGENTS = {
    "sac": SAC(BOX, SACConfig(hidden=(8,), batch_size=4, random_steps=20, updates_per_step=2)),
    "ppo": PPO(BOX, PPOConfig(hidden=(8,), num_steps=24, epochs=2, num_minibatches=2)),
    "ppo-discrete": PPO(CARDS, PPOConfig(hidden=(8,), num_steps=24, epochs=2, num_minibatches=2)),
    "dqn": DQN(CARDS, DQNConfig(hidden=(8,), batch_size=4, random_steps=20, epsilon_steps=100, epsilon_last=0.05)),
}
NUM_ENVS = 3


def clock(env_steps):
    return dataclasses.replace(Clock.start(1), env_steps=jnp.int32(env_steps))


def filled(agent, state, ticks):
    """The agent's data set after so many actions in each of three environments."""
    data = agent.data(64, NUM_ENVS)

    def tick(replay, key):
        obs_key, act_key, reward_key = jr.split(key, 3)
        obs = jr.normal(obs_key, (2, NUM_ENVS, 2))
        act = lambda o, k: agent.act(state, None, o, key=k, explore=True)
        action, _, extras = jax.vmap(act)(obs[0], jr.split(act_key, NUM_ENVS))
        no = jnp.zeros(NUM_ENVS, bool)
        row = Transition(obs[0], action, jr.normal(reward_key, (NUM_ENVS,)), obs[1], no, no, extras)
        return replay.add(row), None

    return {"env": jax.jit(lambda r: jax.lax.scan(tick, r, jr.split(jr.key(9), ticks))[0])(data["env"])}


@pytest.mark.parametrize("name", AGENTS)
def test_it_acts_in_the_environment_s_units_and_evaluates_without_chance(name):
    agent = AGENTS[name]
    state = agent.init(key=jr.key(0))
    act = jax.jit(lambda k, explore: agent.act(state, None, jnp.ones(2), key=k, explore=explore)[0], static_argnums=1)
    drawn = np.stack([act(jr.key(i), True) for i in range(20)])
    assert drawn.shape[1:] == agent.spec.action.shape
    if isinstance(agent.spec.action, Box):
        assert np.all(drawn >= np.array(BOX.action.low)) and np.all(drawn <= np.array(BOX.action.high))
        assert np.ptp(drawn, 0).min() > 0
    else:
        assert drawn.dtype == np.int32 and len(np.unique(drawn)) > 1
    np.testing.assert_array_equal(act(jr.key(0), False), act(jr.key(1), False))


@pytest.mark.parametrize("name", AGENTS)
def test_an_update_changes_what_it_does_and_says_what_it_found(name):
    agent = AGENTS[name]
    state = agent.init(key=jr.key(0))
    data = filled(agent, state, 6)
    (round_,) = agent.schedule.rounds
    update = jax.jit(lambda s, d, c, k: agent.update(s, d, round=round_.name, clock=c, key=k))
    after, additions, metrics = update(state, data, clock(36), jr.key(1))
    assert additions == {} and all(np.isfinite(m) for m in metrics.values())
    assert jax.tree.structure(after) == jax.tree.structure(state)
    best = lambda s: agent.act(s, None, jnp.ones(2), key=jr.key(0), explore=False)[2 if "ppo" in name else 0]
    if name in ("sac", "ppo"):
        assert not np.allclose(jax.tree.leaves(best(after))[0], jax.tree.leaves(best(state))[0])
    metrics_again = update(after, data, clock(36), jr.key(2))[2]
    assert metrics_again.keys() == metrics.keys()


def test_replayed_learning_follows_every_action_and_on_policy_learning_a_stretch():
    (sac,), (ppo,), (dqn,) = (AGENTS[name].schedule.rounds for name in ("sac", "ppo", "dqn"))
    assert (sac.every, sac.first, sac.inline) == (2, 20, True)
    assert (dqn.every, dqn.first, dqn.inline) == (2, 20, True)
    assert (ppo.every, ppo.first, ppo.inline) == (24, 0, False)


def test_what_another_policy_did_does_not_count():
    agent = AGENTS["ppo"]
    state = agent.init(key=jr.key(0))
    data = filled(agent, state, 4)
    update = jax.jit(lambda s, d: agent.update(s, d, round="policy", clock=clock(24), key=jr.key(1)))
    later = dataclasses.replace(state, version=jnp.int32(1))
    after, _, metrics = update(later, data)
    assert float(metrics["critic/loss"]) == 0.0 and int(after.version) == 5
    np.testing.assert_array_equal(after.learned.actor.log_std, state.learned.actor.log_std)
    assert float(update(state, data)[2]["critic/loss"]) > 0.0


def test_the_raw_action_is_kept_and_the_clipped_one_is_executed():
    agent = AGENTS["ppo"]
    state = agent.init(key=jr.key(0))
    action, _, extras = agent.act(state, None, jnp.ones(2), key=jr.key(3), explore=True)
    assert isinstance(extras, Drawn)
    np.testing.assert_allclose(action, agent.learner.policy(state, jnp.ones(2)).executed(extras.raw))


def test_a_replay_holds_at_least_the_steps_between_two_rounds():
    assert AGENTS["ppo"].data(5, NUM_ENVS)["env"].capacity == 48  # where every episode has one step, 16 ticks


def test_steps_of_a_round_count_where_episodes_end_within_an_actions_repeats():
    agent = AGENTS["ppo"]
    state = agent.init(key=jr.key(0))
    data = filled(agent, state, 8)  # 24 actions, where 12 with both their repeats would have done
    update = jax.jit(lambda d: agent.update(state, d, round="policy", clock=clock(0), key=jr.key(1))[0])
    rings = data["env"].rings
    for tick in range(8):
        rewards = rings.data.reward.at[:, tick].add(5.0)
        changed = dataclasses.replace(rings, data=dataclasses.replace(rings.data, reward=rewards))
        other = {"env": dataclasses.replace(data["env"], rings=changed)}
        assert not same_bits(update(other), update(data)), tick


def test_a_round_takes_an_action_in_each_environment_and_fills_its_minibatches():
    with pytest.raises(ValueError, match="num_steps=24 must be at least the 26 steps that one action"):
        AGENTS["ppo"].data(100, 13)
    few = PPO(BOX, dataclasses.replace(AGENTS["ppo"].config, num_minibatches=13))
    with pytest.raises(ValueError, match="num_minibatches=13 must be at most the 12 actions of a round; use 12"):
        few.data(100, NUM_ENVS)


def test_the_step_size_falls_with_the_clock():
    agent = PPO(BOX, dataclasses.replace(AGENTS["ppo"].config, decay_steps=100))
    state = agent.init(key=jr.key(0))
    data = filled(agent, state, 4)
    update = jax.jit(lambda c: agent.update(state, data, round="policy", clock=c, key=jr.key(1))[0])
    bias = lambda state: np.asarray(state.learned.critic.network.out.bias)
    moved = lambda steps: np.abs(bias(update(clock(steps))) - bias(state)).sum()
    assert moved(0) > moved(90) > moved(100) == moved(200) == 0.0


def test_exploration_falls_with_the_clock():
    agent = AGENTS["dqn"]
    state = agent.init(key=jr.key(0))
    data = filled(agent, state, 4)
    after, _, metrics = jax.jit(lambda s: agent.update(s, data, round="values", clock=clock(50), key=jr.key(1)))(state)
    assert int(after.env_steps) == 50
    np.testing.assert_allclose(metrics["actor/epsilon"], 0.525, rtol=1e-5)


@pytest.mark.parametrize("agent, spec", [(SAC, CARDS), (DQN, BOX)])
def test_the_wrong_kind_of_action_is_refused(agent, spec):
    with pytest.raises(ValueError, match=r"take (dqn|sac) or ppo"):
        agent(spec)
