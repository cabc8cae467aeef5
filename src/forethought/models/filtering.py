"""Following an episode: the memory of agents that act from a filtered belief."""

import dataclasses
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, PRNGKeyArray

from .rssm import LatentBelief
from .world_model import WorldModel


class FilterMemory(eqx.Module):
    """What is believed after the latest observation and what was done then; nothing yet where `first`."""

    belief: LatentBelief
    action: Array
    first: Bool[Array, ""]

    @classmethod
    def start(cls, model: WorldModel) -> Self:
        """Before the first observation of an episode."""
        nothing = jnp.zeros_like(model.spec.action.sample(key=jr.key(0)))
        return cls(model.start(), nothing, jnp.array(True))

    def seen(self, model: WorldModel, obs: Array, *, key: PRNGKeyArray) -> LatentBelief:
        """The belief with the next observation taken in."""
        return model.filtered(self.belief, self.action, obs, self.first, key=key)

    def after(self, belief: LatentBelief, action: Array) -> Self:
        """The memory to carry: `belief`, in which `action` was chosen."""
        return type(self)(belief, action, jnp.zeros_like(self.first))

    def acted(self, action: Array) -> Self:
        """As it is, with another action taken than was planned."""
        return dataclasses.replace(self, action=action)
