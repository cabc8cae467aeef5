"""iLQR and DDP as solvers of functions, in double precision."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.cartpole_swingup import cartpole_derivative
from forethought.envs.pendulum import Pendulum
from forethought.planners import ilqr, lqr
from forethought.planners.box_qp import solve_box
from forethought.planners.ilqr import Options, Problem

STEPS = 8


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def linear_quadratic(rng):
    """A problem with cross terms, its dynamics, cost and terminal cost."""
    F, f = jnp.asarray(0.6 * rng.normal(size=(3, 5))), jnp.asarray(rng.normal(size=3))
    root, c = rng.normal(size=(5, 5)), jnp.asarray(rng.normal(size=5))
    C = jnp.asarray(root @ root.T + 0.1 * np.eye(5))
    both = lambda x, u: jnp.concatenate([x, u])
    cost = lambda x, u: 0.5 * both(x, u) @ C @ both(x, u) + c @ both(x, u)
    problem = Problem.of(lambda x, u: F @ both(x, u) + f, cost, lambda x: x @ x)
    along = lambda x: jnp.broadcast_to(x, (STEPS, *jnp.shape(x)))
    terminal = lqr.QuadraticValue(2 * jnp.eye(3), jnp.zeros(3), jnp.zeros(()))
    return problem, lqr.LinearDynamics(*map(along, (F, f))), lqr.QuadraticCost(*map(along, (C, c, 0.0))), terminal


def test_one_iteration_solves_a_linear_quadratic_problem_and_the_next_says_so():
    rng = np.random.default_rng(0)
    problem, *known = linear_quadratic(rng)
    x, u = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(STEPS, 2)))

    @jax.jit
    def twice(x, u):
        solution = lqr.backward(*known)
        value = jax.tree.map(lambda leaf: leaf[0], solution.value)
        best = 0.5 * x @ value.V @ x + value.v @ x + value.constant
        once = ilqr.iterate(problem, ilqr.start(problem, x, u), Options())
        return best, solution.policy.K, once, ilqr.iterate(problem, once, Options(second_order=True))

    best, K, once, again = twice(x, u)
    np.testing.assert_allclose(once.cost, best, rtol=1e-10)
    np.testing.assert_allclose(once.K, K, atol=1e-8)
    assert (int(once.status), int(again.status)) == (ilqr.RUNNING, ilqr.CONVERGED)
    np.testing.assert_array_equal(again.u, once.u)


def bent_problem():
    """Nonlinear in state and control, of two steps in effect: all second derivatives matter."""
    dynamics = lambda x, u: jnp.stack([x[0] + jnp.sin(x[1]) * u[0], x[1] + u[0] ** 2 + 0.3 * x[0] * u[1]])
    return Problem.of(dynamics, lambda x, u: 5 * u @ u, lambda x: jnp.sum((x - 1.0) ** 2))


def test_ddp_takes_newtons_step_and_ilqr_does_not():
    problem, x, u = bent_problem(), jnp.array([0.3, -0.4]), jnp.array([[0.2, 0.5]])
    total = lambda u: problem.step(x, u, 0)[1] + problem.terminal(problem.step(x, u, 0)[0])

    @jax.jit
    def steps(u):
        def proposed(second_order):
            options = Options(second_order=second_order)
            at = ilqr.start(problem, x, u)
            return ilqr.backward(problem, at, ilqr.expand(problem, at, options), options, jnp.zeros(())).k[0]

        return proposed(True), proposed(False), -jnp.linalg.solve(jax.hessian(total)(u[0]), jax.grad(total)(u[0]))

    ddp, gauss_newton, newton = steps(u)
    np.testing.assert_allclose(ddp, newton, rtol=1e-9)
    assert np.abs(gauss_newton - newton).max() > 1e-3


def test_programs_with_bounds_equal_the_best_of_all_sets_of_bounds():
    rng = np.random.default_rng(1)
    solve = jax.jit(solve_box)
    for _ in range(12):
        root, g = rng.normal(size=(3, 3)), 3 * rng.normal(size=3)
        H = root @ root.T + 0.1 * np.eye(3)
        low, high = -rng.uniform(0.0, 1.0, 3), rng.uniform(0.0, 1.0, 3)
        x, inverse, positive = map(np.asarray, solve(*map(jnp.asarray, (H, g, low, high))))
        best = np.inf
        for held in itertools.product((0, 1, 2), repeat=3):
            held = np.array(held)
            free, y = held == 0, np.where(held == 1, low, high)
            y[free] = np.linalg.solve(H[np.ix_(free, free)], -(g + H[:, ~free] @ y[~free])[free]) if free.any() else []
            if (y >= low - 1e-12).all() and (y <= high + 1e-12).all():
                best = min(best, 0.5 * y @ H @ y + g @ y)
        assert positive and 0.5 * x @ H @ x + g @ x == pytest.approx(best, abs=1e-9)
        free = (x > low) & (x < high)
        np.testing.assert_allclose(inverse[np.ix_(free, free)], np.linalg.inv(H[np.ix_(free, free)]), rtol=1e-8)
        assert not inverse[~free].any()
    assert not solve(-jnp.eye(3), jnp.ones(3), -jnp.ones(3), jnp.ones(3))[2]


def swing_up(horizon=100, dt=0.03):
    """The cart-pole of PILCO from hanging to upright, force within 10 N."""

    def dynamics(x, u):
        speed = x[2:] + dt * cartpole_derivative(x, u[0])[2:]
        return jnp.concatenate([x[:2] + dt * speed, speed])

    weights = jnp.array([100.0, 400.0, 20.0, 20.0])
    away = lambda x: jnp.stack([x[0], 2 * jnp.cos(x[1] / 2), x[2], x[3]])
    cost = lambda x, u: dt * (0.5 * jnp.sum(jnp.array([0.1, 1.0, 0.01, 0.01]) * away(x) ** 2) + 0.005 * u @ u)
    limits = {"low": jnp.array([-10.0]), "high": jnp.array([10.0])}
    problem = Problem.of(dynamics, cost, lambda x: 0.5 * weights @ away(x) ** 2, **limits)
    return problem, jnp.zeros(4), 0.1 * jr.normal(jr.key(0), (horizon, 1))


@pytest.fixture(scope="module")
def swung():
    with jax.enable_x64(True):
        problem, x, u = swing_up()
        search = lambda how: jax.jit(lambda x, u: ilqr.solve(problem, x, u, Options(line_search=how)))(x, u)
        return problem, search("parallel"), search("sequential")


@pytest.mark.slow
def test_cart_pole_swings_up_from_rest_within_its_limits(swung):
    problem, found, _ = swung
    assert int(found.status) == ilqr.CONVERGED and float(jnp.abs(found.u).max()) == 10.0
    last = np.asarray(found.states[-1])
    assert np.cos(last[1]) < -0.999 and np.abs(last[[0, 2, 3]]).max() < 0.05
    # Where a bound holds, pushing past it would pay; elsewhere the gradient is nil.
    free = dataclasses.replace(problem, low=None, high=None)
    total = jax.jit(jax.value_and_grad(lambda u: ilqr.start(free, found.states[0], u).cost))
    cost, gradient = (np.asarray(x) for x in total(found.u))
    gradient = gradient[:, 0]
    u = np.asarray(found.u)[:, 0]
    assert (gradient[u >= 10.0] < 0.01).all() and (gradient[u <= -10.0] > -0.01).all()
    assert np.abs(gradient[np.abs(u) < 10.0]).max() < 0.02
    assert cost == pytest.approx(float(found.cost))


def test_line_searches_one_by_one_and_at_once_find_the_same(swung):
    _, at_once, one_by_one = swung
    assert int(at_once.iterations) == int(one_by_one.iterations)
    np.testing.assert_allclose(at_once.u, one_by_one.u, atol=1e-9)


@pytest.mark.slow
def test_pendulum_swings_up_from_rest_among_256_starts_in_one_call():
    env = Pendulum()
    cost = lambda x, u: 0.05 * (jnp.sum(2 * (1 - jnp.cos(x[0]))) + 0.1 * x[1] ** 2 + 0.001 * u @ u)
    terminal = lambda x: 100 * (2 * (1 - jnp.cos(x[0]))) + 10 * x[1] ** 2
    problem = Problem.of(env.advance, cost, terminal, low=jnp.array([-2.0]), high=jnp.array([2.0]))
    angle = jnp.pi + jnp.linspace(-3.0, 3.0, 255)
    x = jnp.concatenate([jnp.array([[jnp.pi, 0.0]]), jnp.stack([angle, jnp.zeros(255)], -1)])
    u = jnp.broadcast_to(0.5 * jr.normal(jr.key(0), (80, 1)), (256, 80, 1))
    options = Options(tolerance=1e-4, max_iterations=100)
    found = jax.jit(lambda x, u: ilqr.solve_many(problem, x, u, options, lanes=64))(x, u)
    assert found.u.shape == (256, 80, 1)
    upright = np.cos(np.asarray(found.states[:, -1, 0])) > 0.99
    assert upright[0] and upright.mean() > 0.9
    ilqr.check_solved(jax.tree.map(lambda leaf: leaf[0], found))
    np.testing.assert_array_equal(found.states[:, 0], x)
    with pytest.raises(ValueError, match="lanes=0"):
        ilqr.solve_many(problem, x, u, options, lanes=0)


def test_angles_are_followed_the_short_way_round():
    wrap = lambda angle: (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
    cost = lambda x, u: 1 - jnp.cos(x[0] - 3.0) + 0.1 * x[1] ** 2 + 0.01 * u @ u
    free = lambda x, u: jnp.stack([x[0] + 0.1 * x[1], x[1] + 0.1 * u[0]])
    wrapped = lambda x, u: jnp.stack([wrap(x[0] + 0.1 * x[1]), x[1] + 0.1 * u[0]])
    short = lambda a, b: jnp.stack([wrap(a[0] - b[0]), a[1] - b[1]])
    x, u = jnp.array([-2.9, 0.5]), jnp.zeros((20, 1))  # the goal lies just across the seam
    plain = Problem.of(free, cost, lambda x: 0 * x[0])
    options = Options(convex=True, max_iterations=30)
    solve = lambda problem: jax.jit(lambda x, u: ilqr.solve(problem, x, u, options))(x, u)
    across = solve(Problem.of(wrapped, cost, lambda x: 0 * x[0], difference=short))
    assert np.ptp(np.asarray(across.states[:, 0])) > 6  # it does cross
    np.testing.assert_allclose(across.cost, solve(plain).cost, rtol=1e-6)


def test_giving_up_is_said_with_its_cause():
    unmoved = Problem.of(lambda x, u: x, lambda x, u: -u @ u, lambda x: x @ x)
    solve = jax.jit(lambda problem_x, u: ilqr.solve(unmoved, problem_x, u, Options(most=10.0)))
    lost = solve(jnp.ones(1), jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="gave up, no regularisation made the cost to go convex"):
        ilqr.check_solved(lost)
    with pytest.raises(ValueError, match=r"1 of 2 problems: the cost of the first controls is not finite"):
        ilqr.check_solved(
            ilqr.Solution(*[jnp.zeros(2)] * 3, jnp.array([1.0, jnp.nan]), *[jnp.zeros(2)] * 2, jnp.array([1, 2]), None)
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 1.0}, "factor=1.0"),
        ({"first": 1e12}, "first=.* at most most"),
        ({"regularise": "both"}, "state or control"),
        ({"step_sizes": 0}, "step_sizes"),
    ],
)
def test_options_that_cannot_be_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        Options(**options)


def pushed(low=None, high=None):
    """A point that is drawn to -5, or to 5 where `high` is given alone."""
    aim = -5.0 if high is None or high > 1 else 5.0
    away = lambda x: (x - aim) @ (x - aim)
    return Problem.of(lambda x, u: x + u, lambda x, u: away(x) + u @ u, away, low=low, high=high)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_limit_on_one_side_holds_as_both_would(sign):
    limit = jnp.array([0.5 * sign])
    one = pushed(low=limit) if sign < 0 else pushed(high=limit)
    both = pushed(limit, jnp.array([50.0])) if sign < 0 else pushed(jnp.array([-50.0]), limit)
    solve = lambda problem: ilqr.solve(problem, jnp.zeros(1), jnp.zeros((4, 1)))
    alone, limited = jax.jit(lambda: (solve(one), solve(both)))()
    assert np.abs(alone.u).max() <= 0.5 and int(alone.status) == ilqr.CONVERGED
    np.testing.assert_allclose(alone.u, limited.u, atol=1e-9)
    np.testing.assert_allclose(alone.u[:2], sign * 0.5 * np.ones((2, 1)), atol=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ([1.0], [-1.0], "must be at most high"),
        ([jnp.nan], [1.0], "must be at most high"),
        ([jnp.inf], [jnp.inf], "no finite number lies between"),
        (["a"], [1.0], "low=.* must be numbers"),
        ([0.0], [True], "high=.* must be numbers"),
    ],
)
def test_limits_that_leave_no_control_are_refused(low, high, said):
    low, high = np.array(low), np.array(high)
    with pytest.raises(ValueError, match=said):
        pushed(low, high)
    with pytest.raises(ValueError, match=said):
        solve_box(jnp.eye(1), jnp.ones(1), low, high)


@pytest.mark.parametrize("name", ["tolerance", "first", "least", "most", "factor", "decrease", "max_iterations"])
@pytest.mark.parametrize("value", ["1e-3", None, True, [1.0]])
def test_options_that_are_no_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}=.* must be"):
        Options(**{name: value})


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"low has shape \(2,\), wanted \(1,\)"):
        ilqr.start(pushed(low=-jnp.ones(2)), jnp.zeros(1), jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"u has shape \(0, 1\)"):
        ilqr.start(pushed(), jnp.zeros(1), jnp.zeros((0, 1)))


def test_redundant_controls_without_a_price_are_solved_by_either_regularisation():
    dynamics = lambda x, u: 0.9 * x + 0.1 * jnp.sin(x) + jnp.array([[1.0, 1.0]]) @ u
    problem = Problem.of(dynamics, lambda x, u: x @ x, lambda x: x @ x)
    solve = lambda kind: ilqr.solve(problem, jnp.array([2.0]), jnp.zeros((5, 2)), Options(regularise=kind))
    for found in jax.jit(lambda: (solve("state"), solve("control")))():
        assert int(found.status) == ilqr.CONVERGED
        np.testing.assert_allclose(found.cost, 4.0, rtol=1e-6)  # only the first state costs anything


def test_steps_made_small_by_regularisation_alone_are_no_convergence():
    @jax.custom_jvp
    def bowl(u):
        return (u - 1) @ (u - 1)

    bowl.defjvp(lambda at, along: (bowl(at[0]), -2 * (at[0] - 1) @ along[0]))  # the wrong way
    misled = Problem.of(lambda x, u: x + u, lambda x, u: bowl(u) + 1e-3 * u @ u, lambda x: 0 * x @ x)
    lost = jax.jit(lambda: ilqr.solve(misled, jnp.ones(1), jnp.zeros((3, 1))))()
    assert int(lost.status) == ilqr.GAVE_UP and not np.any(lost.u)
    with pytest.raises(ValueError, match="check the derivatives"):
        ilqr.check_solved(lost)
