"""The ensemble against linear systems whose answers are known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import random_rows

from forethought.core import AbstractModel, replaced
from forethought.fit import GradientLearner
from forethought.models.ensemble import Ensemble, EnsembleBelief
from forethought.networks.normaliser import Normaliser
from forethought.networks.perceptron import Network, make_networks, swish
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, Discrete, EnvSpec, Given, Transition, never_terminates

KEY = jr.key(0)
SPEC = EnvSpec("line", 1, Box((-1.0,), (1.0,)))
GIVEN = Given(lambda obs, action, next_obs: next_obs[0], never_terminates)


def linear(gains, offsets, std, *, propagation, particles, given=GIVEN, elites=None) -> Ensemble:
    """Member m says x' = gains[m] x + offsets[m] + action + N(0, std^2)."""
    members = len(gains)
    model = Ensemble(
        SPEC,
        given=given,
        num_members=members,
        num_elites=elites,
        hidden=(),
        particles=particles,
        propagation=propagation,
        key=jr.key(0),
    )
    outputs = model.networks[0].weights[0].shape[-1]
    networks = []
    for gain, offset in zip(gains, offsets):
        weight = jnp.zeros((2, outputs)).at[0, 0].set(gain - 1).at[1, 0].set(1.0)
        bias = jnp.zeros((outputs, 1)).at[0, 0].set(offset).at[1].set(2 * jnp.log(std))
        networks.append(Network([weight], [bias]))
    wide = (jnp.full_like(model.min_logvar, -40.0), jnp.full_like(model.max_logvar, 40.0))
    return eqx.tree_at(lambda m: (m.networks, m.min_logvar, m.max_logvar), model, (networks, *wide))


def unroll(model, steps: int, *, start=0.0, action=0.0, seed=0):
    """Beliefs after each step, leaves `[steps, particles, 1]`."""

    def step(belief, key):
        belief, _ = model.step(belief, jnp.full((model.particles, 1), action), key=key)
        return belief, belief

    belief = model.init(jnp.array([start]), key=jr.key(seed))
    return jax.jit(lambda keys: jax.lax.scan(step, belief, keys)[1])(jr.split(jr.key(seed + 1), steps))


STEPS = np.arange(1, 11)
STD, OFFSETS = 0.3, (-1.0, 0.0, 0.5, 0.5)


def test_ts1_matches_closed_form_variance_for_a_linear_model():
    # Each step draws a member anew: its offset is noise like any other, so variances add up.
    model = linear([1.0] * 4, OFFSETS, STD, propagation="TS1", particles=40_000)
    obs = unroll(model, 10).obs[..., 0]
    np.testing.assert_allclose(obs.var(1), STEPS * (np.var(OFFSETS) + STD**2), rtol=0.05)
    np.testing.assert_allclose(obs.mean(1), 0.0, atol=0.05)


def test_tsinf_matches_closed_form_variance_for_a_linear_model():
    # A particle keeps its member: offsets add up along it, so their part grows with the square of time.
    model = linear([1.0] * 4, OFFSETS, STD, propagation="TSinf", particles=40_000)
    obs = unroll(model, 10).obs[..., 0]
    np.testing.assert_allclose(obs.var(1), STEPS**2 * np.var(OFFSETS) + STEPS * STD**2, rtol=0.05)


@pytest.mark.parametrize("propagation", ["TS1", "TSinf"])
def test_contracting_dynamics_reach_the_stationary_variance(propagation):
    model = linear([0.6, 0.6], [0.0, 0.0], STD, propagation=propagation, particles=20_000)
    obs = unroll(model, 10, start=2.0).obs[..., 0]
    np.testing.assert_allclose(obs.mean(1), 2.0 * 0.6**STEPS, atol=0.02)
    np.testing.assert_allclose(obs.var(1), STD**2 * (1 - 0.36**STEPS) / (1 - 0.36), rtol=0.05)


def test_tsinf_keeps_every_particle_with_its_member():
    model = linear([1.0] * 3, [-1.0, 0.0, 2.0], 1e-9, propagation="TSinf", particles=6)
    obs = unroll(model, 4).obs[..., 0]
    np.testing.assert_allclose(obs, STEPS[:4, None] * np.repeat([-1.0, 0.0, 2.0], 2), atol=1e-5)


