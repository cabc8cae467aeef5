"""Gradient ascent on action sequences, through a differentiable model."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractModel, AbstractRefiningPlanner
from ..presets.parts import PlannerConfig
from ..types import ActionSpace, Box
from . import checks
from .plan import SequencePlan, unknown_value
from .rollout import rollout
from .sequences import bounds, centre, shifted


class GradientSearch(eqx.Module):
    """A search under way."""

    logits: Float[Array, "restarts horizon action"]  # the ascending sequences before the squashing
    optimiser: optax.OptState
    iteration: Int[Array, ""]  # refinements so far
    actions: Float[Array, "horizon action"]  # the best sequence evaluated so far
    value: Float[Array, ""]  # its return; -inf before the first


class GradientPlanner(AbstractRefiningPlanner[SequencePlan[Array], GradientSearch]):
    """Adam ascent on the imagined return of `restarts` sequences side by side; the best one seen is chosen.

    Actions are `tanh` of free parameters, scaled to the bounds (so a bound itself is only approached). One
    restart starts from the previous plan moved one step on (from the centre without `warm_start`), the others
    from uniformly random sequences. One iteration is one Adam step; its gradient uses *fresh* model noise. A
    restart whose gradient is not finite stays where it is. Memory grows with restarts times horizon, for the
    backward pass. Raises ValueError for Discrete actions, sizes below 1 and bad numbers.
    """

    action: Box
    horizon: int = eqx.field(static=True)
    restarts: int = eqx.field(static=True, default=8)
    iterations: int = eqx.field(static=True, default=50)
    learning_rate: float = eqx.field(static=True, default=0.1)  # of the parameters before tanh
    warm_start: bool = eqx.field(static=True, default=True)
    discount: float = eqx.field(static=True, default=1.0)
    common_noise: bool = eqx.field(static=True, default=False)  # candidates meet the same luck, as `rollout` says

    def __check_init__(self) -> None:
        _check_box(self.action)
        for name in ("horizon", "restarts", "iterations"):
            checks.whole_number(name, getattr(self, name))
        checks.positive("learning_rate", self.learning_rate)
        checks.fraction("discount", self.discount)

    @classmethod
    def from_config(cls, action: Box, config: PlannerConfig) -> Self:
        """As configured. Raises ValueError for sizes that clash."""
        c = config
        return cls(
            action,
            horizon=c.horizon,
            discount=c.discount,
            common_noise=c.common_noise,
            restarts=c.restarts,
            iterations=c.gradient_steps,
            learning_rate=c.step_size,
        )

    def init(self) -> SequencePlan[Array]:
        actions = self._centre()
        return SequencePlan(actions, unknown_value(), actions)

    def begin(self, plan: SequencePlan[Array]) -> GradientSearch:
        actions = plan.warm if self.warm_start else self._centre()
        logits = jnp.broadcast_to(self._unsquash(actions), (self.restarts, *actions.shape))
        iteration, value = jnp.zeros((), jnp.int32), unknown_value()
        return GradientSearch(logits, self._adam().init(logits), iteration, actions, value)

    def refine(
        self, model: AbstractModel, belief: PyTree, search: GradientSearch, *, guide: Any = None, key: PRNGKeyArray
    ) -> GradientSearch:
        start_key, model_key = jr.split(key)
        random = self._unsquash(self.action.sample((self.restarts, self.horizon), key=start_key))
        scatter = (search.iteration == 0) & (jnp.arange(self.restarts) > 0)
        logits = jnp.where(scatter[:, None, None], random.astype(search.logits.dtype), search.logits)

        def objective(logits):
            actions = self._squash(logits)
            returns = rollout(
                model, belief, actions, discount=self.discount, common_noise=self.common_noise, key=model_key
            )
            return jnp.where(jnp.isfinite(returns), returns, 0).sum(), (returns, actions)

        gradient, (returns, actions) = jax.grad(objective, has_aux=True)(logits)
        sound = jnp.isfinite(gradient).all((1, 2), keepdims=True)
        descent = jnp.where(sound, -gradient, 0).astype(logits.dtype)
        updates, optimiser = self._adam().update(descent, search.optimiser)
        i = jnp.argmax(returns)
        better = returns[i] > search.value
        return GradientSearch(
            jax.tree.map(lambda x, update: jnp.where(sound, x + update, x), logits, updates),
            optimiser,
            search.iteration + 1,
            jnp.where(better, actions[i], search.actions),
            jnp.where(better, returns[i], search.value),
        )

    def best(self, search: GradientSearch) -> tuple[Array, SequencePlan[Array]]:
        warm = shifted(search.actions, centre(self.action))
        return search.actions[0], SequencePlan(search.actions, search.value, warm)

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def _squash(self, logits: Array) -> Array:
        low, high = bounds(self.action)
        return jnp.clip((low + high) / 2 + (high - low) / 2 * jnp.tanh(logits), low, high)

    def _unsquash(self, actions: Array) -> Array:
        """Parameters whose squashing is `actions`, held off the bounds, where the gradient would vanish."""
        low, high = bounds(self.action)
        return jnp.arctanh(jnp.clip((2 * actions - low - high) / (high - low), -0.99, 0.99))

    def _centre(self) -> Array:
        return jnp.broadcast_to(centre(self.action), (self.horizon, *self.action.shape))


def _check_box(action: ActionSpace) -> None:
    if not isinstance(action, Box):
        raise ValueError(
            f"GradientPlanner: action={action} must be a Box, for gradients need continuous actions; "
            "use RandomShooting, CEM, ICEM or MPPI"
        )
