"""Linear dynamics, quadratic costs: optimal control in closed form.

Everywhere the cost of a step is `1/2 [x;u]' C [x;u] + c' [x;u] + constant`, the dynamics are `x' = F [x;u] + f + noise`
and policies are `u = K x + k + noise`. Time is the leading axis, T steps from 0 to T - 1. Pure functions of arrays, in
whatever precision these have; only `stationary` and `check_convex` work on the host.

Sources: Levine, CS 285, "Optimal control and planning"; Tassa, Mansard & Todorov 2014, "Control-limited differential
dynamic programming" (the four-term value); Anderson & Moore 1990, "Optimal control: linear quadratic methods".
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.linalg
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from . import checks


class LinearDynamics(eqx.Module):
    """`x' = F [x;u] + f + noise`; for one step, or with a leading time axis for each of T."""

    F: Float[Array, "*time n n+m"]
    f: Float[Array, "*time n"]
    covariance: Float[Array, "*time n n"] | None = None  # of Gaussian noise; None: none


class QuadraticCost(eqx.Module):
    """`1/2 [x;u]' C [x;u] + c' [x;u] + constant`. Only the symmetric part of C counts."""

    C: Float[Array, "*time n+m n+m"]
    c: Float[Array, "*time n+m"]
    constant: Float[Array, "*time"]


class QuadraticValue(eqx.Module):
    """`1/2 x' V x + v' x + constant`: a terminal cost, or the cost still to come."""

    V: Float[Array, "*time n n"]
    v: Float[Array, "*time n"]
    constant: Float[Array, "*time"]


class LinearPolicy(eqx.Module):
    """`u = K x + k + noise`."""

    K: Float[Array, "*time m n"]
    k: Float[Array, "*time m"]
    covariance: Float[Array, "*time m m"] | None = None  # of Gaussian noise; None: none


class LQRSolution(eqx.Module):
    """The optimal policy and what it costs."""

    policy: LinearPolicy
    Quu: Float[Array, "*time m m"]  # curvature of the cost to go in the control
    value: QuadraticValue  # T + 1 of them: the last is the terminal cost
    convex: Bool[Array, "*time"]  # whether Quu is positive definite; where it is not, the solution means nothing


class Trajectory(eqx.Module):
    """Gaussian marginals of what a policy does."""

    x: Float[Array, "time+1 n"]
    u: Float[Array, "time m"]
    x_covariance: Float[Array, "time+1 n n"]
    joint_covariance: Float[Array, "time n+m n+m"]  # of [x;u]


def no_terminal_cost(n: int, dtype: jnp.dtype | None = None) -> QuadraticValue:
    """The value zero."""
    return QuadraticValue(jnp.zeros((n, n), dtype), jnp.zeros(n, dtype), jnp.zeros((), dtype))


def backward(
    dynamics: LinearDynamics, cost: QuadraticCost, terminal: QuadraticValue | None = None, *, discount: float = 1.0
) -> LQRSolution:
    """The policy of least expected cost over T steps and the terminal cost (none if None), by Riccati's recursion.

    Where the cost to go is not convex in the control there is no such policy: `convex` says where, and `check_convex`
    turns that into an error. Raises ValueError if shapes do not fit, or for a discount outside [0, 1].
    """
    checks.fraction("discount", discount)
    steps = _check_shapes(dynamics, cost, time=True)
    n = dynamics.F.shape[-2]
    terminal = no_terminal_cost(n, dynamics.F.dtype) if terminal is None else terminal
    if terminal.V.shape != (n, n) or terminal.v.shape != (n,):
        raise ValueError(f"terminal cost: V {terminal.V.shape}, v {terminal.v.shape} must be {(n, n)} and {(n,)}")
    constant = jnp.broadcast_to(jnp.asarray(terminal.constant, terminal.V.dtype), ())
    terminal = QuadraticValue(symmetric(terminal.V), terminal.v, constant)

    def step(value: QuadraticValue, x: tuple[LinearDynamics, QuadraticCost]):
        solution = backward_step(*x, value, discount=discount)
        return solution.value, solution

    _, solution = jax.lax.scan(step, terminal, (dynamics, cost), length=steps, reverse=True)
    values = jax.tree.map(lambda each, last: jnp.concatenate([each, last[None]]), solution.value, terminal)
    return LQRSolution(solution.policy, solution.Quu, values, solution.convex)


def backward_step(
    dynamics: LinearDynamics, cost: QuadraticCost, value: QuadraticValue, *, discount: float = 1.0
) -> LQRSolution:
    """One step of the recursion: `value` is that of the step after. Raises ValueError for a discount outside [0, 1]."""
    checks.fraction("discount", discount)
    n = dynamics.F.shape[-2]
    F, f = dynamics.F, dynamics.f
    Q = symmetric(cost.C) + discount * F.T @ value.V @ F
    q = cost.c + discount * F.T @ (value.V @ f + value.v)
    Quu, Qux, qu = Q[n:, n:], Q[n:, :n], q[n:]
    inverse, convex = inverse_of_positive(Quu)
    K, k = -inverse @ Qux, -inverse @ qu
    V, v = value_of(Q, q, K, k)
    constant = cost.constant + 0.5 * k @ (Quu @ k) + k @ qu
    constant += discount * (value.constant + 0.5 * f @ (value.V @ f) + value.v @ f)
    if dynamics.covariance is not None:
        constant += discount * 0.5 * jnp.sum(value.V * dynamics.covariance)
    return LQRSolution(LinearPolicy(K, k), Quu, QuadraticValue(V, v, constant), convex)


def value_of(Q: Array, q: Array, K: Float[Array, "m n"], k: Float[Array, " m"]) -> tuple[Array, Array]:
    """`V [n, n]` and `v [n]` of `u = K x + k` under the action value `1/2 [x;u]' Q [x;u] + q' [x;u]`.

    The form of four terms, right for any gains, also for regularised or limited ones (Tassa et al. 2012, eq. 11).
    """
    n = K.shape[-1]
    Qxx, Qux, Quu = Q[:n, :n], Q[n:, :n], Q[n:, n:]
    cross = K.T @ Qux
    V = Qxx + cross + cross.T + K.T @ Quu @ K
    v = q[:n] + K.T @ (Quu @ k + q[n:]) + Qux.T @ k
    return symmetric(V), v


def inverse_of_positive(matrix: Float[Array, "m m"]) -> tuple[Float[Array, "m m"], Bool[Array, ""]]:
    """The inverse of a symmetric matrix, and whether that is positive definite; NaN or inf where it is not."""
    if matrix.shape == (1, 1):  # by far the commonest, and much quicker than a factorisation
        return 1 / matrix, matrix[0, 0] > 0
    factor = jnp.linalg.cholesky(matrix)
    inverse = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return symmetric(inverse), jnp.isfinite(factor).all()


def symmetric(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The symmetric part."""
    return (matrix + jnp.swapaxes(matrix, -1, -2)) / 2


