"""A model whose imagined episodes end or go on, where the model itself says how likely either is."""

from typing import TypeVar

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractDistribution, AbstractModel
from ..types import Moves, Prediction

Belief = TypeVar("Belief")
_STREAM = 0xE2D


class DrawnEnds(AbstractModel[Belief]):
    """`model` with terminations drawn: continuations are 0 or 1. All else is as the model says."""

    model: AbstractModel[Belief]

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> Belief:
        return self.model.init(obs, key=key)

    def step(self, belief: Belief, action: Array, *, key: PRNGKeyArray) -> tuple[Belief, Prediction]:
        belief, said = self.model.step(belief, action, key=key)
        going = jr.uniform(jr.fold_in(key, _STREAM), said.continuation.shape) < said.continuation
        return belief, Prediction(said.reward, going.astype(jnp.float32), said.extras)

    def observation(self, belief: Belief) -> AbstractDistribution | None:
        return self.model.observation(belief)

    def drawn(self, belief: Belief) -> Float[Array, "particles *batch obs"] | None:
        return self.model.drawn(belief)

    def moves(self, belief: Belief) -> Moves | None:
        return self.model.moves(belief)
