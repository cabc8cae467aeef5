"""MBPO: on the true dynamics it is SAC on imagined steps that are real; its pool, its schedule, and what it refuses."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import Walk, run_to, same_bits, walk_reward

import forethought
from forethought import setup
from forethought.agents.mbpo import MBPO
from forethought.core import Clock
from forethought.envs.hosted import HostedJaxEnv
from forethought.errors import UserError
from forethought.learners.sac import SAC
from forethought.models.simulator import Simulator
from forethought.presets.mbpo import PRESETS, MBPOConfig
from forethought.presets.parts import EnsembleConfig
from forethought.presets.run import RunConfig
from forethought.presets.sac import SACConfig
from forethought.run.jit import JitDriver
from forethought.run.progress import round_key
from forethought.run.steps import StepDriver
from forethought.storage import checkpoint
from forethought.types import Discrete, EnvSpec, Given, Transition, never_terminates

FIRST, EVERY, BATCH = 12, 10, 8
SMALL = SACConfig(random_steps=FIRST, updates_per_step=2, batch_size=BATCH, hidden=(8,))
MODEL = EnsembleConfig(
    num_members=3, num_elites=2, particles=2, propagation="TS1", hidden=(8,), epochs=2, batch_size=16, holdout_ratio=0.2
)
CONFIG = MBPOConfig(SMALL, MODEL, model_every=EVERY, rollouts=BATCH, epoch_steps=2 * EVERY, real_ratio=0.25)
TRUE = dataclasses.replace(CONFIG, real_ratio=0.0)
ENV = Walk(ends_above=0.9)


@functools.cache
def driver(kind="jit", num_seeds=None, oracle=False, config=CONFIG):
    given = Given(walk_reward, ENV.termination_function or never_terminates, Simulator(ENV) if oracle else None)
    agent = MBPO(ENV.spec, TRUE if oracle else config, given=given)
    return JitDriver(agent, ENV, num_seeds=num_seeds) if kind == "jit" else StepDriver(agent, HostedJaxEnv(ENV))


def started(one, seed=0):
    return one.start(one.agent.data(64, 1), seed=seed)


def one_seed(tree, i):
    return tree if i is None else jax.tree.map(lambda x: x[i], tree)


@pytest.mark.parametrize(("kind", "num_seeds"), [("jit", None), ("jit", 4), ("steps", None)])
def test_on_the_true_dynamics_it_is_sac_on_the_imagined_steps(kind, num_seeds):
    one = driver(kind, num_seeds, oracle=True)
    before, after = (run_to(one, started(one), steps) for steps in (FIRST + 3, FIRST + 4))
    learner, clock = SAC(ENV.spec, SMALL), before.clock
    assert np.asarray(clock.calls).tolist() == [1, 4] and np.asarray(after.clock.calls).tolist() == [1, 5]
    for i in [None] if num_seeds is None else range(num_seeds):
        state, wanted = one_seed(before.agent_state, i), one_seed(after.agent_state, i)
        pool, key = one_seed(before.data["model"], i), one_seed(before.key, i)
        draw = lambda key, pool=pool: pool.sample(BATCH, key=jr.split(key)[1])
        sac, _ = jax.jit(lambda s, k, d=draw: learner.updates(s, d, 2, key=k))(state.sac, round_key(key, 1, 4))
        for a, b in zip(jax.tree.leaves(sac), jax.tree.leaves(wanted.sac)):
            np.testing.assert_allclose(a, b, atol=2e-6)
        rows, used = pool.rows()
        assert int(used.sum()) == BATCH
        of_pool = jax.tree.map(lambda x, used=used: np.asarray(x)[np.asarray(used)], rows)
        check_true(of_pool, one_seed(before.data["env"], i))


def check_true(rows: Transition, met) -> None:
    """Every imagined step is what the environment does, from a state that was met."""
    seen = np.asarray(met.rows()[0].obs)[np.asarray(met.rows()[1])]
    model = Simulator(ENV)
    for obs, action, reward, next_obs, ended in zip(rows.obs, rows.action, rows.reward, rows.next_obs, rows.terminated):
        assert np.isclose(seen, obs).all(1).any()
        belief, said = model.step(model.init(obs, key=jr.key(0)), jnp.asarray(action)[None], key=jr.key(0))
        np.testing.assert_allclose(belief.obs[0], next_obs, atol=1e-6)
        np.testing.assert_allclose((said.reward[0], 1 - said.continuation[0]), (reward, ended), atol=1e-6)


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_a_run_cut_at_any_round_goes_on_bit_for_bit_with_its_pool(kind, tmp_path):
    one = driver(kind)
    whole = run_to(one, started(one), 36)
    assert int(whole.data["model"].size) == 2 * BATCH and np.asarray(whole.clock.calls).tolist() == [3, 25]
    for cut in (7, FIRST, 17, FIRST + EVERY, 30):
        checkpoint.save(tmp_path / "cut.npz", run_to(one, started(one), cut), {})
        loaded, _ = checkpoint.load(tmp_path / "cut.npz", started(one, seed=3))
        assert same_bits(run_to(one, loaded, 36), whole), cut


def test_both_drivers_learn_the_same():
    ends = [run_to(driver(kind), started(driver(kind)), 16) for kind in ("jit", "steps")]
    for a, b in zip(*(jax.tree.leaves((end.agent_state, end.data)) for end in ends)):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_the_agent_s_state_is_donated_nowhere_twice():
    state = driver().agent.init(key=jr.key(0))
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(jax.jit(lambda s: s)(state)) if x.size > 1]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize(("steps", "length"), [(0, 1), (52, 1), (72, 2), (92, 3), (112, 4), (131, 4), (212, 5)])
def test_rollouts_grow_by_epochs(steps, length):
    config = dataclasses.replace(CONFIG, rollout_length=(2, 6, 1, 5), epoch_steps=20)
    agent = MBPO(ENV.spec, config)
    clock = Clock(jnp.int32(steps), jnp.int32(steps), jnp.zeros(2, jnp.int32))
    assert int(agent._length(clock)) == length
    assert int(agent._kept(agent._length(clock))) == BATCH * 2 * length
    assert agent.data(10, 1)["model"].capacity == BATCH * 2 * 5


def test_the_length_of_rollouts_is_exact_in_every_epoch():
    for first, last, low, high in ((20, 75, 1, 45), (1, 50, 1, 50), (1, 101, 1, 101), (0, 7, 20, 1)):
        agent = MBPO(ENV.spec, dataclasses.replace(CONFIG, rollout_length=(first, last, low, high), epoch_steps=1))
        epochs = np.arange(last + 5)
        at = lambda epoch, agent=agent: agent._length(
            Clock(epoch + agent.config.sac.random_steps, epoch, jnp.zeros(2, jnp.int32))
        )
        part = np.clip(epochs - first, 0, last - first)
        wanted = [int(low + np.sign(high - low) * (abs(high - low) * int(p) // (last - first))) for p in part]
        np.testing.assert_array_equal(jax.vmap(at)(jnp.asarray(epochs)), wanted)
        assert wanted[0] == low and wanted[-1] == high


def test_branches_stop_where_an_episode_ends_and_what_follows_is_left_out():
    config = dataclasses.replace(TRUE, rollout_length=(0, 1, 6, 6))
    given = Given(walk_reward, ENV.termination_function, Simulator(ENV))
    agent = MBPO(ENV.spec, config, given=given)
    met = Transition(
        jnp.array([[0.89, 0.0], [0.0, 0.0]]),
        jnp.zeros((2, 1)),
        jnp.zeros(2),
        jnp.zeros((2, 2)),
        *[jnp.zeros(2, bool)] * 2,
    )
    data = agent.data(2, 1)
    data["env"] = data["env"].add(met)
    state = agent.init(key=jr.key(0))
    clock = Clock(jnp.int32(100), jnp.int32(100), jnp.zeros(2, jnp.int32))
    update = jax.jit(lambda s, d: agent.update(s, d, round="model", clock=clock, key=jr.key(1))[1:])
    additions, metrics = update(state, data)
    rows, valid = additions["model"].rows, np.asarray(additions["model"].valid).reshape(6, BATCH)
    ended = np.asarray(rows.terminated).reshape(6, BATCH)
    assert valid[0].all() and int(metrics["imagined/steps"]) == valid.sum()
    for t in range(1, 6):
        np.testing.assert_array_equal(valid[t], valid[t - 1] & ~ended[t - 1])
    assert (ended & valid).any() and not valid.all()


def test_learned_ends_are_drawn():
    """With a probability of one half about half of the branches end, each wholly or not at all."""
    agent = MBPO(ENV.spec, dataclasses.replace(CONFIG, rollouts=400), given=Given(walk_reward, None))
    state = agent.init(key=jr.key(0))
    silent = lambda n: eqx.tree_at(
        lambda n: (n.weights[-1], n.biases[-1]), n, (n.weights[-1].at[:, -1].set(0.0), n.biases[-1].at[-1].set(0.0))
    )
    state = eqx.tree_at(lambda s: s.learner.model.networks, state, [silent(n) for n in state.learner.model.networks])
    data = agent.data(4, 1)
    addition, _ = agent._imagined(state, data, jnp.int32(1), key=jr.key(0))
    assert 150 < int(addition.rows.terminated.sum()) < 250


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rollouts": 4}, "rollouts=4 must be at least sac.batch_size=8"),
        ({"rollouts": 9}, "rollouts=9 must be a multiple of model.particles=2"),
        ({"rollout_length": (5, 5, 1, 1)}, "rollout_length=.* two rising epochs"),
        ({"model_every": 0}, "model_every=0 must be a whole number"),
        ({"retain_epochs": 0}, "retain_epochs=0 must be a whole number"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MBPO(ENV.spec, dataclasses.replace(CONFIG, **change))


def test_discrete_actions_are_refused():
    with pytest.raises((ValueError, UserError), match="continuous actions"):
        MBPO(EnvSpec("board", 2, Discrete(3)))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sound(name):
    agent = MBPO(ENV.spec, PRESETS[name], given=Given(walk_reward, never_terminates))
    agent.schedule.check()
    assert jax.eval_shape(lambda: agent.data(1000, 1))["model"].capacity >= PRESETS[name].rollouts


def test_a_run_in_which_a_round_never_comes_is_refused_before_it_begins(tmp_path):
    with pytest.raises(UserError, match="the round model of mbpo falls due after 500 steps for the first time"):
        forethought.train("mbpo", "pendulum", steps=300, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("agent", "options", "message"),
    [
        ("sac", {"oracle": True}, "oracle: sac learns without a model"),
        ("ppo", {"reward": "learned"}, None),
        ("dqn", {}, "dqn needs discrete actions"),
        ("sac", {"reward": "env"}, "sac learns from the rewards that it meets; leave reward out"),
    ],
)
def test_what_a_model_free_agent_cannot_be_told_is_refused(agent, options, message):
    build = lambda: setup.build(agent, "pendulum", run=RunConfig(steps=100, **options))
    if message is None:
        assert build().agent is not None
        return
    with pytest.raises(UserError, match=message):
        build()


class Blind(Simulator):
    """A model that does not say where it is."""

    def drawn(self, belief):
        return None


def test_a_model_that_draws_no_observations_is_named():
    agent = MBPO(ENV.spec, TRUE, given=Given(walk_reward, never_terminates, Blind(ENV)))
    state, data = agent.init(key=jr.key(0)), agent.data(100, 1)
    with pytest.raises(ValueError, match="Blind has no `drawn` observations for a policy to act on; add that method"):
        agent._imagined(state, data, jnp.int32(1), key=jr.key(0))
