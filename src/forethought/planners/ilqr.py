"""iLQR and DDP: local second-order solutions of smooth optimal-control problems.

`solve` works on functions (dynamics, cost, terminal cost), `solve_many` on many starts of one problem; `ILQR` (in
ilqr_planner.py) plans in any differentiable model with it. Pure, in whatever precision the states have.

Each iteration expands dynamics and cost along the last trajectory, solves the linear-quadratic problem of the
deviations by Riccati's recursion, and searches along its solution for a lower cost. Regularisation, its schedule and
the line search are those of Tassa, Erez & Todorov 2012, "Synthesis and stabilization of complex behaviors through
online trajectory optimization" (sec. II-F); control limits those of Tassa, Mansard & Todorov 2014, "Control-limited
differential dynamic programming". Deviations: the first regularisation is zero by default; of all step sizes the
largest that is good enough is taken, also where they are tried in parallel; a cost's Hessian can be made convex.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from . import checks
from .box_qp import solve_box
from .lqr import QuadraticValue, inverse_of_positive, symmetric

RUNNING, CONVERGED, GAVE_UP = 0, 1, 2
SHORT = 12  # entries of state and control
SLIGHT = 1e-6  # regularisation of the control, as a part of that of the state


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is to be solved: functions of one step of time, written in jax.numpy.

    A state is any tree of arrays; `pack` makes a vector `[n]` of what is continuous in it, `unpack(x, state)` puts
    such a vector back. What `pack` leaves out is carried along, and taken as it is in all derivatives. A control may be
    limited on one side only. Raises ValueError for limits that cross.
    """

    step: Callable[[Any, Array, Array], tuple[Any, Array]]  # (state, u, t) -> (next state, cost)
    terminal: Callable[[Any], Array]
    low: Array | None = None  # [m]: of the controls; None, or entries of -inf: no limits
    high: Array | None = None  # [m]; None, or entries of inf: no limits
    pack: Callable[[Any], Array] = lambda state: state
    unpack: Callable[[Array, Any], Any] = lambda x, state: x
    difference: Callable[[Array, Array], Array] = jnp.subtract  # of two packed states: angles the short way round

    def __post_init__(self) -> None:
        for name, side, other in (("low", -jnp.inf, self.high), ("high", jnp.inf, self.low)):
            if getattr(self, name) is None and other is not None:
                object.__setattr__(self, name, jnp.full(jnp.shape(other), side, jnp.result_type(float, other)))
        if self.low is not None:
            checks.limits(self.low, self.high)

    @classmethod
    def of(
        cls,
        dynamics: Callable[[Array, Array], Array],
        cost: Callable[[Array, Array], Array],
        terminal: Callable[[Array], Array],
        *,
        low: Array | None = None,
        high: Array | None = None,
        difference: Callable[[Array, Array], Array] = jnp.subtract,
    ) -> "Problem":
        """From `dynamics(x, u) -> [n]`, `cost(x, u) -> []` and `terminal(x) -> []`."""
        return cls(lambda x, u, t: (dynamics(x, u), cost(x, u)), terminal, low, high, difference=difference)


