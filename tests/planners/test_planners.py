"""Claims about every planner."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_toys import (
    BOX,
    Cliff,
    Lock,
    Poisoned,
    Quadratic,
    act,
    belief_at,
    box_planners,
    discrete_planners,
    label,
    lock_optimum,
    refine,
)

from forethought.planners import CEM, ICEM, MPPI, GradientPlanner, RandomShooting, rollout
from forethought.types import Box, Discrete

KEY = jax.random.key(3)
PLANNERS = box_planners() + discrete_planners()
GRADIENT_FREE = [p for p in PLANNERS if not isinstance(p, GradientPlanner)]
each = pytest.mark.parametrize("planner", PLANNERS, ids=label)


def model_for(planner):
    return Lock() if isinstance(planner.action, Discrete) else Quadratic()


def same(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@each
def test_begin_refine_best_equals_one_call_and_may_go_on(planner):
    model = model_for(planner)
    belief = belief_at(model, 1.0)
    search = planner.begin(planner.init())
    for i in range(planner.iterations):
        search = refine(planner, model, belief, search, jax.random.fold_in(KEY, i))
    same(act(planner, model, belief, planner.init(), KEY), planner.best(search), rtol=1e-4, atol=1e-5)
    assert np.isfinite(planner.best(refine(planner, model, belief, search, KEY))[1].value)


@pytest.mark.parametrize("planner", [PLANNERS[1], PLANNERS[4], PLANNERS[7]], ids=label)
def test_compiled_equals_eager(planner):
    model = model_for(planner)
    belief = belief_at(model, 1.0)
    search = planner.begin(planner.init())
    eager = planner.refine(model, belief, search, key=KEY)
    same(refine(planner, model, belief, search, KEY), eager, rtol=1e-4, atol=1e-5)


def test_traced_once_over_an_episode():
    planner, model, traces = CEM(BOX, 4, 64, 8, 3), Quadratic(), []

    @eqx.filter_jit
    def act(belief, plan, key):
        traces.append(1)
        return planner(model, belief, plan, key=key)

    plan = planner.init()
    for i in range(3):
        _, plan = act(belief_at(model, float(i)), plan, jax.random.key(i))
    assert len(traces) == 1


@each
def test_a_plan_keeps_its_types_from_call_to_call_so_that_none_traces_again(planner):
    model = model_for(planner)
    first = planner.init()
    _, later = eqx.filter_eval_shape(planner, model, belief_at(model, 1.0), first, key=KEY)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(later), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
    assert jax.tree.structure(first) == jax.tree.structure(later)


@each
def test_without_refinement_the_plan_is_the_warm_start_and_its_value_unknown(planner):
    action, plan = planner.best(planner.begin(planner.init()))
    expected = 0 if isinstance(planner.action, Discrete) else [0.5]
    np.testing.assert_array_equal(action, expected)
    assert plan.actions.shape == (4, *planner.action.shape) and plan.value == -np.inf


@each
def test_the_first_action_of_the_plan_is_executed_with_the_action_dtype(planner):
    model = model_for(planner)
    action, plan = act(planner, model, belief_at(model, 1.0), planner.init(), KEY)
    np.testing.assert_array_equal(action, plan.actions[0])
    assert action.dtype == (jnp.int32 if isinstance(planner.action, Discrete) else jnp.float32)
    assert action.shape == planner.action.shape


@pytest.mark.parametrize(
    "planner", [*discrete_planners(), CEM(Discrete(3), 4, 128, 12, 6, return_mean=False)], ids=label
)
def test_discrete_planners_find_the_best_of_all_sequences(planner):
    best, value = lock_optimum(4)
    model = Lock()
    _, plan = act(planner, model, belief_at(model, 1.0), planner.init(), KEY)
    np.testing.assert_array_equal(plan.actions, best)
    got = rollout(model, belief_at(model, 1.0), plan.actions[None], key=KEY)
    np.testing.assert_allclose(got, value, rtol=1e-5)


@pytest.mark.parametrize("planner", [PLANNERS[1], PLANNERS[2], PLANNERS[6], PLANNERS[8]], ids=label)
def test_no_planner_is_lured_by_what_comes_after_a_predicted_termination(planner):
    model = Cliff()
    action, plan = act(planner, model, belief_at(model, 0.0), planner.init(), KEY)
    assert action <= 0
    assert plan.value <= 4  # four steps that each pay at most 1


@pytest.mark.parametrize("planner", GRADIENT_FREE, ids=label)
def test_candidates_without_a_finite_return_are_never_chosen(planner):
    for poison in (float("nan"), float("inf")):
        model = Poisoned.saying(poison)
        _, plan = act(planner, model, belief_at(model, 0.0), planner.init(), KEY)
        assert (np.asarray(plan.actions) <= 1).all()
        assert np.isfinite(plan.value)
        jax.tree.map(lambda x: np.testing.assert_array_equal(np.isfinite(x), True), plan.warm)


@each
def test_a_model_that_only_says_nan_leaves_the_first_plan_and_an_unknown_value(planner):
    model = Poisoned.saying(float("nan"), above=-10.0)
    _, plan = act(planner, model, belief_at(model, 0.0), planner.init(), KEY)
    np.testing.assert_array_equal(plan.actions, planner.init().actions)
    assert plan.value == -np.inf
    jax.tree.map(lambda x: np.testing.assert_array_equal(np.isfinite(x), True), plan.warm)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    low=st.floats(-20, 20, width=32),
    width=st.floats(0.125, 30, width=32),
    at=st.floats(-40, 40, width=32),
    kind=st.integers(0, 4),
)
def test_actions_are_always_inside_the_bounds(low, width, at, kind):
    box = Box((low,), (low + width,))
    planner, model = box_planners(box)[kind], Quadratic()
    plan = planner.init()
    for i in range(2):
        _, plan = act(planner, model, belief_at(model, at), plan, jax.random.key(i))
        actions = np.asarray(plan.actions)
        assert actions.min() >= np.float32(low) and actions.max() <= np.float32(low + width)


def test_a_planner_runs_over_seeds_side_by_side_as_it_does_alone():
    planner, model = CEM(BOX, 4, 64, 8, 3), Quadratic()
    keys = jax.random.split(KEY, 3)
    starts = jnp.array([[1.0], [0.0], [-1.0]])

    def alone(start, key):
        return act(planner, model, model.init(start, key=key), planner.init(), key)

    together = jax.jit(jax.vmap(alone))(starts, keys)
    for i in range(3):
        same(jax.tree.map(lambda x, i=i: x[i], together), alone(starts[i], keys[i]), rtol=1e-4, atol=1e-5)


BAD = [
    (lambda: CEM(BOX, 0, 10, 2, 1), "horizon=0"),
    (lambda: CEM(BOX, 3, 10, 11, 1), "elites=11 must be at most population=10"),
    (lambda: CEM(BOX, 3, 10, 2, -1), "iterations=-1"),
    (lambda: CEM(BOX, 3, 10, 2, 1, momentum=1.0), "momentum=1.0"),
    (lambda: CEM(BOX, 3, 10, 2, 1, initial_std=0.0), "initial_std=0.0"),
    (lambda: CEM(BOX, 3, 10, 2, 1, discount=1.5), "discount=1.5"),
    (lambda: CEM(BOX, 3, 10.5, 2, 1), "population=10.5"),
    (lambda: RandomShooting(BOX, 3, 0), "population=0"),
    (lambda: ICEM(BOX, 3, 10, 2, beta=-1.0), "beta=-1.0"),
    (lambda: ICEM(BOX, 3, 10, 2, keep_fraction=1.0), "keep_fraction=1.0"),
    (lambda: MPPI(BOX, 3, 10, temperature=0.0), "temperature=0.0"),
    (lambda: MPPI(BOX, 3, 10, noise_std=float("nan")), "noise_std=nan"),
    (lambda: GradientPlanner(BOX, 3, restarts=0), "restarts=0"),
    (lambda: GradientPlanner(BOX, 3, learning_rate=-1.0), "learning_rate=-1.0"),
    (lambda: GradientPlanner(Discrete(3), 3), "use RandomShooting, CEM, ICEM or MPPI"),
]


@pytest.mark.parametrize("build, message", BAD, ids=[message for _, message in BAD])
def test_bad_sizes_are_refused_by_name_with_a_remedy(build, message):
    with pytest.raises(ValueError, match="use") as caught:
        build()
    assert message in str(caught.value)