def test_ts1_deals_every_member_the_same_number_of_particles_at_every_step():
    model = linear([1.0] * 3, [-1.0, 0.0, 2.0], 1e-9, propagation="TS1", particles=6)
    obs = np.asarray(unroll(model, 8).obs[..., 0])
    changes = np.diff(obs, axis=0, prepend=0.0)
    np.testing.assert_allclose(np.sort(changes, 1), np.tile([-1.0, -1.0, 0.0, 0.0, 2.0, 2.0], (8, 1)), atol=1e-5)
    assert len({tuple(np.round(row)) for row in changes}) > 1


@pytest.mark.parametrize("common", [False, True])
def test_ts1_deals_every_candidate_in_an_order_of_its_own_unless_noise_is_common(common):
    model = linear([1.0] * 3, [-1.0, 0.0, 2.0], 1e-9, propagation="TS1", particles=6)
    step = model.step_alike if common else model.step
    moved = step(EnsembleBelief(*[jnp.zeros((6, 40, 1))] * 3), jnp.zeros((6, 40, 1)), key=jr.key(2))[0].obs[..., 0]
    moved = np.round(np.asarray(moved))
    np.testing.assert_array_equal(np.sort(moved, 0), np.tile([[-1.0], [-1], [0], [0], [2], [2]], 40))
    assert (np.ptp(moved, 1).max() == 0) == common


@pytest.mark.parametrize("propagation", ["E", "DS", "MM", "TS1", "TSinf"])
def test_candidates_that_are_alike_are_stepped_as_one_by_one_with_the_same_key(propagation):
    particles = 1 if propagation == "E" else 6
    model = linear([0.5, 0.8, 1.1], [0.1, -0.1, 0.3], STD, propagation=propagation, particles=particles)
    obs, action = (jr.normal(jr.key(i), (particles, 5, 1)) for i in range(2))
    together = model.step_alike(EnsembleBelief(obs, obs, 0 * obs), action, key=jr.key(2))
    singly = AbstractModel.step_alike(model, EnsembleBelief(obs, obs, 0 * obs), action, key=jr.key(2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), together, singly)


def test_ts1_keeps_each_particles_own_action():
    model = linear([1.0, 1.0], [0.0, 0.0], 1e-9, propagation="TS1", particles=4)
    actions = jnp.array([[-1.0], [-0.5], [0.5], [1.0]])
    belief, said = model.step(model.init(jnp.zeros(1), key=jr.key(0)), actions, key=jr.key(3))
    np.testing.assert_allclose(belief.obs, actions, atol=1e-6)
    np.testing.assert_allclose(said.reward, actions[:, 0], atol=1e-6)


def test_expectation_follows_the_mean_of_the_means():
    model = linear([0.5, 0.9], [0.2, 0.0], 5.0, propagation="E", particles=1)
    obs = unroll(model, 10, start=1.0, action=0.1).obs[:, 0, 0]
    x, expected = 1.0, []
    for _ in STEPS:
        x = (0.5 * x + 0.2 + 0.9 * x) / 2 + 0.1
        expected.append(x)
    np.testing.assert_allclose(obs, expected, rtol=1e-5)


def test_distribution_sampling_has_the_mixtures_moments():
    model = linear([1.0] * 4, OFFSETS, STD, propagation="DS", particles=40_000)
    belief = jax.tree.map(lambda x: x[0], unroll(model, 1, start=1.0))
    np.testing.assert_allclose(belief.obs.mean(), 1.0 + np.mean(OFFSETS), atol=0.02)
    np.testing.assert_allclose(belief.obs.var(), np.var(OFFSETS) + STD**2, rtol=0.03)
    # One Gaussian, not one bump per member: no excess kurtosis.
    z = (belief.obs - belief.obs.mean()) / belief.obs.std()
    assert abs(float((z**4).mean()) - 3) < 0.1


