"""Output error by multiple shooting: parameters of equations from noisy observations of what they did.

Noise on what is seen makes one-step regression biased: it regresses on the noise, too. Here the equations are run from
the first state of a stretch of consecutive steps, and what they show is held against what was seen (output error;
Ljung 1999, "System identification", sec. 3.2 and 7.4). The first state of every stretch is an unknown as the
parameters are, and where one stretch goes on from another the two are tied together (multiple shooting; Bock 1983,
"Recent advances in parameter identification techniques for ODE"; Ribeiro et al. 2020, "On the smoothness of nonlinear
system identification"): the cost stays smooth where one run through all data would be chaotic. The ties are
residuals of their own (Bock has them as constraints), so every step is one linear solve.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..types import EnvSpec, Transition

Simulate = Callable[[Float[Array, " parameters"], Float[Array, " obs"], Array], Float[Array, " obs"]]
"""`(theta [parameters], obs [obs], action [*action]) -> next_obs [obs]`."""

SHORT = 2  # rounds before the first whole one: first a quarter of every stretch is explained, then half of it
TIE = 0.1  # how far stretches may miss one another, in standard deviations of the noise
FLOOR = 1e-4  # least noise, in standard deviations of the data: what float32 leaves of a simulation
ALIKE = 3e-5  # of a normalised information matrix: eigenvalues below are zero in float32


class Stretches(NamedTuple):
    """Consecutive steps `[stretches, ...]`, all cut to one length."""

    obs: Float[Array, "stretches steps+1 obs"]
    seen: Bool[Array, "stretches steps+1"]  # which of them count
    action: Array  # [stretches, steps, *action]
    goes_on: Bool[Array, " stretches"]  # the next stretch begins where this one ends


def cut(
    data: Transition, used: Bool[Array, " n"], *, length: int, most: int, num_envs: int, key: PRNGKeyArray
) -> Stretches:
    """The rows of a replay that are `used` as `most` stretches of `length` steps; drawn, where there are more.

    Row i + num_envs follows row i where nothing ended and its observation is the one that was reached.
    """
    rows = used.shape[0] // num_envs
    turn = lambda x: jnp.swapaxes(x[: rows * num_envs].reshape(rows, num_envs, *x.shape[1:]), 0, 1).reshape(
        rows * num_envs, *x.shape[1:]
    )
    data, used = jax.tree.map(turn, Transition(*_fields(data))), turn(used)
    n, place = rows * num_envs, jnp.arange(rows * num_envs)
    onward = jnp.all(data.next_obs == jnp.roll(data.obs, -1, 0), -1) & ~data.terminated & ~data.truncated
    onward = onward & used & jnp.roll(used, -1) & (place % rows != rows - 1)
    head = jax.lax.cummax(jnp.where(jnp.roll(onward, 1), 0, place))  # where the chain of each row begins
    start = used & ((place - head) % length == 0)
    first = jnp.sort(jnp.argsort(jr.uniform(key, (n,)) + ~start)[:most])
    first = first[jnp.argsort(~start[first], stable=True)]
    taken = start[first]
    index = first[:, None] + jnp.arange(length)
    row = jnp.minimum(index, n - 1)
    inside = taken[:, None] & (index < n) & used[row] & (head[row] == head[first][:, None])
    following = jnp.roll(first, -1)
    goes_on = taken & jnp.roll(taken, -1) & (following == first + length) & (head[following] == head[first])
    goes_on = goes_on.at[-1].set(False)
    obs = jnp.concatenate([data.obs[first][:, None], data.next_obs[row]], 1)
    seen = jnp.concatenate([taken[:, None], inside], 1)
    seen = seen.at[:, -1].set(seen[:, -1] & ~goes_on)  # the next stretch begins with that observation
    return Stretches(jnp.where(jnp.isfinite(obs), obs, 0.0), seen, data.action[row], goes_on)


def _fields(data: Transition) -> tuple[Array, ...]:
    return data.obs, data.action, data.reward, data.next_obs, data.terminated, data.truncated


class Fitted(NamedTuple):
    """Parameters and how well they are known."""

    theta: Float[Array, " parameters"]
    noise: Float[Array, " obs"]  # standard deviation of what is seen about what the equations show
    deviation: Float[Array, " parameters"]  # standard errors of theta
    alike: Bool[Array, " parameters"]  # not determined alone: the data leave a combination of these open
    error: Float[Array, ""]  # squared output error in variances of the data


class _Search(NamedTuple):
    """Where a Levenberg-Marquardt search is."""

    theta: Float[Array, " parameters"]
    first: Float[Array, "stretches obs"]
    cost: Float[Array, ""]
    damping: Float[Array, ""]
    steps: Int[Array, ""]
    stuck: Bool[Array, ""]


class Problem(eqx.Module):
    """Equations and stretches of data that they are to explain; `noise` is what residuals are measured in."""

    simulate: Simulate
    spec: EnvSpec
    data: Stretches
    noise: Float[Array, " obs"]

    def run(self, theta: Array, first: Float[Array, " obs"], action: Array) -> Float[Array, "steps+1 obs"]:
        """What the equations show from `first` on."""

        def step(obs: Array, a: Array) -> tuple[Array, Array]:
            obs = self.simulate(theta, obs, a)
            return obs, obs

        return jnp.concatenate([first[None], jax.lax.scan(step, first, action)[1]])

    def misses(self, theta: Array, first: Array, shown: Array) -> tuple[Array, Array]:
        """Residuals of all observations `[stretches, steps+1, obs]` and of all ties `[stretches, obs]`, in noises."""
        away = self.spec.difference(self.data.obs, shown) / self.noise
        apart = self.spec.difference(jnp.roll(first, -1, 0), shown[:, -1]) / (TIE * self.noise)
        return jnp.where(self.data.seen[..., None], away, 0.0), jnp.where(self.data.goes_on[:, None], apart, 0.0)

    def cost(self, theta: Array, first: Array) -> Float[Array, ""]:
        """Half the squared residuals; infinite where the equations are not finite."""
        shown = jax.vmap(self.run, (None, 0, 0))(theta, first, self.data.action)
        total = sum(0.5 * jnp.sum(r**2) for r in self.misses(theta, first, shown))
        return jnp.where(jnp.isfinite(total), total, jnp.inf)

    def normal_equations(self, theta: Array, first: Array) -> tuple[Array, Array]:
        """Gradient and Gauss-Newton matrix in the unknowns (theta, then the first states)."""
        p, (s, d) = theta.shape[0], first.shape

        def both(unknown: Array, action: Array) -> tuple[Array, Array]:
            shown = self.run(unknown[:p], unknown[p:], action)
            return shown, shown

        unknown = jnp.concatenate([jnp.broadcast_to(theta, (s, p)), first], 1)
        slope, shown = jax.vmap(jax.jacfwd(both, has_aux=True))(unknown, self.data.action)
        away, apart = self.misses(theta, first, shown)
        inner = jnp.where(self.data.seen[..., None, None], slope / self.noise[:, None], 0.0).reshape(s, -1, p + d)
        outer = jnp.where(self.data.goes_on[:, None, None], slope[:, -1] / (TIE * self.noise[:, None]), 0.0)
        each = jnp.arange(s)
        matrix = jnp.zeros((p + s * d, p + s * d))
        square = jnp.einsum("smi,smj->sij", inner, inner)
        blocks = jnp.zeros((s, d, s, d)).at[each, :, each, :].set(square[:, p:, p:]).reshape(s * d, s * d)
        side = jnp.moveaxis(square[:, :p, p:], 0, 1).reshape(p, s * d)
        matrix = jnp.block([[square[:, :p, :p].sum(0), side], [side.T, blocks]])
        # Ties: (first of the next - last shown) / (tie noise), one row for each stretch and observation.
        own = jnp.where(self.data.goes_on[:, None, None], jnp.eye(d) / (TIE * self.noise), 0.0)
        ties = jnp.zeros((s, d, s, d)).at[each, :, each, :].set(-outer[:, :, p:])
        ties = ties.at[each, :, (each + 1) % s, :].add(own).reshape(s * d, s * d)
        ties = jnp.concatenate([-outer[:, :, :p].reshape(s * d, p), ties], 1)
        pull = jnp.einsum("smi,sm->si", inner, away.reshape(s, -1))
        gradient = jnp.concatenate([-pull[:, :p].sum(0), -pull[:, p:].reshape(-1)]) + ties.T @ apart.reshape(-1)
        return gradient, matrix + ties.T @ ties

    def solve(self, theta: Array, first: Array, *, most_steps: int) -> _Search:
        """Levenberg-Marquardt (Marquardt 1963: damping in units of the diagonal) until nothing is gained any more."""
        p = theta.shape[0]

        def go_on(at: _Search) -> Bool[Array, ""]:
            return (at.steps < most_steps) & ~at.stuck

        def step(at: _Search) -> _Search:
            gradient, matrix = self.normal_equations(at.theta, at.first)
            scale = _scale(matrix)
            damped = matrix * scale[:, None] * scale + at.damping * jnp.eye(len(scale))
            move = -scale * jax.scipy.linalg.solve(damped, scale * gradient, assume_a="pos")
            theta, first = at.theta + move[:p], at.first + move[p:].reshape(at.first.shape)
            cost = self.cost(theta, first)
            better = cost < at.cost
            stuck = (better & (at.cost - cost < 1e-5 * at.cost)) | (~better & (at.damping > 1e6))
            damping = jnp.where(better, jnp.maximum(at.damping / 5, 1e-6), at.damping * 4)
            keep = lambda new, old: jnp.where(better, new, old)
            return _Search(
                keep(theta, at.theta), keep(first, at.first), keep(cost, at.cost), damping, at.steps + 1, stuck
            )

        begin = _Search(
            theta, first, self.cost(theta, first), jnp.array(1e-2), jnp.zeros((), jnp.int32), jnp.array(False)
        )
        return jax.lax.while_loop(go_on, step, begin)

    def uncertainty(self, theta: Array, first: Array) -> tuple[Array, Array]:
        """Standard errors of theta, the first states being unknown too, and which parameters are not told apart."""
        p = theta.shape[0]
        _, matrix = self.normal_equations(theta, first)
        scale = _scale(matrix)
        matrix = matrix * scale[:, None] * scale + 1e-7 * jnp.eye(len(scale))
        left = matrix[:p, :p] - matrix[:p, p:] @ jax.scipy.linalg.solve(matrix[p:, p:], matrix[p:, :p], assume_a="pos")
        size = jnp.sqrt(jnp.maximum(jnp.diagonal(left), 1e-6))
        values, vectors = jnp.linalg.eigh(left / size[:, None] / size)
        alike = jnp.any((values < ALIKE) & (jnp.abs(vectors) > 0.1), 1)
        covariance = (vectors / jnp.maximum(values, ALIKE)) @ vectors.T
        return jnp.sqrt(jnp.diagonal(covariance)) * scale[:p] / size, alike


def _scale(matrix: Array) -> Array:
    """What brings the diagonal to one; one where an unknown has no effect."""
    diagonal = jnp.diagonal(matrix)
    return jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.maximum(diagonal, 1e-30)), 1.0)


def fit(
    simulate: Simulate, spec: EnvSpec, data: Stretches, theta: Array, *, rounds: int = 6, most_steps: int = 40
) -> Fitted:
    """The parameters that explain `data` best, from `theta` on.

    The noise of every observation is estimated along: each whole round weighs residuals with what the last one
    left. Infinite `error` where the equations give no finite number at `theta`.
    """
    seen = data.seen[..., None]
    count = jnp.maximum(jnp.sum(data.seen), 1)
    mean = jnp.sum(jnp.where(seen, data.obs, 0.0), (0, 1)) / count
    spread = jnp.sqrt(jnp.sum(jnp.where(seen, (data.obs - mean) ** 2, 0.0), (0, 1)) / count)
    spread = jnp.where(spread > 0, spread, 1.0)
    free = theta.shape[0] / data.obs.shape[-1] + jnp.sum(data.seen[:, 0] & ~jnp.roll(data.goes_on, 1))
    freedom = jnp.maximum(count - free, 1)  # of every observation; tied first states are free no more

    steps = data.action.shape[1]

    def one_round(i: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        theta, first, noise = at
        reach = jnp.maximum(steps >> jnp.maximum(SHORT - i, 0), 1)
        early = data._replace(
            seen=data.seen & (jnp.arange(steps + 1) <= reach), goes_on=data.goes_on & (reach == steps)
        )
        problem = Problem(simulate, spec, early, noise)
        end = problem.solve(theta, first, most_steps=most_steps)
        shown = jax.vmap(problem.run, (None, 0, 0))(end.theta, end.first, data.action)
        away, _ = problem.misses(end.theta, end.first, shown)
        left = noise * jnp.sqrt(jnp.sum(away**2, (0, 1)) / freedom)
        return end.theta, end.first, jnp.where(reach == steps, jnp.maximum(left, FLOOR * spread), noise)

    # The first round trusts what is seen to a tenth of its spread: enough to weigh one observation by another.
    theta, first, noise = jax.lax.fori_loop(0, rounds, one_round, (theta, data.obs[:, 0], 0.1 * spread))
    deviation, alike = Problem(simulate, spec, data, noise).uncertainty(theta, first)
    return Fitted(theta, noise, deviation, alike, jnp.mean((noise / spread) ** 2))
