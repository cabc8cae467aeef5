"""Planners against known optima, and what is particular to each."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planner_toys import BOX, Quadratic, Rosenbrock, act, belief_at, quadratic_optimum, refine

from forethought.planners import CEM, ICEM, MPPI, GradientPlanner, RandomShooting, rollout
from forethought.planners.sequences import GaussianSequences
from forethought.types import Box

KEY = jax.random.key(5)


def plan_with(planner, model, *obs, plan=None, key=KEY):
    return act(planner, model, belief_at(model, *obs), planner.init() if plan is None else plan, key)[1]


@pytest.mark.parametrize(
    "planner",
    [
        CEM(BOX, 5, 300, 30, 15),
        ICEM(BOX, 5, 300, 30, 15, beta=0.5),
        MPPI(BOX, 5, 1000, iterations=15, temperature=0.05, adapt_variance=True, momentum=0.1),
        GradientPlanner(BOX, 5, restarts=4, iterations=300, learning_rate=0.05),
    ],
    ids=lambda p: type(p).__name__,
)
def test_the_linear_quadratic_optimum_is_found(planner):
    model = Quadratic()
    actions, value = quadratic_optimum(1.2, 5)
    plan = plan_with(planner, model, 1.2)
    np.testing.assert_allclose(plan.actions[:, 0], actions, atol=0.06)
    got = rollout(model, belief_at(model, 1.2), plan.actions[None], key=KEY)[0]
    np.testing.assert_allclose(got, value, rtol=5e-3)
    np.testing.assert_allclose(plan.value, value, rtol=5e-2)


def test_cem_walks_the_rosenbrock_valley_almost_to_its_end():
    """A diagonal Gaussian narrows before the end of a curved valley; its start is worth -1 a step."""
    box = Box((-2.0, -2.0), (2.0, 2.0))
    plan = plan_with(CEM(box, 2, 400, 40, 30, momentum=0.7), Rosenbrock(), 0.0)
    np.testing.assert_allclose(plan.actions, np.ones((2, 2)), atol=0.2)
    got = rollout(Rosenbrock(), belief_at(Rosenbrock(), 0.0), plan.actions[None], key=KEY)[0]
    assert -0.02 < got <= 0


def test_random_shooting_returns_the_best_candidate_of_all_iterations_and_its_return():
    model, planner = Quadratic(), RandomShooting(BOX, 3, 50, iterations=4)
    for seed in range(4):
        key = jax.random.key(seed)
        keys = [jax.random.split(jax.random.fold_in(key, i))[0] for i in range(4)]
        candidates = jnp.concatenate([BOX.sample((50, 3), key=k) for k in keys])
        returns = rollout(model, belief_at(model, 1.0), candidates, key=key)
        plan = plan_with(planner, model, 1.0, key=key)
        np.testing.assert_allclose(plan.value, returns.max(), rtol=1e-5)
        np.testing.assert_allclose(plan.actions, candidates[returns.argmax()], rtol=1e-5, atol=1e-6)


def test_warm_shooting_never_falls_behind_the_plan_it_starts_from():
    model, planner = Quadratic(), RandomShooting(BOX, 5, 4, warm_start=True)
    good, _ = quadratic_optimum(1.2, 5)
    plan = eqx.tree_at(lambda p: p.warm, planner.init(), jnp.asarray(good[:, None], jnp.float32))
    np.testing.assert_allclose(plan_with(planner, model, 1.2, plan=plan).actions[:, 0], good, rtol=1e-5)


def test_cem_without_return_mean_returns_a_candidate_and_its_exact_return():
    model = Quadratic()
    plan = plan_with(CEM(BOX, 3, 50, 5, 3, return_mean=False), model, 1.0)
    got = rollout(model, belief_at(model, 1.0), plan.actions[None], key=KEY)[0]
    np.testing.assert_allclose(plan.value, got, rtol=1e-5)


def test_one_cem_iteration_keeps_a_tenth_of_the_old_mean():
    """The reward pulls every action to the upper bound; one elite makes the new mean that candidate."""
    model = Quadratic()
    planner = CEM(BOX, 2, 40, 1, 1, momentum=0.1)
    search = planner.begin(planner.init())
    belief = belief_at(model, 1.0)
    new = refine(planner, model, belief, search, KEY)
    np.testing.assert_allclose(new.sequences.mean, 0.1 * search.sequences.mean + 0.9 * new.actions, rtol=1e-5)
    np.testing.assert_allclose(new.sequences.variance, 0.1 * search.sequences.variance, rtol=1e-5)


@pytest.mark.parametrize(
    "planner",
    [CEM(BOX, 4, 60, 6, 4), ICEM(BOX, 4, 60, 6, 4), MPPI(BOX, 4, 60)],
    ids=lambda p: type(p).__name__,
)
def test_the_warm_start_is_the_mean_one_step_on_with_a_fresh_variance(planner):
    model = Quadratic()
    search = planner.begin(planner.init())
    search = refine(planner, model, belief_at(model, 1.0), search, KEY)
    warm = planner.best(search)[1].warm
    sequences = warm.sequences if isinstance(planner, ICEM) else warm
    np.testing.assert_allclose(sequences.mean[:-1], search.sequences.mean[1:])
    np.testing.assert_allclose(sequences.mean[-1], [0.5])
    np.testing.assert_allclose(sequences.variance, np.full((4, 1), 25 / 16))


@pytest.mark.parametrize("kind", [CEM, MPPI, ICEM], ids=lambda k: k.__name__)
def test_warm_start_can_be_switched_off(kind):
    cold = {
        CEM: lambda: CEM(BOX, 3, 30, 3, 2, warm_start=False),
        ICEM: lambda: ICEM(BOX, 3, 30, 3, 2, warm_start=False),
        MPPI: lambda: MPPI(BOX, 3, 30, warm_start=False),
    }[kind]()
    model = Quadratic()
    first = plan_with(cold, model, 1.0)
    again = plan_with(cold, model, 1.0, plan=first)
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_icem_carries_its_elites_into_the_next_iteration_and_the_next_call():
    model, planner = Quadratic(), ICEM(BOX, 4, 60, 10, 4, keep_fraction=0.3)
    belief = belief_at(model, 1.0)
    search = refine(planner, model, belief, planner.begin(planner.init()), KEY)
    population = planner._population(search, KEY)
    np.testing.assert_array_equal(population[:3], search.kept)
    np.testing.assert_array_equal(search.kept[0], search.actions)
    following = planner.begin(planner.best(search)[1])
    population = planner._population(following, KEY)
    np.testing.assert_array_equal(population[:3, :-1], search.kept[:, 1:])
    assert np.ptp(np.asarray(population[:3, -1])) > 0  # a random last action, not the padding


def test_icem_tries_the_mean_in_its_last_iteration_only():
    planner = ICEM(BOX, 4, 60, 10, 2)
    search = planner.begin(planner.init())
    mean = np.asarray(search.sequences.mode())
    assert not (np.asarray(planner._population(search, KEY)[-1]) == mean).all()
    last = eqx.tree_at(lambda s: s.iteration, search, jnp.array(1, jnp.int32))
    np.testing.assert_array_equal(planner._population(last, KEY)[-1], mean)


def test_mppi_moves_to_the_softmax_weighted_mean():
    model, planner = Quadratic(), MPPI(BOX, 2, 20, temperature=0.7)
    belief, search = belief_at(model, 1.0), planner.begin(planner.init())
    new = refine(planner, model, belief, search, KEY)
    candidates = search.sequences.sample_clipped(20, 0.0, key=jax.random.split(KEY)[0])
    returns = np.asarray(rollout(model, belief, candidates, key=KEY), np.float64)
    weight = np.exp(returns / 0.7) / np.exp(returns / 0.7).sum()
    np.testing.assert_allclose(new.sequences.mean, np.einsum("n,nha->ha", weight, candidates), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(new.sequences.variance, search.sequences.variance)
    np.testing.assert_allclose(new.value, weight @ returns, rtol=1e-4)


def test_the_gradient_planner_approaches_a_bound_where_the_optimum_lies_beyond():
    planner = GradientPlanner(Box((-0.25,), (0.25,)), 1, restarts=2, iterations=200)
    plan = plan_with(planner, Quadratic(), 5.0)
    np.testing.assert_allclose(plan.actions, [[-0.25]], atol=2e-3)


def test_gradient_restarts_escape_a_local_optimum():
    class TwoPeaks(Quadratic):
        """Peaks at a = -1 (worth 1) and a = 2 (worth 3), a flat valley between."""

        def step(self, belief, action, *, key):
            belief, said = Quadratic.step(self, belief, action, key=key)
            a = action[..., 0]
            reward = jnp.exp(-8 * (a + 1) ** 2) + 3 * jnp.exp(-8 * (a - 2) ** 2)
            return belief, type(said)(reward, said.continuation)

    start = jnp.full((1, 1), -0.9)
    one = GradientPlanner(BOX, 1, restarts=1, iterations=100)
    many = GradientPlanner(BOX, 1, restarts=8, iterations=100)
    stuck = plan_with(one, TwoPeaks(), 0.0, plan=eqx.tree_at(lambda p: p.warm, one.init(), start))
    free = plan_with(many, TwoPeaks(), 0.0, plan=eqx.tree_at(lambda p: p.warm, many.init(), start))
    np.testing.assert_allclose(stuck.actions, [[-1.0]], atol=0.05)
    np.testing.assert_allclose(free.actions, [[2.0]], atol=0.05)


def test_a_restart_with_a_broken_gradient_does_not_break_the_others():
    class HalfBroken(Quadratic):
        def step(self, belief, action, *, key):
            belief, said = Quadratic.step(self, belief, action, key=key)
            return belief, type(said)(said.reward + jnp.sqrt(action[..., 0]), said.continuation)

    planner = GradientPlanner(BOX, 1, restarts=8, iterations=60)
    plan = plan_with(planner, HalfBroken(), 0.0)
    # maximum of sqrt(a) - 1.5 a^2
    np.testing.assert_allclose(plan.actions, [[(1 / 6) ** (2 / 3)]], atol=0.02)


def test_the_first_cem_population_is_that_of_the_initial_distribution():
    planner = CEM(BOX, 4, 60, 6, 4)
    search = planner.begin(planner.init())
    assert isinstance(search.sequences, GaussianSequences)
    np.testing.assert_allclose(search.sequences.variance, np.full((4, 1), 25 / 16))


def test_a_warm_start_on_a_bound_can_leave_it():
    planner = GradientPlanner(BOX, 1, restarts=1, iterations=200)
    start = eqx.tree_at(lambda p: p.warm, planner.init(), jnp.full((1, 1), 3.0))
    np.testing.assert_allclose(plan_with(planner, Quadratic(), 0.0, plan=start).actions, [[0.0]], atol=0.02)


def test_one_broken_gradient_does_not_spoil_the_steps_after_it():
    class Scaled(Quadratic):
        scale: jax.Array

        def step(self, belief, action, *, key):
            belief, said = Quadratic.step(self, belief, action, key=key)
            return belief, type(said)(said.reward * self.scale, said.continuation)

    planner, belief = GradientPlanner(BOX, 2, restarts=2), belief_at(Quadratic(), 1.0)
    search = planner.begin(planner.init())
    for scale in (1.0, float("nan"), 1.0):
        search = refine(planner, Scaled(jnp.array(scale, jnp.float32)), belief, search, KEY)
    assert np.isfinite(search.logits).all()