def test_moment_matching_propagates_mean_and_variance_of_a_linear_system():
    model = linear([0.5, 0.5], [0.4, -0.4], STD, propagation="MM", particles=40_000)
    obs = unroll(model, 6, start=2.0).obs[..., 0]
    variance, expected = 0.0, []
    for _ in range(6):
        variance = 0.25 * variance + 0.16 + STD**2
        expected.append(variance)
    np.testing.assert_allclose(obs.mean(1), 2.0 * 0.5 ** STEPS[:6], atol=0.02)
    np.testing.assert_allclose(obs.var(1), expected, rtol=0.05)


def test_moment_matching_forgets_which_particle_was_where():
    model = linear([1.0], [0.0], 0.01, propagation="MM", particles=5_000)
    obs = unroll(model, 2).obs[..., 0]
    assert abs(np.corrcoef(obs[0], obs[1])[0, 1]) < 0.05


@pytest.mark.parametrize("propagation", ["DS", "MM", "TS1", "TSinf"])
def test_observation_is_the_distribution_that_the_step_drew_from(propagation):
    model = linear([0.7, 0.7], [-0.5, 0.5], STD, propagation=propagation, particles=40_000)
    first = model.init(jnp.array([1.0]), key=jr.key(0))
    spread = eqx.tree_at(lambda b: b.obs, first, jr.normal(jr.key(9), first.obs.shape))
    belief, _ = model.step(spread, jnp.zeros((40_000, 1)), key=jr.key(1))
    said = model.observation(belief)
    z = (belief.obs - said.mean()) / jnp.sqrt(said.variance())
    np.testing.assert_allclose([float(z.mean()), float(z.std())], [0.0, 1.0], atol=0.02)
    assert abs(float((z**4).mean()) - 3) < 0.1


@pytest.mark.parametrize("propagation", ["TS1", "TSinf", "DS", "E"])
def test_only_elites_predict(propagation):
    particles = 1 if propagation == "E" else 4
    model = linear(
        [1.0] * 3, [5.0, 1.0, 1.0], 1e-9, propagation=propagation, particles=particles, elites=2
    ).with_elites(jnp.array([3.0, 1.0, 2.0]))
    assert model.elites.tolist() == [1, 2]
    np.testing.assert_allclose(unroll(model, 1).obs.ravel(), 1.0, atol=1e-5)


def test_given_reward_and_termination_see_the_whole_transition():
    given = Given(
        lambda obs, action, next_obs: 100 * obs[0] + 10 * action[0] + next_obs[0],
        lambda obs, action, next_obs: next_obs[0] > 1.5,
    )
    model = linear([1.0, 1.0], [0.0, 1.0], 1e-9, propagation="TSinf", particles=2, given=given)
    belief = model.init(jnp.array([0.5]), key=jr.key(0))
    _, said = model.step(belief, jnp.full((2, 1), 0.25), key=jr.key(1))
    np.testing.assert_allclose(said.reward, [50 + 2.5 + 0.75, 50 + 2.5 + 1.75], rtol=1e-5)
    np.testing.assert_array_equal(said.continuation, [1.0, 0.0])


def test_batch_axes_are_stepped_as_candidates_one_by_one():
    model = linear([0.5, 0.8], [0.1, -0.1], 1e-9, propagation="TSinf", particles=4, given=Given())
    weights = lambda m: [network.weights[0] for network in m.networks]
    model = eqx.tree_at(weights, model, [w + 0.1 for w in weights(model)])
    obs = jr.normal(jr.key(0), (4, 3, 1))
    actions = jr.uniform(jr.key(1), (4, 3, 1))
    blank = model.init(jnp.zeros(1), key=jr.key(0))
    with_obs = lambda o: eqx.tree_at(lambda b: (b.obs, b.mean, b.variance), blank, (o, o, 0 * o))
    deterministic = eqx.tree_at(lambda m: (m.min_logvar, m.max_logvar), model, (jnp.full(2, -60.0), jnp.full(2, -50.0)))
    belief, said = deterministic.step(with_obs(obs), actions, key=jr.key(2))
    for c in range(3):
        one, said_one = deterministic.step(with_obs(obs[:, c]), actions[:, c], key=jr.key(2))
        np.testing.assert_allclose(belief.obs[:, c], one.obs, atol=1e-5)
        np.testing.assert_allclose(said.reward[:, c], said_one.reward, atol=1e-5)
        np.testing.assert_allclose(said.continuation[:, c], said_one.continuation, atol=1e-5)