def check_convex(solution: LQRSolution) -> None:
    """Raises ValueError, with the first step that is wrong counted from the end, unless all of it is convex."""
    wrong = np.flatnonzero(~np.atleast_1d(np.asarray(solution.convex)))
    if wrong.size:
        t = int(wrong[-1])
        Quu = np.asarray(solution.Quu).reshape(-1, *solution.Quu.shape[-2:])[t]
        least = float(np.linalg.eigvalsh(Quu)[0]) if np.isfinite(Quu).all() else float("nan")
        raise ValueError(
            f"LQR: the cost to go is not convex in the control at step {t}: least eigenvalue of Quu {least:.3g}, "
            "wanted above 0; add a positive definite cost of the control, or use iLQR, which regularises"
        )


def maximum_entropy(solution: LQRSolution, temperature: float | Array) -> LQRSolution:
    """The policy `N(K x + k, temperature Quu^-1)` that minimises expected cost minus `temperature` times entropy.

    Its mean is LQR's; its value is the soft one, lower by the entropy's worth (Levine & Koltun 2013, "Guided policy
    search", sec. 4). For solutions with a time axis and no discount. Raises ValueError for a `temperature` that is
    not positive.
    """
    checks.positive("temperature", temperature)
    inverse = jax.vmap(lambda Quu: inverse_of_positive(Quu)[0])(solution.Quu)
    covariance = temperature * inverse
    m = covariance.shape[-1]
    worth = temperature / 2 * (m * jnp.log(2 * jnp.pi) + jnp.linalg.slogdet(covariance)[1])
    to_come = jnp.append(jnp.cumsum(worth[::-1])[::-1], 0.0)
    value = solution.value
    value = QuadraticValue(value.V, value.v, value.constant - to_come)
    policy = LinearPolicy(solution.policy.K, solution.policy.k, covariance)
    return LQRSolution(policy, solution.Quu, value, solution.convex)


