"""Planning by optimal control: iLQR, DDP and LQR in any differentiable model."""

import dataclasses
from typing import Any, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractModel, AbstractRefiningPlanner
from ..presets.parts import PlannerConfig
from ..types import ActionSpace, Box
from . import checks, ilqr, lqr
from .model_problem import problem_of
from .plan import SequencePlan, unknown_value
from .sequences import bounds, centre, shifted

FIRST_NOISE = 0.1  # of the first sequence of an episode, as a part of half the range: a system at rest stays there


class ILQRPlan(eqx.Module):
    """The sequence chosen, where the next search starts, and how this one ended."""

    actions: Float[Array, "horizon action"]
    value: Float[Array, ""]  # its predicted return; -inf before the first refinement
    warm: Float[Array, "horizon action"]  # already one step on
    status: Int[Array, ""]  # of the search: ilqr.RUNNING, CONVERGED or GAVE_UP
    regularisation: Float[Array, ""]  # that it ended with


class ILQRSearch(eqx.Module):
    """A search under way; leaves `[restarts, ...]`."""

    actions: Float[Array, "restarts horizon action"]
    value: Float[Array, " restarts"]
    regularisation: Float[Array, " restarts"]
    change: Float[Array, " restarts"]
    status: Int[Array, " restarts"]
    iteration: Int[Array, ""]  # refinements so far
    fresh: Array  # bool []: nothing was planned before
    noise: Array  # data of the key of the model's noise: one for the whole search, or costs could not be compared


class ILQR(AbstractRefiningPlanner[ILQRPlan, ILQRSearch]):
    """iLQR (DDP with `second_order`) on the imagined return, with the bounds as control limits.

    One iteration is one expansion, one backward pass and one line search (see `ilqr`, with the Hessians of the costs
    made convex); the model is followed as `problem_of` says. It starts from the previous plan moved one step on, other
    `restarts` from uniformly random sequences, and the best is executed. A search that gives up keeps what it had, and
    its plan says so. `angle_dims` are entries of the model's state that are angles, for tasks that wrap them.
    Raises ValueError for Discrete actions, sizes below 1 and bad numbers.
    """

    action: Box
    horizon: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True, default=5)
    restarts: int = eqx.field(static=True, default=1)
    second_order: bool = eqx.field(static=True, default=False)
    discount: float = eqx.field(static=True, default=1.0)
    final_weight: float = eqx.field(static=True, default=1.0)  # of the last reward
    angle_dims: tuple[int, ...] = eqx.field(static=True, default=())
    line_search: Literal["parallel", "sequential"] = eqx.field(static=True, default="sequential")

    def __check_init__(self) -> None:
        check_box("ILQR", self.action)
        for name in ("horizon", "iterations", "restarts"):
            checks.whole_number(name, getattr(self, name))
        checks.fraction("discount", self.discount)
        checks.positive("final_weight", self.final_weight)
        _ = self.options

    @property
    def options(self) -> ilqr.Options:
        """How each problem is solved."""
        return ilqr.Options(second_order=self.second_order, convex=True, line_search=self.line_search)

    @classmethod
    def from_config(cls, action: Box, config: PlannerConfig) -> Self:
        """As configured. Raises ValueError for sizes that clash."""
        c = config
        return cls(
            action,
            horizon=c.horizon,
            iterations=c.iterations,
            restarts=c.restarts,
            second_order=c.second_order,
            discount=c.discount,
            final_weight=c.final_weight,
        )

    def init(self) -> ILQRPlan:
        actions = jnp.broadcast_to(centre(self.action), (self.horizon, *self.action.shape))
        zero = jnp.zeros((), jnp.int32)
        return ILQRPlan(actions, unknown_value(), actions, zero + ilqr.RUNNING, jnp.zeros(()))

    def begin(self, plan: ILQRPlan) -> ILQRSearch:
        each = jnp.zeros(self.restarts)
        actions = jnp.broadcast_to(plan.warm, (self.restarts, *plan.warm.shape))
        fresh = ~jnp.isfinite(plan.value)
        status = jnp.full(self.restarts, ilqr.RUNNING, jnp.int32)
        noise = jr.key_data(jr.key(0))
        first = each + self.options.first
        return ILQRSearch(actions, each - jnp.inf, first, each + 1, status, jnp.zeros((), jnp.int32), fresh, noise)

    def refine(
        self, model: AbstractModel, belief: PyTree, search: ILQRSearch, *, guide: Any = None, key: PRNGKeyArray
    ) -> ILQRSearch:
        model_key, start_key = jr.split(key)
        begun = search.iteration > 0
        noise = jnp.where(begun, search.noise, jr.key_data(model_key))
        actions = jnp.where(begun, search.actions, self._scattered(search, start_key))
        problem, state = problem_of(
            model,
            belief,
            self.action,
            horizon=self.horizon,
            discount=self.discount,
            final_weight=self.final_weight,
            angle_dims=self.angle_dims,
            key=jr.wrap_key_data(noise),
        )

        def one(actions: Array, mu: Array, change: Array) -> ilqr.Solution:
            solution = ilqr.start(problem, state, actions, self.options)
            as_is = lambda x: x.astype(solution.cost.dtype)
            solution = dataclasses.replace(solution, regularisation=as_is(mu), change=as_is(change))
            return ilqr.iterate(problem, solution, self.options)

        inputs = (actions, search.regularisation, search.change)
        if self.restarts == 1:  # not under vmap, where every branch is taken
            found = jax.tree.map(lambda x: x[None], one(*jax.tree.map(lambda x: x[0], inputs)))
        else:
            found = jax.vmap(one)(*inputs)
        like = lambda new, old: new.astype(old.dtype)
        return ILQRSearch(
            like(found.u, search.actions),
            like(jnp.where(jnp.isfinite(found.cost), -found.cost, -jnp.inf), search.value),
            like(found.regularisation, search.regularisation),
            like(found.change, search.change),
            found.status,
            search.iteration + 1,
            search.fresh,
            noise,
        )

    def best(self, search: ILQRSearch) -> tuple[Array, ILQRPlan]:
        i = jnp.argmax(search.value)
        actions = search.actions[i]
        warm = shifted(actions, actions[-1])
        plan = ILQRPlan(actions, search.value[i], warm, search.status[i], search.regularisation[i])
        return actions[0], plan

    def _scattered(self, search: ILQRSearch, key: PRNGKeyArray) -> Array:
        """The sequences to start from."""
        low, high = bounds(self.action)
        random_key, noise_key = jr.split(key)
        random = self.action.sample((self.restarts, self.horizon), key=random_key)
        nudge = FIRST_NOISE * (high - low) / 2 * jr.normal(noise_key, random.shape)
        nudged = jnp.clip(search.actions + jnp.where(search.fresh, nudge, 0.0), low, high)
        first = (jnp.arange(self.restarts) == 0)[:, None, None]
        return jnp.where(first, nudged, random).astype(search.actions.dtype)