def test_soft_bounds_hold_whatever_the_network_says():
    model = Ensemble(SPEC, given=GIVEN, num_members=2, hidden=(8,), particles=2, key=jr.key(0))
    for scale in (-1e3, 1e3):
        last = lambda m: [network.biases[-1] for network in m.networks]
        wild = eqx.tree_at(last, model, [jnp.full_like(b, scale) for b in last(model)])
        _, raw, *_ = wild.network(jr.normal(jr.key(1), (2, 2, 5)))
        logvar = wild.bounded(raw)
        assert np.all(logvar >= -10.001) and np.all(logvar <= 0.501)
        np.testing.assert_allclose(wild.variance(raw), jnp.exp(logvar), rtol=1e-4)


# ---- all members, and what they predict


def test_every_member_answers_for_the_same_transitions_elite_or_not():
    gains, offsets = [0.5, 0.7, 0.9], [0.1, 0.0, -0.2]
    model = linear(gains, offsets, STD, propagation="TSinf", particles=2, elites=2)
    obs, action = jnp.linspace(-1, 1, 4)[:, None], jnp.full((4, 1), 0.25)
    said = model.members(obs, action)
    expected = np.array(gains)[:, None] * np.asarray(obs)[:, 0] + np.array(offsets)[:, None] + 0.25
    np.testing.assert_allclose(said.mean[..., 0], expected, atol=1e-6)
    np.testing.assert_allclose(said.variance, STD**2, rtol=1e-4)
    given = GIVEN.reward, GIVEN.termination
    at = lambda f: np.array([[f(o, a, m) for o, a, m in zip(obs, action, row)] for row in said.mean])
    np.testing.assert_allclose(said.reward, at(given[0]), atol=1e-6)
    np.testing.assert_allclose(said.continuation, 1 - at(given[1]).astype(float), atol=1e-6)
    assert model.members(obs[0], action[0]).reward.shape == (3,)


def test_members_say_learned_rewards_and_ends():
    data, mask = random_rows(64, SPEC), jnp.ones(64, bool)
    model = Ensemble(SPEC, given=Given(), num_members=3, hidden=(8,), particles=3, key=KEY).normalised(data, mask)
    said = model.members(data.obs, data.action)
    assert said.mean.shape == (3, 64, SPEC.obs_dim + 1) and said.reward.shape == said.continuation.shape == (3, 64)
    for member in range(3):  # each is what an ensemble of it alone expects
        one = eqx.tree_at(lambda m: m.elites, replaced(model, num_elites=1, particles=1), jnp.array([member]))
        belief, prediction = one.step(EnsembleBelief(*[data.obs[None]] * 3), data.action[None], key=KEY)
        np.testing.assert_allclose(said.mean[member, :, : SPEC.obs_dim], belief.mean[0], atol=1e-5)
        np.testing.assert_allclose(said.continuation[member], prediction.continuation[0], atol=1e-6)
        np.testing.assert_allclose(said.reward[member], prediction.reward[0], atol=1e-5)


@pytest.mark.parametrize("target", ["delta", "next"])
def test_either_target_is_normalised_by_its_own_columns_and_learns_the_same_system(target):
    spec = EnvSpec("two", 2, Box((-1.0,), (1.0,)))
    keys = jr.split(jr.key(1), 3)
    obs = jr.uniform(keys[0], (256, 2), minval=-1) * jnp.array([1.0, 1000.0])
    action = jr.uniform(keys[1], (256, 1), minval=-1)
    next_obs = obs * jnp.array([0.5, 0.5]) + action * jnp.array([0.5, 500.0])
    no = jnp.zeros(256, bool)
    data = Transition(obs, action, jnp.zeros(256), next_obs, no, no)
    model = Ensemble(spec, given=GIVEN, num_members=2, hidden=(32,), particles=2, target=target, key=KEY)
    fitted = model.normalised(data, ~no)
    wanted = next_obs - (obs if target == "delta" else 0)
    np.testing.assert_allclose(fitted.targets.scale, np.std(wanted, 0), rtol=1e-4)
    np.testing.assert_allclose(model.wanted(data), wanted, rtol=1e-5)
    learner = GradientLearner(model, epochs=60, learning_rate=3e-3)
    learner, _ = eqx.filter_jit(learner.fit)(UniformReplay.empty(spec, 256).add(data), key=KEY)
    error = learner.model.members(obs, action).mean.mean(0) - next_obs
    assert np.all(np.std(error, 0) < 0.1 * np.std(next_obs, 0))