@dataclasses.dataclass(frozen=True)
class Options:
    """How a problem is solved. Raises ValueError for invalid numbers."""

    second_order: bool = False  # DDP: with the second derivatives of the dynamics; off: iLQR
    max_iterations: int = 200
    tolerance: float = 1e-7  # converged once an iteration gains less than this part of 1 + |cost|
    convex: bool = False  # cut off negative eigenvalues of the costs' Hessians
    regularise: Literal["state", "control"] = (
        "state"  # deviations of the next state (slightly: of the control), or of it
    )
    first: float = 0.0  # regularisation
    least: float = 1e-6  # below it, none
    most: float = 1e10  # above it, it gives up
    factor: float = 2.0  # of the schedule
    line_search: Literal["parallel", "sequential"] = "sequential"  # at once: quicker on a GPU, slower on a CPU
    step_sizes: int = 11  # 1, 1/2, 1/4, ...
    decrease: float = 1e-4  # least share of the expected gain

    def __post_init__(self) -> None:
        for name in ("max_iterations", "step_sizes"):
            checks.whole_number(name, getattr(self, name))
        for name in ("least", "most", "tolerance"):
            checks.positive(name, getattr(self, name))
        checks.not_negative("first", self.first)
        if max(self.first, self.least) > self.most:
            raise ValueError(f"first={self.first} and least={self.least} must be at most most={self.most}")
        checks.fraction("decrease", self.decrease, one=False)
        checks.positive("factor", self.factor)
        if self.factor <= 1:
            raise ValueError(f"factor={self.factor} must be above 1; 2 is usual")
        for name, allowed in (("regularise", ("state", "control")), ("line_search", ("parallel", "sequential"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be {' or '.join(allowed)}")


class Solution(eqx.Module):
    """A trajectory and the search that goes on from it. `u_t = u[t] + K[t] difference(x_t, x[t])` follows it."""

    states: PyTree  # leaves [T + 1, ...]
    u: Float[Array, "time m"]
    K: Float[Array, "time m n"]  # gains of the last iteration that found a step; zero before
    cost: Float[Array, ""]
    regularisation: Float[Array, ""]
    change: Float[Array, ""]  # last factor of the regularisation
    status: Int[Array, ""]  # RUNNING, CONVERGED or GAVE_UP
    iterations: Int[Array, ""]


class Expansion(eqx.Module):
    """Derivatives along a trajectory, `[time, ...]`, of next state and cost in [x;u], and of the terminal cost."""

    F: Float[Array, "time n n+m"]
    C: Float[Array, "time n+m n+m"]
    c: Float[Array, "time n+m"]
    terminal: QuadraticValue
    H: Float[Array, "time n n+m n+m"] | None = None  # second derivatives of the next state, where they are short


class Step(eqx.Module):
    """What a backward pass proposes."""

    k: Float[Array, "time m"]
    K: Float[Array, "time m n"]
    linear: Float[Array, ""]  # expected change of the cost with step size a: a linear + a^2 quadratic
    quadratic: Float[Array, ""]
    slope: Float[Array, ""]  # at least what gradient steps could gain, whatever the regularisation
    positive: Bool[Array, ""]  # whether all of it was convex in the control


def start(problem: Problem, state: PyTree, u: Float[Array, "time m"], options: Options | None = None) -> Solution:
    """The trajectory of `u`, cut to its limits, before any iteration. Raises ValueError if shapes do not fit."""
    options = Options() if options is None else options
    if u.ndim != 2 or not u.shape[0]:
        raise ValueError(f"iLQR: u has shape {u.shape}, wanted [T, m] with T >= 1: one control for every step")
    for name, limit in (("low", problem.low), ("high", problem.high)):
        if limit is not None and jnp.shape(limit) not in ((), (u.shape[1],)):
            raise ValueError(
                f"iLQR: {name} has shape {jnp.shape(limit)}, wanted {(u.shape[1],)}: one limit per control"
            )
    n = problem.pack(state).shape[0]
    u = _limited(problem, u)
    states, cost = _rolled_out(problem, state, u)
    K = jnp.zeros((*u.shape, n), u.dtype)
    mu, change = jnp.asarray(options.first, cost.dtype), jnp.ones((), cost.dtype)
    zero = jnp.zeros((), jnp.int32)
    status = jnp.where(jnp.isfinite(cost), zero + RUNNING, GAVE_UP)
    return Solution(states, u, K, cost, mu, change, status, zero)


def solve(problem: Problem, state: PyTree, u: Float[Array, "time m"], options: Options | None = None) -> Solution:
    """Iterates from the controls `u` until it converges, gives up, or `max_iterations` are over.

    A problem at a point of rest stays there: start from controls that move it.
    """
    options = Options() if options is None else options
    going = lambda s: (s.status == RUNNING) & (s.iterations < options.max_iterations)
    return jax.lax.while_loop(going, lambda s: iterate(problem, s, options), start(problem, state, u, options))


def solve_many(
    problem: Problem,
    states: PyTree,
    u: Float[Array, "problems time m"],
    options: Options | None = None,
    lanes: int = 32,
) -> Solution:
    """As `solve` under `jax.vmap`, from many states (leaves `[problems, ...]`), but `lanes` of them at a time.

    Fewer wait for the slowest of their group, and what is worked on stays in a core's cache. Raises ValueError for less
    than one lane.
    """
    checks.whole_number("lanes", lanes)
    return jax.lax.map(lambda each: solve(problem, each[0], each[1], options), (states, u), batch_size=lanes)


def check_solved(solution: Solution) -> None:
    """Raises ValueError, with the cause, if any of the problems was given up."""
    gave_up = np.asarray(solution.status) == GAVE_UP
    if not gave_up.any():
        return
    which = f"{int(gave_up.sum())} of {gave_up.size} problems: " if gave_up.ndim else ""
    if np.isfinite(np.asarray(solution.cost)[gave_up]).all():
        cause = "no regularisation made the cost to go convex in the control and lower; add a cost of the control, "
        cause += "set convex, or check the derivatives"
    else:
        cause = "the cost of the first controls is not finite; start from others, or a shorter horizon"
    raise ValueError(f"iLQR gave up, {which}{cause}")


def iterate(problem: Problem, solution: Solution, options: Options) -> Solution:
    """One iteration: expand, solve the linear-quadratic problem, search along its solution."""
    expansion = expand(problem, solution, options)

    def raised(carry: tuple[Array, Array, Step, Array]) -> tuple[Array, Array, Step, Array]:
        mu, change, _, first = carry
        mu, change = (jnp.where(first, a, b) for a, b in zip((mu, change), _raise(mu, change, options)))
        return mu, change, backward(problem, solution, expansion, options, mu), jnp.array(False)

    hollow = lambda carry: ~carry[2].positive & (carry[0] <= options.most)
    zero = jnp.zeros_like(solution.cost)
    none = Step(jnp.zeros_like(solution.u), jnp.zeros_like(solution.K), zero, zero, zero, jnp.array(False))
    begun = (solution.regularisation, solution.change, none, jnp.array(True))
    mu, change, step, _ = jax.lax.while_loop(hollow, raised, begun)
    small = options.tolerance * (1 + jnp.abs(solution.cost))
    # Regularisation that failed searches have raised makes every step small: then the gradient has to be small too.
    settled = (mu == 0) | (solution.change <= 1) | (step.slope <= small)
    still = step.positive & (-step.linear <= small) & settled
    states, u, cost, found = _searched(problem, solution, step, options)
    accepted = found & step.positive & ~still
    lower, higher = _lower(mu, change, options), _raise(mu, change, options)
    mu, change = (jnp.where(accepted, a, jnp.where(still, b, c)) for a, b, c in zip(lower, (mu, change), higher))
    done = still | (accepted & (solution.cost - cost <= small) & settled)
    status = jnp.where(done, CONVERGED, jnp.where(mu > options.most, GAVE_UP, RUNNING)).astype(jnp.int32)
    status = jnp.where(solution.status == RUNNING, status, solution.status)
    choose = lambda new, old: jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)
    states, u, cost = choose((states, u, cost), (solution.states, solution.u, solution.cost))
    K = jnp.where(step.positive, step.K, solution.K)
    return Solution(states, u, K, cost, mu, change, status, solution.iterations + 1)


def expand(problem: Problem, solution: Solution, options: Options) -> Expansion:
    """First derivatives of the dynamics, first and second of the costs, along the trajectory."""
    n = problem.pack(jax.tree.map(lambda x: x[0], solution.states)).shape[0]

    def both(xu: Array, state: PyTree, t: Array) -> tuple[Array, Array]:
        after, cost = problem.step(problem.unpack(xu[:n], state), xu[n:], t)
        return problem.pack(after), cost

    def at(state: PyTree, u: Array, t: Array) -> tuple[Array, Array, Array, Array | None]:
        xu = jnp.concatenate([problem.pack(state), u])
        if options.second_order and xu.size <= SHORT:
            H, C = jax.jacfwd(jax.jacfwd(both))(xu, state, t)
            return *jax.jacfwd(both)(xu, state, t), C, H
        return *jax.jacfwd(both)(xu, state, t), hessian(lambda xu: both(xu, state, t)[1], xu), None

    before, last = jax.tree.map(lambda x: x[:-1], solution.states), jax.tree.map(lambda x: x[-1], solution.states)
    F, c, C, H = jax.vmap(at)(before, solution.u, jnp.arange(len(solution.u)))
    terminal = lambda x: problem.terminal(problem.unpack(x, last))
    end = problem.pack(last)
    v, V = jax.grad(terminal)(end), hessian(terminal, end)
    if options.convex:
        C, V = made_convex(C), made_convex(V)
    return Expansion(F, C, c, QuadraticValue(V, v, jnp.zeros_like(solution.cost)), H)


def hessian(function: Callable[[Array], Array], x: Float[Array, " n"]) -> Float[Array, "n n"]:
    """Second derivatives. For a short `x` forwards twice: quicker to compile and run than forwards over backwards."""
    return (jax.jacfwd(jax.jacfwd(function)) if x.size <= SHORT else jax.hessian(function))(x)


def product(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    """`a @ b`. Small ones are summed term by term: on a CPU a batch of products is a call each, and sums are fused."""
    return jnp.sum(a[:, :, None] * b[None], 1) if max(*a.shape, *b.shape) <= SHORT else a @ b


def made_convex(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The nearest positive semi-definite matrix."""
    values, vectors = jnp.linalg.eigh(symmetric(matrix))
    return (vectors * jnp.maximum(values, 0.0)[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)


def backward(problem: Problem, solution: Solution, expansion: Expansion, options: Options, mu: Array) -> Step:
    """Riccati's recursion with regularisation `mu`, and with limits where there are some."""
    n, m = expansion.F.shape[-2], solution.u.shape[-1]
    eye = jnp.eye(n, dtype=expansion.F.dtype)

    def step(carry: tuple, now: tuple):
        V, v, linear, quadratic, slope, positive = carry
        F, C, c, H, u, state, t = now
        Q, q = C + product(F.T, product(V, F)), c + product(F.T, v[:, None])[:, 0]
        if H is not None:
            Q = Q + jnp.sum(v[:, None, None] * H, 0)
        elif options.second_order:
            Q = Q + _bent(problem, state, u, t, v)
        uu, ux = Q[n:, n:], Q[n:, :n]
        if options.regularise == "state":
            B = F[:, n:]
            # Controls whose effects cancel leave the next state as it is; a trace of the other kind prices them.
            uu_more, ux_more = uu + mu * (B.T @ B + SLIGHT * jnp.eye(m, dtype=uu.dtype)), ux + mu * (B.T @ F[:, :n])
        else:
            uu_more, ux_more = uu + mu * jnp.eye(m, dtype=uu.dtype), ux
        if problem.low is None or problem.high is None:
            inverse, ok = inverse_of_positive(uu_more)
            k = -inverse @ q[n:]
        else:
            k, inverse, ok = solve_box(uu_more, q[n:], problem.low - u, problem.high - u)
        K = -inverse @ ux_more
        # What failed once cannot be saved by what came after; zeros keep it finite.
        ok = ok & positive
        k, K = jnp.where(ok, k, 0.0), jnp.where(ok, K, 0.0)
        free = jnp.where(jnp.diagonal(inverse) != 0, q[n:], 0.0)
        slope = slope + free @ free / jnp.maximum(jnp.abs(uu).sum(0).max(), jnp.finfo(uu.dtype).eps)
        G = jnp.concatenate([eye, K])
        uu_k = Q[:, n:] @ k
        V, v = symmetric(product(G.T, product(Q, G))), product(G.T, (q + uu_k)[:, None])[:, 0]
        return (V, v, linear + k @ q[n:], quadratic + 0.5 * k @ uu_k[n:], slope, ok), (k, K)

    end, zero = expansion.terminal, jnp.zeros_like(solution.cost)
    first = (symmetric(end.V), end.v, zero, zero, zero, jnp.array(True))
    before = jax.tree.map(lambda x: x[:-1], solution.states)
    inputs = (expansion.F, expansion.C, expansion.c, expansion.H, solution.u, before, jnp.arange(len(solution.u)))
    (_, v, linear, quadratic, slope, positive), (k, K) = jax.lax.scan(step, first, inputs, reverse=True)
    return Step(k, K, linear, quadratic, slope, positive & jnp.isfinite(v).all())


def _bent(problem: Problem, state: PyTree, u: Array, t: Array, v: Array) -> Float[Array, "n+m n+m"]:
    """The dynamics' second derivatives along `v`, as the Hessian of one number: no tensor, which is large if `v` is."""
    n = v.shape[0]

    def along(xu: Array) -> Array:
        return v @ problem.pack(problem.step(problem.unpack(xu[:n], state), xu[n:], t)[0])

    return hessian(along, jnp.concatenate([problem.pack(state), u]))


def _searched(problem: Problem, solution: Solution, step: Step, options: Options) -> tuple:
    """`(states, u, cost, found)` of the largest step size whose gain is a fair share of what was expected."""
    follow = lambda size: followed(problem, solution, step, size)
    sizes = 0.5 ** jnp.arange(options.step_sizes, dtype=solution.u.dtype)

    def good(size: Array, cost: Array) -> Array:
        expected = -(size * step.linear + size**2 * step.quadratic)
        return solution.cost - cost >= options.decrease * jnp.maximum(expected, 0.0)

    if options.line_search == "parallel":
        tried = jax.vmap(follow)(sizes)
        fair = good(sizes, tried[2]) & (tried[2] < solution.cost)
        best = jnp.argmax(fair)
        return *jax.tree.map(lambda x: x[best], tried), fair[best]

    def another(carry: tuple) -> tuple:
        i, _, _ = carry
        tried = follow(sizes[i])
        return i + 1, tried, good(sizes[i], tried[2]) & (tried[2] < solution.cost)

    first = (jnp.zeros((), jnp.int32), (solution.states, solution.u, solution.cost), jnp.array(False))
    going = lambda carry: ~carry[2] & (carry[0] < options.step_sizes) & step.positive
    _, tried, found = jax.lax.while_loop(going, another, first)
    return *tried, found


def followed(problem: Problem, solution: Solution, step: Step, size: Array) -> tuple:
    """`(states, u, cost)` of the policy with feedback from the same start."""
    state = jax.tree.map(lambda x: x[0], solution.states)
    before = jax.vmap(problem.pack)(jax.tree.map(lambda x: x[:-1], solution.states))

    def control(state: PyTree, now: tuple) -> Array:
        u, k, K, x = now
        return _limited(problem, u + size * k + K @ problem.difference(problem.pack(state), x))

    states, u, cost = _walk(problem, state, control, (solution.u, step.k, step.K, before))
    return states, u, jnp.where(jnp.isfinite(cost), cost, jnp.inf)


def _rolled_out(problem: Problem, state: PyTree, u: Array) -> tuple:
    """`(states, cost)` of the controls as they are."""
    states, _, cost = _walk(problem, state, lambda state, u: u, u)
    return states, cost


def _walk(problem: Problem, state: PyTree, control: Callable[[PyTree, Any], Array], inputs: PyTree) -> tuple:
    def step(carry: tuple, now: tuple):
        state, cost = carry
        inputs, t = now
        u = control(state, inputs)
        after, more = problem.step(state, u, t)
        return (after, cost + more), (state, u)

    zero = jnp.zeros((), problem.pack(state).dtype)
    times = jnp.arange(jax.tree.leaves(inputs)[0].shape[0])
    (last, cost), (states, u) = jax.lax.scan(step, (state, zero), (inputs, times))
    states = jax.tree.map(lambda each, end: jnp.concatenate([each, end[None]]), states, last)
    return states, u, cost + problem.terminal(last)


def _limited(problem: Problem, u: Array) -> Array:
    return u if problem.low is None or problem.high is None else jnp.clip(u, problem.low, problem.high)


def _raise(mu: Array, change: Array, options: Options) -> tuple[Array, Array]:
    change = jnp.maximum(options.factor, change * options.factor)
    return jnp.maximum(options.least, mu * change), change


def _lower(mu: Array, change: Array, options: Options) -> tuple[Array, Array]:
    change = jnp.minimum(1 / options.factor, change / options.factor)
    return jnp.where(mu * change >= options.least, mu * change, 0.0), change
