"""The known simulator as a model: any JAX environment whose observation determines its state."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractEnv, AbstractGame, AbstractModel
from ..errors import UserError
from ..networks.distributions import DiagonalNormal
from ..types import Moves, Prediction


class SimulatorBelief(eqx.Module):
    """A state of the environment and what is seen of it."""

    state: Any  # leaves [particles, *batch, ...]
    obs: Array  # [particles, *batch, obs]


class Simulator(AbstractModel[SimulatorBelief]):
    """The true dynamics and reward. Truncation is not imagined: a plan does not end because the clock does.

    Raises UserError if the environment cannot tell its state from an observation.
    """

    env: AbstractEnv
    particles: int = eqx.field(static=True, default=1)  # more than one only pays for a stochastic environment

    def __check_init__(self) -> None:
        if self.particles < 1:
            raise ValueError(f"particles={self.particles} must be at least 1")
        if self.env.state_from(jnp.zeros(self.env.spec.obs_dim)) is None:
            raise UserError(
                f"{self.env.spec.name} cannot be planned in on its true dynamics: its observation does not determine "
                "its state; define `state_from(obs)` on the environment, or train a model"
            )

    def init(self, obs: Array, *, key: PRNGKeyArray) -> SimulatorBelief:
        belief = SimulatorBelief(self.env.state_from(obs), obs)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.particles, *jnp.shape(x))), belief)

    def step(self, belief: SimulatorBelief, action: Array, *, key: PRNGKeyArray):
        batch = belief.obs.shape[:-1]
        flat = lambda x: x.reshape(-1, *x.shape[len(batch) :])
        state = jax.tree.map(flat, belief.state)
        keys = jr.split(key, belief.obs[..., 0].size)
        step = jax.vmap(lambda s, a, k: self.env.step(s, a, key=k))
        state, obs, reward, terminated, _ = step(state, flat(action), keys)
        back = lambda x: x.reshape(*batch, *x.shape[1:])
        prediction = Prediction(back(reward), 1.0 - back(terminated).astype(jnp.float32))
        return SimulatorBelief(jax.tree.map(back, state), back(obs)), prediction

    def moves(self, belief: SimulatorBelief) -> Moves | None:
        if not isinstance(self.env, AbstractGame):
            return None
        moves = self.env.moves
        for _ in belief.obs.shape[:-1]:
            moves = jax.vmap(moves)
        return moves(belief.state)

    def observation(self, belief: SimulatorBelief) -> DiagonalNormal:
        return DiagonalNormal(belief.obs, jnp.zeros_like(belief.obs))

    def drawn(self, belief: SimulatorBelief) -> Array:
        return belief.obs