def test_an_unknown_target_is_named():
    with pytest.raises(ValueError, match="target='change' must be delta or next"):
        Ensemble(SPEC, given=GIVEN, target="change", key=jr.key(0))


# ---- angles, discrete actions, normalisation


def test_angles_are_seen_as_sine_and_cosine_and_change_the_short_way_round():
    spec = EnvSpec("turn", 2, Box((-1.0,), (1.0,)), angle_dims=(1,))
    model = Ensemble(spec, given=GIVEN, num_members=1, hidden=(), particles=1, key=jr.key(0))
    full_turn = jnp.array([0.0, 2 * jnp.pi])
    obs, action = jnp.array([0.3, 3.0]), jnp.zeros(1)
    np.testing.assert_allclose(model.encode(obs, action), [0.3, np.sin(3.0), np.cos(3.0), 0.0], atol=1e-6)
    np.testing.assert_allclose(model.encode(obs + full_turn, action), model.encode(obs, action), atol=1e-6)
    no = jnp.array(False)
    wrapped = Transition(obs, action, jnp.zeros(()), jnp.array([0.4, -3.0]), no, no)
    np.testing.assert_allclose(model.wanted(wrapped), [0.1, 2 * np.pi - 6.0], atol=1e-5)


def test_discrete_actions_enter_one_hot_and_each_is_learned_apart():
    spec = EnvSpec("switch", 1, Discrete(3))
    model = Ensemble(
        spec,
        given=Given(lambda o, a, n: a.astype(float), never_terminates),
        num_members=1,
        hidden=(),
        particles=1,
        probabilistic=False,
        key=jr.key(0),
    )
    np.testing.assert_array_equal(model.encode(jnp.array([0.5]), jnp.array(2)), [0.5, 0.0, 0.0, 1.0])
    effect = jnp.array([0.3, -0.2, 0.05])
    model = eqx.tree_at(lambda m: m.networks[0].weights[0], model, jnp.concatenate([jnp.zeros(1), effect])[:, None])
    belief, said = model.step(model.init(jnp.zeros(1), key=jr.key(0)), jnp.array([1]), key=jr.key(0))
    np.testing.assert_allclose(belief.obs, [[-0.2]], atol=1e-6)
    np.testing.assert_allclose(said.reward, [1.0])


def spoken(reward: float, final: float, logit: float, **options):
    """A network that says the same of every step, in normalised units."""
    model = Ensemble(SPEC, given=Given(), num_members=1, hidden=(), particles=1, key=jr.key(0), **options)
    bias = jnp.array([0.0, reward] + [-20.0] * 2 * model.probabilistic + [final, logit])[:, None]
    return eqx.tree_at(lambda m: m.networks, model, [Network([jnp.zeros((2, len(bias)))], [bias])])


@pytest.mark.parametrize("probabilistic", [False, True])
def test_a_learned_reward_is_the_expectation_over_whether_the_step_ends_the_episode(probabilistic):
    model = spoken(1.0, -100.0, jnp.log(0.25 / 0.75), probabilistic=probabilistic)
    _, said = model.step(model.init(jnp.zeros(1), key=jr.key(0)), jnp.zeros((1, 1)), key=jr.key(0))
    np.testing.assert_allclose(said.reward, [0.75 * 1 - 0.25 * 100], rtol=1e-5)
    np.testing.assert_allclose(said.continuation, [0.75], rtol=1e-5)


