"""What a sequence planner hands from one call to the next."""

from typing import Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

Warm = TypeVar("Warm")


class SequencePlan(eqx.Module, Generic[Warm]):
    """The sequence a planner chose and where its next search starts."""

    actions: Array  # [horizon, *action]: as chosen for now, unshifted, so it can be executed open loop
    value: Float[Array, ""]  # its predicted return, as the planner knows it; -inf before the first refinement
    warm: Warm  # start of the next search, already one step on


def unknown_value() -> Float[Array, ""]:
    """The value of a sequence not imagined yet: -inf, strongly typed (a weak type would trace twice)."""
    return jnp.zeros(()) - jnp.inf
