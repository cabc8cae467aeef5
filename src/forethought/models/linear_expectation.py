"""Linear expectation model: expected next features and expected reward, both linear in features (Sutton, Szepesvari,
Geramifard and Bowling 2008, "Dyna-style planning with linear function approximation and prioritized sweeping").

An expectation is all that linear values need: the value of the expected features is the expected value. Where an
episode ends, the next features are zero, so the chance of the end is in the features as well.
"""

import dataclasses
from collections.abc import Callable
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core import AbstractLearner, AbstractModel, AbstractReplay
from ..types import Discrete, EnvSpec, Metrics, Prediction, Transition


class FeatureBelief(eqx.Module):
    """Expected features."""

    features: Float[Array, "particles *batch features"]


class LinearExpectation(AbstractModel[FeatureBelief]):
    """`features' = inputs @ transition`, `reward = inputs @ weights`.

    The inputs are, with discrete actions, the features in the block of the action (a matrix for each action); with
    continuous ones features, action and 1; and the features alone where actions are left out (`by_action` False), which
    is a model of whatever policy made the data.
    """

    spec: EnvSpec
    transition: Float[Array, "inputs features"]
    weights: Float[Array, " inputs"]
    features: Callable[[Array], Array] = eqx.field(static=True)
    by_action: bool = eqx.field(static=True)

    @classmethod
    def empty(cls, spec: EnvSpec, features: Callable[[Array], Array] | None = None, *, by_action: bool = True) -> Self:
        """Without data: predicts zeros. `features` of one observation are a vector (default: `spec.features`)."""
        features = spec.features if features is None else features
        (size,) = jax.eval_shape(features, jnp.zeros(spec.obs_dim)).shape
        action = spec.action
        inputs = (
            size if not by_action else size * action.n if isinstance(action, Discrete) else size + len(action.low) + 1
        )
        return cls(spec, jnp.zeros((inputs, size)), jnp.zeros(inputs), features, by_action)

    def inputs(self, features: Float[Array, "*batch features"], action: Array) -> Float[Array, "*batch inputs"]:
        """What predictions are linear in."""
        if not self.by_action:
            return features
        if isinstance(self.spec.action, Discrete):
            blocks = self.spec.action.features(action)[..., :, None] * features[..., None, :]
            return blocks.reshape(*blocks.shape[:-2], -1)
        return jnp.concatenate([features, action, jnp.ones((*features.shape[:-1], 1))], -1)

    def rows(self, rows: Transition) -> tuple[Float[Array, "n inputs"], Float[Array, "n targets"]]:
        """Inputs, and next features with the reward behind them, of transitions `[n, ...]`."""
        seen, following = jax.vmap(self.features)(rows.obs), jax.vmap(self.features)(rows.next_obs)
        following = jnp.where(rows.terminated[:, None], 0.0, following)
        return self.inputs(seen, rows.action), jnp.concatenate([following, rows.reward[:, None]], -1)

    def fitted(self, rows: Transition, in_use: Bool[Array, " n"], *, ridge: float = 1e-6) -> Self:
        """The least-squares solution on those transitions `[n, ...]` that are `in_use`, with `ridge` times the squared
        weights in the loss."""
        x, y = self.rows(rows)
        x = jnp.where(in_use[:, None], x, 0.0)
        both = jnp.linalg.solve(x.T @ x + ridge * jnp.eye(x.shape[1]), x.T @ jnp.where(in_use[:, None], y, 0.0))
        return self._with(both)

    def updated(self, rows: Transition, *, step_size: float) -> Self:
        """After one gradient step on each of the transitions `[n, ...]`, in their order."""

        def step(both: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
            x, y = row
            return both + step_size * jnp.outer(x, y - x @ both), None

        both = jnp.concatenate([self.transition, self.weights[:, None]], -1)
        return self._with(jax.lax.scan(step, both, self.rows(rows))[0])

    def _with(self, both: Float[Array, "inputs targets"]) -> Self:
        return dataclasses.replace(self, transition=both[:, :-1], weights=both[:, -1])

    def value_weights(self, discount: float) -> Float[Array, " features"]:
        """Weights w of the value `features @ w` of the policy that made the data: what LSTD finds in the same data.

        Raises ValueError for a model of several actions, which says nothing of a policy.
        """
        if self.by_action:
            raise ValueError(
                "by_action=True: the value belongs to a policy; fit a model with by_action=False to its data"
            )
        return jnp.linalg.solve(jnp.eye(len(self.weights)) - discount * self.transition, self.weights)

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> FeatureBelief:
        return FeatureBelief(self.features(obs)[None])

    def step(self, belief: FeatureBelief, action: Array, *, key: PRNGKeyArray) -> tuple[FeatureBelief, Prediction]:
        x = self.inputs(belief.features, action)
        reward = x @ self.weights
        return FeatureBelief(x @ self.transition), Prediction(reward, jnp.ones_like(reward))

    def observation(self, belief: FeatureBelief) -> None:
        return None


class LeastSquares(AbstractLearner):
    """Fits a linear expectation model to all data, anew each time."""

    model: LinearExpectation
    ridge: float = eqx.field(static=True, default=1e-6)

    def fit(self, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        rows, in_use = replay.rows()
        model = self.model.fitted(rows, in_use, ridge=self.ridge)
        x, y = model.rows(rows)
        both = jnp.concatenate([model.transition, model.weights[:, None]], -1)
        error = jnp.where(in_use, jnp.mean((y - x @ both) ** 2, -1), 0.0)
        return dataclasses.replace(self, model=model), {"model/loss": error.sum() / jnp.maximum(in_use.sum(), 1)}
