"""iLQR and LQR as planners in models."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from planner_toys import BOX, Lock, Quadratic, act, belief_at, quadratic_optimum, refine
from tiny import MODEL, Walk

from forethought.envs.acrobot import Acrobot
from forethought.envs.pendulum import Pendulum
from forethought.learners.model_planning import ensemble_learner
from forethought.models.simulator import Simulator
from forethought.models.world_model import WorldModel
from forethought.planners import ILQR, LQRPlanner, ilqr, rollout
from forethought.planners.choice import make_planner
from forethought.planners.model_problem import problem_of
from forethought.presets.parts import PlannerConfig
from forethought.presets.world_model import WorldModelConfig
from forethought.types import Box, Discrete, Given

KEY = jr.key(0)


def test_both_find_the_optimum_of_a_linear_quadratic_model():
    model = Quadratic()
    for planner in (ILQR(BOX, 4, iterations=2), LQRPlanner(BOX, 4)):
        actions, value = quadratic_optimum(1.0, 4)
        action, plan = act(planner, model, belief_at(model, 1.0), planner.init(), KEY)
        np.testing.assert_allclose(plan.actions[:, 0], actions, atol=1e-4)
        np.testing.assert_allclose(action, plan.actions[0])
        assert float(plan.value) == pytest.approx(value, rel=1e-4) and action.dtype == jnp.float32
        _, after = eqx.filter_eval_shape(planner, model, belief_at(model, 1.0), plan, key=KEY)
        same = lambda a, b: (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
        assert jax.tree.all(jax.tree.map(same, after, jax.eval_shape(lambda p=plan: p)))


def test_refinements_are_one_search_whose_value_never_falls_and_is_that_of_the_rollout():
    model = Simulator(Pendulum())
    planner = ILQR(Pendulum().spec.action, 12, iterations=3, restarts=2, discount=0.97)
    belief, search = belief_at(model, -1.0, 0.1, 0.0), planner.begin(planner.init())
    values = []
    for i in range(3):
        search = refine(planner, model, belief, search, jr.fold_in(KEY, i))
        values.append(np.asarray(search.value))
    assert (np.diff(values, axis=0) >= -1e-4).all() and (values[-1] > values[0]).any()
    returns = rollout(model, belief, search.actions, discount=0.97, key=KEY)
    np.testing.assert_allclose(returns, search.value, rtol=1e-4)
    action, plan = planner.best(search)
    best = int(np.argmax(search.value))
    np.testing.assert_array_equal(plan.actions, search.actions[best])
    np.testing.assert_array_equal(planner.begin(plan).actions[0, :-1], plan.actions[1:])
    assert int(plan.status) in (ilqr.RUNNING, ilqr.CONVERGED) and np.abs(action) <= 2


def test_the_state_is_what_matters_of_a_belief_and_nothing_else():
    env = Pendulum()
    belief = Simulator(env).init(jnp.array([1.0, 0.0, 0.5]), key=KEY)
    problem, state = problem_of(Simulator(env), belief, env.spec.action, horizon=3, key=KEY)
    assert problem.pack(state).shape == (2,)  # angle and speed, not what is seen of them, nor the clock
    moved = problem.unpack(problem.pack(state) + 1, state)
    np.testing.assert_array_equal(moved[0].obs, belief.obs)
    np.testing.assert_allclose(problem.pack(moved), problem.pack(state) + 1)
    with pytest.raises(ValueError, match=r"angle_dims=\(2,\) must lie in 0\.\.1"):
        problem_of(Simulator(env), belief, env.spec.action, horizon=3, angle_dims=(2,), key=KEY)
    with pytest.raises(ValueError, match="this one is discrete"):
        problem_of(Lock(), Lock().init(None, key=KEY), env.spec.action, horizon=3, key=KEY)


@pytest.mark.slow
def test_an_ensemble_is_followed_by_the_mean_of_its_members():
    spec = Walk().spec
    model = ensemble_learner(spec, MODEL, given=Given(), key=KEY).model
    sure = model.certain()
    obs, action = jnp.array([0.3, -0.2]), jnp.array([0.5])
    one = lambda model, key: model.step(model.init(obs, key=KEY), jnp.tile(action, (model.particles, 1)), key=key)
    step = eqx.filter_jit(one)
    (belief, said), (again, _) = step(sure, KEY), step(sure, jr.key(1))
    np.testing.assert_array_equal(belief.obs, again.obs)
    seen, _ = step(model, KEY)  # one particle of each member
    np.testing.assert_allclose(belief.obs[0], seen.mean.mean(0), rtol=1e-5)
    problem, state = problem_of(model, model.init(obs, key=KEY), spec.action, horizon=2, key=KEY)
    after, cost = problem.step(state, action, 0)
    np.testing.assert_allclose(problem.pack(after), belief.obs[0], rtol=1e-5)
    np.testing.assert_allclose(cost, -said.reward[0], rtol=1e-5)
    assert (sure.particles, model.particles) == (1, 2)


@pytest.mark.slow
def test_a_world_model_is_followed_without_chance_and_planned_in():
    sizes = {"deter": 4, "hidden": 4, "units": 4, "layers": 1, "head_layers": 1, "prior_layers": 1}
    config = WorldModelConfig(latent="gaussian", latents=3, cell="gru", continues=False, **sizes)
    model = WorldModel(Walk().spec, config, particles=2, key=KEY)
    planner = ILQR(Walk().spec.action, 3, iterations=1)
    belief = model.init(jnp.array([0.3, -0.2]), key=KEY)
    problem, state = problem_of(model, belief, planner.action, horizon=3, key=KEY)
    assert problem.pack(state).shape == (7,)
    sure, still = model.certain(), jnp.zeros((1, 1))
    first = jax.tree.map(lambda leaf: leaf[:1], belief)
    drawn = [sure.step(first, still, key=jr.key(k))[0].stoch for k in (1, 2)]
    np.testing.assert_array_equal(*drawn)
    values = [refine(planner, model, belief, planner.begin(planner.init()), KEY).value for _ in range(2)]
    assert np.isfinite(values[0]).all() and values[0] == values[1]


def test_a_cost_that_is_not_convex_in_the_control_is_an_error_of_lqr_when_it_runs():
    class Free(Quadratic):
        def step(self, belief, action, *, key):
            belief, said = super().step(belief, 0 * action, key=key)
            return belief, said

    model, planner = Free(), LQRPlanner(BOX, 2)
    with pytest.raises(Exception, match="not strictly concave in the control"):
        jax.block_until_ready(act(planner, model, belief_at(model, 1.0), planner.init(), KEY))


def test_discrete_actions_and_bad_numbers_are_named():
    for kind in ("ilqr", "lqr"):
        with pytest.raises(ValueError, match=f"kind='{kind}' needs continuous actions"):
            make_planner(Acrobot().spec.action, PlannerConfig(kind=kind))
    for planner in (ILQR, LQRPlanner):
        with pytest.raises(ValueError, match="must be a Box"):
            planner(Discrete(3), 5)
        with pytest.raises(ValueError, match="horizon=0"):
            planner(BOX, 0)
    with pytest.raises(ValueError, match="final_weight=-1"):
        ILQR(BOX, 5, final_weight=-1)
    assert isinstance(make_planner(Box((0.0,), (1.0,)), PlannerConfig(kind="ilqr", restarts=2)), ILQR)
