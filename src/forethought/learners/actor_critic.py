"""Actors and critics that learn in the imagination of a latent world model, and the parts of their losses."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.imagine import imagine
from ..losses.returns import lambda_returns
from ..models.rssm import LatentBelief
from ..models.world_model import WorldModel
from ..networks.heads import ScalarHead
from ..networks.policies import Actor


class Dream(NamedTuple):
    """An imagined trajectory."""

    features: Float[Array, "time_p1 starts features"]  # of all states; state 0 is where it starts
    raw: Array  # `[time, starts, ...]`: the raw action chosen in each state but the last


def dream(model: WorldModel, actor: Actor, start: LatentBelief, horizon: int, *, key: PRNGKeyArray) -> Dream:
    """`horizon` steps of the actor in the model from every state of `start` `[starts, ...]`.

    Gradients flow from later states to earlier actions, and from these to the actor's weights, not through what it
    saw.
    """

    def policy(belief: LatentBelief, key: PRNGKeyArray) -> tuple[Array, Array]:
        chosen = actor(jax.lax.stop_gradient(model.features(belief)))
        raw = chosen.sample(key=key)
        return chosen.features(raw), raw

    one_particle = jax.tree.map(lambda x: x[None], start)
    seen = imagine(model.dynamics(), one_particle, policy, horizon, key=key)
    return Dream(model.features(seen.beliefs)[:, 0], seen.extras[:, 0])


class Learned(eqx.Module):
    """What the optimiser changes."""

    model: WorldModel
    actor: Actor
    critic: ScalarHead


class ReturnScale(eqx.Module):
    """Moving 5th and 95th percentiles of returns; what advantages are divided by (Dreamer v3)."""

    low: Float[Array, ""]
    high: Float[Array, ""]

    @classmethod
    def start(cls) -> "ReturnScale":
        """Before any return."""
        return cls(jnp.zeros(()), jnp.zeros(()))

    def updated(self, returns: Float[Array, "*batch"], rate: float) -> "ReturnScale":
        """Moved by `rate` towards the percentiles of `returns`."""
        low, high = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        return ReturnScale(self.low + rate * (low - self.low), self.high + rate * (high - self.high))

    @property
    def scale(self) -> Float[Array, ""]:
        """Their distance, at least 1: small returns are not blown up."""
        return jnp.maximum(self.high - self.low, 1.0)


def dream_weights(discount: Float[Array, "time starts"]) -> Float[Array, "time starts"]:
    """How much each imagined state counts: the probability, discounted, that the episode reached it and went on.

    `discount` is that of each state, its own included, so a terminal start counts for nothing (Dreamer v3).
    """
    return jnp.cumprod(discount, 0)


def reach_weights(discount: Float[Array, "time starts"]) -> Float[Array, "time starts"]:
    """The probability, discounted, that the episode reached each imagined state: 1 at the start (Dreamer v1, v2).

    For values that include the state's own reward, as `state_returns` are: a terminal state still counts, with that
    reward alone, and what is imagined behind it does not.
    """
    return jnp.concatenate([jnp.ones_like(discount[:1]), jnp.cumprod(discount[:-1], 0)])


def dream_returns(
    reward: Float[Array, "time starts"],
    discount: Float[Array, "time starts"],
    value: Float[Array, "time starts"],
    lambda_: float,
) -> Float[Array, "time_m1 starts"]:
    """Lambda returns of all states but the last. Arguments are of states: the reward for reaching it, the discount
    of what comes after it, its value."""
    return lambda_returns(reward[1:], discount[1:], value[1:], lambda_)


def state_returns(
    reward: Float[Array, "time starts"],
    discount: Float[Array, "time starts"],
    value: Float[Array, "time starts"],
    lambda_: float,
) -> Float[Array, "time_m1 starts"]:
    """Lambda returns of all states but the last, each with the reward for reaching the state itself (Hafner et al.
    2021, eq. 4). Arguments are of states, as those of `dream_returns`; a terminal state's return is its reward.
    """
    return lambda_returns(reward[:-1], discount[:-1], value[1:], lambda_)