def test_a_given_end_takes_the_reward_of_ends_where_it_happens():
    model = spoken(1.0, -100.0, 0.0)
    ends = lambda obs, action, next_obs: obs[0] > 0.5
    model = eqx.tree_at(lambda m: m.given, model, Given(None, ends))
    _, said = model.step(
        EnsembleBelief(*[jnp.array([[0.0, 1.0]]).reshape(1, 2, 1)] * 3), jnp.zeros((1, 2, 1)), key=jr.key(0)
    )
    np.testing.assert_allclose(said.reward, [[1.0, -100.0]])


def test_rewards_of_ends_have_a_scale_of_their_own_even_where_there_are_few():
    reward, ended = jnp.array([1.0, 3.0, 1.0, 3.0, -100.0, 100.0]), jnp.array([0, 0, 0, 0, 1, 1], bool)
    zero = jnp.zeros((6, 1))
    model = Ensemble(SPEC, given=Given(), num_members=1, hidden=(), particles=1, key=jr.key(0))
    scales = lambda mask: model.normalised(Transition(zero, zero, reward, zero, ended, ~ended), mask)
    whole, one, none = (scales(jnp.arange(6) < n) for n in (6, 5, 4))
    for fitted in (whole, one, none):
        np.testing.assert_allclose((fitted.targets.loc[1], fitted.targets.scale[1]), (2.0, 1.0))
    finals = [(m.final_reward.loc[0], m.final_reward.scale[0]) for m in (whole, one, none)]
    np.testing.assert_allclose(finals, [(0.0, 100.0), (-100.0, 1.0), (2.0, 1.0)], atol=1e-4)


def test_a_learned_reward_is_normalised_where_changes_are_not():
    zero, no = jnp.zeros((2, 1)), jnp.zeros(2, bool)
    model = Ensemble(SPEC, given=Given(), num_members=1, particles=1, normalise_targets=False, key=jr.key(0))
    fitted = model.normalised(Transition(zero, zero, jnp.array([0.0, 200.0]), zero + 7.0, no, no), ~no)
    np.testing.assert_allclose((fitted.targets.loc, fitted.targets.scale), ([0.0, 100.0], [1.0, 100.0]))


def test_constant_columns_map_to_zero_and_back():
    x = jnp.stack([jnp.full(50, 1234.5), jr.normal(jr.key(0), (50,)) * 1e-3, jnp.zeros(50)], 1)
    norm = Normaliser.of(x, jnp.ones(50, bool))
    y = norm(x)
    np.testing.assert_allclose(y[:, [0, 2]], 0.0, atol=1e-3)
    np.testing.assert_allclose([float(y[:, 1].mean()), float(y[:, 1].std())], [0.0, 1.0], atol=1e-4)
    np.testing.assert_allclose(norm.inverse(y), x, rtol=1e-5)
    assert float(norm(jnp.array([1235.5, 0.0, 0.0]))[0]) == pytest.approx(1.0, abs=1e-3)


def test_statistics_are_those_of_the_rows_in_use_whatever_the_others_hold():
    x = random_rows(20).obs
    used = jnp.arange(20) < 12
    plain = Normaliser.of(x[:12], jnp.ones(12, bool))
    for garbage in (1e30, jnp.inf, jnp.nan):
        norm = Normaliser.of(jnp.where(used[:, None], x, garbage), used)
        np.testing.assert_allclose(norm.loc, plain.loc, rtol=1e-6)
        np.testing.assert_allclose(norm.scale, plain.scale, rtol=1e-6)


def test_predictions_are_in_the_observations_own_units():
    # The same linear map through normalised inputs and targets.
    model = linear([0.5], [0.3], 0.2, propagation="TSinf", particles=20_000)
    inputs, targets = (
        Normaliser(jnp.array([1.0, 0.0]), jnp.array([4.0, 2.0])),
        Normaliser(jnp.full(1, 2.0), jnp.full(1, 3.0)),
    )
    (network,) = model.networks
    weight = network.weights[0].at[:, 0].set(jnp.array([-0.5 * 4 / 3, 2 / 3]))
    bias = network.biases[0].at[0, 0].set((0.3 - 0.5 - 2.0) / 3).at[1, 0].set(2 * jnp.log(0.2 / 3))
    parts = ([Network([weight], [bias])], inputs, targets)
    scaled = eqx.tree_at(lambda m: (m.networks, m.inputs, m.targets), model, parts)
    a, b = unroll(model, 3, start=2.0, action=0.7), unroll(scaled, 3, start=2.0, action=0.7)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-4)
    np.testing.assert_allclose(a.variance, b.variance, rtol=1e-4)