def forward(
    dynamics: LinearDynamics,
    policy: LinearPolicy,
    x: Float[Array, " n"],
    covariance: Float[Array, "n n"] | None = None,
) -> Trajectory:
    """What `policy` does from a Gaussian start (mean `x`; a point if `covariance` is None), exactly."""
    n, m = x.shape[0], policy.k.shape[-1]
    start = jnp.zeros((n, n), x.dtype) if covariance is None else covariance

    def step(carry: tuple[Array, Array], now: tuple[LinearDynamics, LinearPolicy]):
        x, covariance = carry
        dynamics, policy = now
        u = policy.K @ x + policy.k
        up = policy.K @ covariance
        uu = up @ policy.K.T + (jnp.zeros((m, m), x.dtype) if policy.covariance is None else policy.covariance)
        joint = jnp.block([[covariance, up.T], [up, uu]])
        after = dynamics.F @ joint @ dynamics.F.T
        after = after if dynamics.covariance is None else after + dynamics.covariance
        x_after = dynamics.F @ jnp.concatenate([x, u]) + dynamics.f
        return (x_after, symmetric(after)), (x, u, covariance, joint)

    (last, last_covariance), (xs, us, covariances, joints) = jax.lax.scan(step, (x, start), (dynamics, policy))
    xs, covariances = jnp.concatenate([xs, last[None]]), jnp.concatenate([covariances, last_covariance[None]])
    return Trajectory(xs, us, covariances, joints)


def sample(
    dynamics: LinearDynamics, policy: LinearPolicy, x: Float[Array, " n"], *, key: PRNGKeyArray
) -> tuple[Float[Array, "time+1 n"], Float[Array, "time m"]]:
    """States and controls of one random trajectory from `x`."""
    zero = jnp.zeros((), x.dtype)

    def noise(key: PRNGKeyArray, covariance: Array | None) -> Array:
        if covariance is None:
            return zero
        return jr.multivariate_normal(key, jnp.zeros(covariance.shape[0], x.dtype), covariance, method="eigh")

    def step(x: Array, now: tuple[LinearDynamics, LinearPolicy, PRNGKeyArray]):
        dynamics, policy, key = now
        policy_key, dynamics_key = jr.split(key)
        u = policy.K @ x + policy.k + noise(policy_key, policy.covariance)
        after = dynamics.F @ jnp.concatenate([x, u]) + dynamics.f + noise(dynamics_key, dynamics.covariance)
        return after, (x, u)

    last, (xs, us) = jax.lax.scan(step, x, (dynamics, policy, jr.split(key, policy.k.shape[0])))
    return jnp.concatenate([xs, last[None]]), us


def expected_cost(
    trajectory: Trajectory, cost: QuadraticCost, terminal: QuadraticValue | None = None
) -> Float[Array, ""]:
    """The expected cost of what `forward` gave, undiscounted."""
    xu = jnp.concatenate([trajectory.x[:-1], trajectory.u], -1)
    second = trajectory.joint_covariance + xu[:, :, None] * xu[:, None, :]
    total = 0.5 * jnp.sum(cost.C * second) + jnp.sum(cost.c * xu) + jnp.sum(cost.constant)
    if terminal is not None:
        x = trajectory.x[-1]
        total += 0.5 * jnp.sum(terminal.V * (trajectory.x_covariance[-1] + jnp.outer(x, x)))
        total += terminal.v @ x + terminal.constant
    return total


