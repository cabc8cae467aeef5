"""Deep Q-learning with a target network and double targets (Mnih et al. 2015; van Hasselt et al. 2016)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..networks.critics import QNetwork
from ..planners import checks
from ..presets.dqn import DQNConfig
from ..types import Discrete, EnvSpec, Metrics, Transition
from .schedule import blended, descended, repeated


class QLearningState(eqx.Module):
    """Everything that learning changes."""

    network: QNetwork
    target: QNetwork
    opt_state: Any
    count: Int[Array, ""]  # updates so far


class QLearning(eqx.Module):
    """Learns action values from batches of transitions."""

    spec: EnvSpec
    space: Discrete
    config: DQNConfig = eqx.field(static=True)

    def __init__(self, spec: EnvSpec, config: DQNConfig):
        """Raises ValueError for continuous actions and invalid settings."""
        if not isinstance(spec.action, Discrete):
            raise ValueError(f"dqn needs discrete actions; those of {spec.name} are continuous: take sac or ppo")
        checks.settings(
            config,
            whole=("update_every", "updates", "batch_size", "hidden", "target_every", "epsilon_steps", "decay_steps"),
            fractions=("discount", "tau", "epsilon_first", "epsilon_last"),
            positives=("learning_rate", "max_grad_norm", "error_clip"),
        )
        self.spec, self.space, self.config = spec, spec.action, config

    def _optimiser(self, remaining: Float[Array, ""] | float) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(self.config.max_grad_norm)
        return optax.chain(clip, optax.adam(self.config.learning_rate * remaining))

    def init(self, *, key: PRNGKeyArray) -> QLearningState:
        """First weights, of both networks."""
        c = self.config
        network = QNetwork(self.spec.feature_dim, self.space.n, c.hidden, layer_norm=c.layer_norm, key=key)
        target = jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, network)  # no buffer is donated twice
        opt_state = self._optimiser(1.0).init(eqx.filter(network, eqx.is_inexact_array))
        return QLearningState(network, target, opt_state, jnp.zeros((), jnp.int32))

    def values(self, state: QLearningState, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch actions"]:
        """What each action is worth in each observation."""
        return state.network(self.spec.features(obs))

    def epsilon(self, env_steps: Int[Array, ""]) -> Float[Array, ""]:
        """The probability of a uniform action after so many environment steps."""
        c, part = self.config, jnp.minimum(env_steps / self.config.epsilon_steps, 1.0)
        return c.epsilon_first + part * (c.epsilon_last - c.epsilon_first)

    def targets(self, state: QLearningState, batch: Transition) -> Float[Array, " batch"]:
        """One-step returns. A terminal step has no future; a truncated one has."""
        features = self.spec.features(batch.next_obs)
        values = state.target(features)
        best = jnp.argmax(state.network(features) if self.config.double else values, -1)
        value = jnp.take_along_axis(values, best[:, None], -1)[:, 0]
        return batch.reward + self.config.discount * (1.0 - batch.terminated) * value

    def update(
        self, state: QLearningState, batch: Transition, *, remaining: Float[Array, ""] | float = 1.0
    ) -> tuple[QLearningState, Metrics]:
        """One gradient step on the loss of a batch `[batch, ...]`; the target network moves if it is due.

        The step size is `remaining` times the configured one.
        """
        c, target = self.config, self.targets(state, batch)
        features = self.spec.features(batch.obs)

        def loss_of(network: QNetwork) -> tuple[Array, Metrics]:
            value = jnp.take_along_axis(network(features), batch.action[:, None], -1)[:, 0]
            if c.error_clip is None:
                loss = jnp.mean(optax.l2_loss(value, target))
            else:
                loss = jnp.mean(optax.huber_loss(value, target, delta=c.error_clip))
            return loss, {"critic/loss": loss, "critic/value": jnp.mean(value)}

        network, opt_state, metrics = descended(loss_of, self._optimiser(remaining), state.network, state.opt_state)
        count = state.count + 1
        slow = blended(state.target, network, jnp.where(count % c.target_every == 0, c.tau, 0.0))
        return QLearningState(network, slow, opt_state, count), metrics

    def updates(
        self,
        state: QLearningState,
        draw: Callable[[PRNGKeyArray], Transition],
        *,
        remaining: Float[Array, ""] | float = 1.0,
        key: PRNGKeyArray,
    ) -> tuple[QLearningState, Metrics]:
        """The configured number of updates, each on a batch of `draw(key)`; metrics are the means."""
        one = lambda state, key: self.update(state, draw(key), remaining=remaining)
        return repeated(one, state, jr.split(key, self.config.updates))