# ---- learning (small, on one compiled fit each)


def replay_of(spec, batch):
    return UniformReplay.empty(spec, batch.reward.shape[0]).add(batch)


def fitted(model, batch, **options):
    learner = GradientLearner(model, **options)
    return eqx.filter_jit(lambda who, r, k: who.fit(r, key=k))(learner, replay_of(model.spec, batch), jr.key(1))[
        0
    ].model


@pytest.mark.slow
def test_network_covers_ninety_percent_on_heteroscedastic_data():
    def draw(key, n):
        x_key, noise_key = jr.split(key)
        x = jr.uniform(x_key, (n, 1), minval=-2.0, maxval=2.0)
        noise = (0.1 + 0.3 * jnp.abs(x)) * jr.normal(noise_key, (n, 1))
        zero, no = jnp.zeros(n), jnp.zeros(n, bool)
        return Transition(x, jnp.zeros((n, 1)), zero, x + jnp.sin(2 * x) + noise, no, no)

    model = Ensemble(SPEC, given=GIVEN, num_members=1, hidden=(32, 32), particles=1, key=jr.key(0))
    model = fitted(model, draw(jr.key(2), 2000), learning_rate=3e-3, epochs=60, batch_size=128)
    test = draw(jr.key(3), 5000)
    belief, _ = jax.vmap(lambda o, a: model.step(model.init(o, key=jr.key(0)), a[None], key=jr.key(0)))(
        test.obs, test.action
    )
    said = model.observation(belief)
    z = jnp.abs(test.next_obs - said.mean()[:, 0]) / jnp.sqrt(said.variance()[:, 0])
    near, far = jnp.abs(test.obs) < 0.7, jnp.abs(test.obs) > 1.3
    inside = z < 1.645
    assert 0.87 < float(inside.mean()) < 0.93
    # Not right on average only: also where the noise is small and where it is large.
    assert 0.84 < float(inside[near].mean()) < 0.96 and 0.84 < float(inside[far].mean()) < 0.96
    bounds = model.max_logvar - model.min_logvar
    assert np.all(bounds < 10.5 - 0.1)  # learned: drawn together by their price


@pytest.mark.slow
def test_learned_reward_and_termination_are_learned():
    keys = jr.split(jr.key(0), 2)
    x, a = jr.uniform(keys[0], (600, 1), minval=-1.0), jr.uniform(keys[1], (600, 1), minval=-1.0)
    no = jnp.zeros(600, bool)
    batch = Transition(x, a, 3 + 2 * x[:, 0] - a[:, 0], x + 0.1 * a, x[:, 0] + a[:, 0] > 0.5, no)
    model = Ensemble(SPEC, given=Given(), num_members=1, hidden=(16,), particles=1, probabilistic=False, key=jr.key(1))
    model = fitted(model, batch, learning_rate=1e-2, epochs=60, batch_size=100)
    _, said = jax.vmap(lambda o, a: model.step(model.init(o, key=jr.key(0)), a[None], key=jr.key(0)))(x, a)
    error = np.abs(said.reward[:, 0] - batch.reward)
    assert error.mean() < 0.1
    ended = np.asarray(batch.terminated)
    right = (said.continuation[:, 0] < 0.5) == ended
    assert right.mean() > 0.97 and 0.1 < ended.mean() < 0.5