class LQRSearch(eqx.Module):
    """The answer, once there is one."""

    actions: Float[Array, "horizon action"]
    value: Float[Array, ""]


class LQRPlanner(AbstractRefiningPlanner[SequencePlan[Array], LQRSearch]):
    """LQR about the present belief and the middle of the bounds: exact where dynamics are linear and rewards quadratic.

    Dynamics and reward are expanded once, at that point, the reward's Hessian is made concave, and the policy with
    feedback that solves this problem is imagined in the model itself, cut to the bounds. There is nothing to refine.
    Raises ValueError for Discrete actions and bad numbers, and when it runs an error if the reward is not strictly
    concave in the control there.
    """

    action: Box
    horizon: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True, default=1)
    discount: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        check_box("LQRPlanner", self.action)
        for name in ("horizon", "iterations"):
            checks.whole_number(name, getattr(self, name))
        checks.fraction("discount", self.discount)

    @classmethod
    def from_config(cls, action: Box, config: PlannerConfig) -> Self:
        """As configured. Raises ValueError for sizes that clash."""
        c = config
        return cls(
            action,
            horizon=c.horizon,
            discount=c.discount,
        )

    def init(self) -> SequencePlan[Array]:
        actions = jnp.broadcast_to(centre(self.action), (self.horizon, *self.action.shape))
        return SequencePlan(actions, unknown_value(), actions)

    def begin(self, plan: SequencePlan[Array]) -> LQRSearch:
        return LQRSearch(plan.warm, unknown_value())

    def refine(
        self, model: AbstractModel, belief: PyTree, search: LQRSearch, *, guide: Any = None, key: PRNGKeyArray
    ) -> LQRSearch:
        problem, state = problem_of(model, belief, self.action, horizon=self.horizon, discount=self.discount, key=key)
        middle = jnp.broadcast_to(centre(self.action), (1, *self.action.shape))
        point = ilqr.start(problem, state, middle, ilqr.Options())
        expansion = ilqr.expand(problem, point, ilqr.Options(convex=True))
        x = problem.pack(state)
        drift = problem.difference(problem.pack(jax.tree.map(lambda leaf: leaf[-1], point.states)), x)
        along = lambda array: jnp.broadcast_to(array, (self.horizon, *array.shape))
        dynamics = lqr.LinearDynamics(along(expansion.F[0]), along(drift))
        cost = lqr.QuadraticCost(along(expansion.C[0]), along(expansion.c[0]), along(point.cost))
        solution = lqr.backward(dynamics, cost, discount=self.discount)
        cost = point.cost  # what a step promises is not asked for
        step = ilqr.Step(solution.policy.k, solution.policy.K, cost, cost, cost, solution.convex.all())
        # Deviations are all from the one point.
        still = jax.tree.map(lambda leaf: along(leaf[0]), point.states)
        still = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), still)
        nominal = dataclasses.replace(point, states=still, u=along(middle[0]))
        _, actions, value = ilqr.followed(problem, nominal, step, jnp.ones((), x.dtype))
        actions = eqx.error_if(
            actions,
            ~step.positive,
            "LQR: the reward is not strictly concave in the control where it was expanded; add a cost of the control, "
            "or use ilqr, which regularises",
        )
        return LQRSearch(actions.astype(search.actions.dtype), -value.astype(search.value.dtype))

    def best(self, search: LQRSearch) -> tuple[Array, SequencePlan[Array]]:
        warm = shifted(search.actions, centre(self.action))
        return search.actions[0], SequencePlan(search.actions, search.value, warm)


def check_box(who: str, action: ActionSpace) -> None:
    """Raises ValueError unless actions are continuous."""
    if not isinstance(action, Box):
        raise ValueError(
            f"{who}: action={action} must be a Box, for derivatives need continuous actions; use RandomShooting, CEM, "
            "ICEM, MPPI or TreeSearch"
        )