def stationary(dynamics: LinearDynamics, cost: QuadraticCost, *, discount: float = 1.0) -> LQRSolution:
    """The policy of least cost over an endless horizon, for dynamics and cost without a time axis; float64, host.

    The constant of its value is the mean cost of a step where `discount` is 1, else the discounted sum of all.
    Raises ValueError, naming the cause, if shapes do not fit, the discount is outside [0, 1], the control's cost is not
    positive definite, the system cannot be stabilised, or a mode on the unit circle is not seen by the cost.
    """
    checks.fraction("discount", discount)
    _check_shapes(dynamics, cost, time=False)
    n = dynamics.F.shape[-2]
    F, f, C, c = (np.asarray(x, np.float64) for x in (dynamics.F, dynamics.f, cost.C, cost.c))
    C = (C + C.T) / 2
    A, B = np.sqrt(discount) * F[:, :n], np.sqrt(discount) * F[:, n:]
    _check_stationary(A, B, C[n:, n:])
    try:
        V = scipy.linalg.solve_discrete_are(A, B, C[:n, :n], C[n:, n:], s=C[:n, n:])
        Q = C + discount * F.T @ V @ F
        K = -np.linalg.solve(Q[n:, n:], Q[n:, :n])
        radius = np.abs(np.linalg.eigvals(A + B @ K)).max()
    except (np.linalg.LinAlgError, ValueError):
        radius = np.inf
    if not radius < 1 - 1e-9:
        raise ValueError(
            "LQR: Riccati's equation has no stabilising solution: the cost does not see a mode on the unit circle, or "
            "is not convex; add to the cost of the states, or discount"
        )
    closed = discount * (F[:, :n] + F[:, n:] @ K).T
    v = np.linalg.solve(np.eye(n) - closed, c[:n] + K.T @ c[n:] + closed @ V @ f)
    q = c + discount * F.T @ (V @ f + v)
    k = -np.linalg.solve(Q[n:, n:], q[n:])
    constant = float(cost.constant) + 0.5 * q[n:] @ k + discount * (0.5 * f @ V @ f + v @ f)
    if dynamics.covariance is not None:
        constant += discount * 0.5 * np.sum(V * np.asarray(dynamics.covariance))
    constant = constant if discount == 1 else constant / (1 - discount)
    value = QuadraticValue(*map(jnp.asarray, (V, v, constant)))
    return LQRSolution(LinearPolicy(jnp.asarray(K), jnp.asarray(k)), jnp.asarray(Q[n:, n:]), value, jnp.array(True))


def _check_shapes(dynamics: LinearDynamics, cost: QuadraticCost, *, time: bool) -> int:
    """The number of steps. Raises ValueError if shapes do not fit one another."""
    axes = 3 if time else 2
    shape = dynamics.F.shape
    if len(shape) != axes or shape[-1] <= shape[-2]:
        wanted = "[T, n, n + m]" if time else "[n, n + m]"
        raise ValueError(f"LQR: F has shape {shape}, wanted {wanted} with m >= 1: a square A beside B")
    lead, n, both = shape[:-2], shape[-2], shape[-1]
    wanted = {
        "f": (*lead, n),
        "C": (*lead, both, both),
        "c": (*lead, both),
        "constant": lead,
        "covariance": (*lead, n, n),
    }
    got = {"f": dynamics.f, "C": cost.C, "c": cost.c, "constant": cost.constant, "covariance": dynamics.covariance}
    for name, array in got.items():
        if array is not None and jnp.shape(array) != wanted[name]:
            raise ValueError(f"LQR: {name} has shape {jnp.shape(array)}, wanted {wanted[name]} beside F {shape}")
    return lead[0] if time else 1


def _check_stationary(A: np.ndarray, B: np.ndarray, R: np.ndarray) -> None:
    """Raises ValueError unless all is finite, `R` positive definite and `(A, B)` stabilisable (Hautus' test)."""
    if not all(np.isfinite(x).all() for x in (A, B, R)):
        raise ValueError("LQR: dynamics and cost must be finite; got NaN or inf")
    least = float(np.linalg.eigvalsh(R)[0])
    if least <= 0:
        raise ValueError(
            f"LQR: the cost is not convex in the control: least eigenvalue {least:.3g} of its block, wanted above 0; "
            "add a positive definite cost of the control"
        )
    scale = max(1.0, float(np.linalg.norm(np.hstack([A, B]), 2)))
    for root in np.linalg.eigvals(A):
        if abs(root) >= 1 - 1e-9:
            reach = np.linalg.svd(np.hstack([A - root * np.eye(len(A)), B]), compute_uv=False)[len(A) - 1]
            if reach < 1e-9 * scale:
                raise ValueError(
                    f"LQR: the system cannot be stabilised: no control reaches its mode with eigenvalue {root:.4g} "
                    "(not below 1 in size); add a control that does, or discount"
                )