@pytest.mark.slow
def test_large_rewards_of_rare_ends_do_not_drown_the_others():
    x = jr.uniform(jr.key(0), (1000, 1), minval=-1.0)
    ends = x[:, 0] > 0.9  # one step in twenty
    reward = jnp.where(ends, -100.0, jnp.sin(3 * x[:, 0]))
    batch = Transition(x, 0 * x, reward, 0.9 * x, ends, ~ends)
    model = Ensemble(SPEC, given=Given(), num_members=1, hidden=(32,), particles=1, key=jr.key(1))
    model = fitted(model, batch, learning_rate=3e-3, epochs=60)
    _, said = jax.vmap(lambda o, a: model.step(model.init(o, key=jr.key(0)), a[None], key=jr.key(0)))(x, 0 * x)
    error, going = np.asarray(said.reward[:, 0] - reward), np.asarray(x[:, 0] < 0.7)
    # With one output for all rewards: -1.9, and a median error of 6 deviations in place of 0.02.
    assert 1 - np.mean(error**2) / np.var(reward) > 0.6
    # Nearer to the edge it cannot tell whether the step ends.
    assert np.median(np.abs(error[going])) < 0.1 * np.std(reward[going])


@pytest.mark.slow
def test_rare_reward_is_learned_beside_dynamics_that_are_precise():
    x = jr.uniform(jr.key(0), (1000, 1), minval=-1.0)
    batch = Transition(x, 0 * x, jnp.exp(-((x[:, 0] - 0.9) ** 2) / 0.05), 0.9 * x, *2 * [jnp.zeros(1000, bool)])
    model = Ensemble(
        SPEC, given=Given(None, never_terminates), num_members=1, hidden=(32, 32), particles=1, key=jr.key(1)
    )
    model = fitted(model, batch, epochs=60)
    mean, raw, *_ = model.network(model.encode(batch.obs, batch.action).T[None])
    said = mean[0, 1] * model.targets.scale[1] + model.targets.loc[1]
    error = jnp.sqrt(jnp.mean((said - batch.reward) ** 2)) / batch.reward.std()
    assert float(error) < 0.3  # without the weight of the reward it is 1: nothing is learned
    stated = jnp.sqrt(jnp.mean(model.variance(raw)[0, 1]))
    assert 0.5 < float(stated / error) < 2.0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_members": 0}, "num_members=0 must be at least 1"),
        ({"num_elites": 6}, "num_elites=6 must be between 1 and num_members=5"),
        ({"hidden": (4, 0)}, r"hidden=\(4, 0\)"),
        ({"particles": 0}, "particles=0 must be at least 1"),
        ({"particles": 18}, "particles=18 must be a multiple of num_members=5; use 15 or 20"),
        ({"particles": 3, "num_elites": 2}, "must be a multiple of num_elites=2; use 2 or 4"),
        ({"propagation": "TS2"}, "propagation='TS2' must be one of"),
        ({"propagation": "E", "particles": 5}, "particles=5 must be 1 with propagation='E'"),
        ({"weight_decay": (0.1,)}, r"weight_decay=\(0.1,\) must have one value per layer"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        Ensemble(SPEC, given=GIVEN, key=jr.key(0), **sizes)


def test_given_model_is_not_carried_in_the_ensemble():
    model = Ensemble(SPEC, given=Given(None, None, model=jnp.zeros(3)), particles=5, key=jr.key(0))
    assert model.given.model is None


def test_swish_and_its_gradient_are_those_of_silu():
    x = jnp.linspace(-20.0, 20.0, 2001)
    np.testing.assert_allclose(swish(x), jax.nn.silu(x), atol=4e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(swish))(x), jax.vmap(jax.grad(jax.nn.silu))(x), atol=4e-6)


def test_relu_and_xavier_are_as_nagabandi_et_al_have_them():
    (network,) = make_networks(1, [3, 200, 2], "relu", "xavier", key=jr.key(0))
    limit = (6 / 203) ** 0.5
    assert 0.97 * limit < jnp.abs(network.weights[0]).max() <= limit
    x = jnp.array([[1.0, -1.0], [0.5, 2.0], [0.0, 0.3]])
    np.testing.assert_allclose(network(x), network.weights[1].T @ jnp.maximum(network.weights[0].T @ x, 0), rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"activation": "tanh"}, {"initialisation": "zeros"}])
def test_networks_of_unknown_kinds_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Ensemble(SPEC, given=GIVEN, num_members=1, particles=1, key=jr.key(0), **wrong)
