"""Proximal policy optimisation with a clipped surrogate (Schulman et al. 2017, eq. 7 and 9, Algorithm 1)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..losses.returns import generalised_advantages
from ..networks.actors import PolicyGradientActor
from ..networks.layers import MLP, RELU
from ..networks.policies import AbstractPolicy
from ..planners import checks
from ..presets.ppo import PPOConfig
from ..types import EnvSpec, Metrics, Transition
from .schedule import descended, repeated


class ActorCritic(eqx.Module):
    """What the optimiser changes."""

    actor: PolicyGradientActor
    critic: MLP


class PPOState(eqx.Module):
    """Everything that learning changes."""

    learned: ActorCritic
    opt_state: Any


class Examples(eqx.Module):
    """Steps of the policy before the update, and what they were worth."""

    obs: Float[Array, "n obs"]
    raw: Float[Array, "n action"]  # the raw action drawn
    log_prob: Float[Array, " n"]
    advantage: Float[Array, " n"]
    value: Float[Array, " n"]
    weight: Float[Array, " n"]  # 0 for rows that do not count, else 1


class PPO(eqx.Module):
    """Learns from trajectories of its own policy, real or imagined."""

    spec: EnvSpec
    config: PPOConfig = eqx.field(static=True)

    def __init__(self, spec: EnvSpec, config: PPOConfig):
        """Raises ValueError for invalid settings."""
        check(config)
        self.spec, self.config = spec, config

    def init(self, *, key: PRNGKeyArray) -> PPOState:
        """First weights: a policy close to uniform or of mean 0."""
        c, inputs = self.config, self.spec.feature_dim
        actor_key, critic_key = jr.split(key)
        actor = PolicyGradientActor(inputs, self.spec.action, c.hidden, initial_std=c.initial_std, key=actor_key)
        style: Any = {"norm": "none", "activation": "tanh", "scale": RELU, "orthogonal": True}
        learned = ActorCritic(actor, MLP(inputs, 1, c.hidden, **style, key=critic_key))
        return PPOState(learned, self._optimiser(1.0).init(eqx.filter(learned, eqx.is_inexact_array)))

    def _optimiser(self, remaining: Float[Array, ""] | float) -> optax.GradientTransformation:
        c = self.config
        return optax.chain(
            optax.clip_by_global_norm(c.max_grad_norm), optax.adam(c.learning_rate * remaining, eps=1e-5)
        )

    def policy(self, state: PPOState, obs: Float[Array, "*batch obs"]) -> AbstractPolicy:
        """What to do in each observation."""
        return state.learned.actor(self.spec.features(obs))

    def value(self, state: PPOState, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """The expected return from each observation."""
        return state.learned.critic(self.spec.features(obs))[..., 0]

    def advantages(self, state: PPOState, batch: Transition, valid: Bool[Array, "envs time"] | None = None) -> Examples:
        """Examples `[envs * time, ...]` of trajectories `[envs, time, ...]` whose `extras` are the raw actions drawn.

        A terminated step has no future; a truncated one, and the last of each trajectory, is bootstrapped from the
        value of its `next_obs`. Rows that are not `valid`, as behind the end of an imagined episode, do not count.
        """
        c, value = self.config, self.value(state, batch.obs)
        advantage = generalised_advantages(
            batch.reward.T,
            c.discount * (1.0 - batch.terminated.T),
            value.T,
            self.value(state, batch.next_obs).T,
            (batch.terminated | batch.truncated).T,
            c.gae_lambda,
        ).T
        log_prob = self.policy(state, batch.obs).log_prob(batch.extras)
        weight = jnp.ones_like(value) if valid is None else valid.astype(value.dtype)
        examples = Examples(batch.obs, batch.extras, log_prob, advantage, value, weight)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), examples)

    def update(
        self, state: PPOState, examples: Examples, *, remaining: Float[Array, ""] | float = 1.0, key: PRNGKeyArray
    ) -> tuple[PPOState, Metrics]:
        """All epochs of gradient steps; metrics are the means. The step size is `remaining` times the configured one.

        Raises ValueError for fewer examples than minibatches; what a minibatch leaves over is drawn anew each epoch.
        """
        c, n = self.config, len(examples.weight)
        if n < c.num_minibatches:
            raise ValueError(f"num_minibatches={c.num_minibatches} must be at most the {n} steps of a round; use {n}")
        optimiser, size = self._optimiser(remaining), n // c.num_minibatches
        order = jax.vmap(lambda key: jr.permutation(key, n))(jr.split(key, c.epochs))
        index = order[:, : size * c.num_minibatches].reshape(-1, size)

        def step(state: PPOState, rows: Array) -> tuple[PPOState, Metrics]:
            batch = jax.tree.map(lambda x: x[rows], examples)
            loss = lambda learned: self.loss(learned, batch)
            learned, opt_state, metrics = descended(loss, optimiser, state.learned, state.opt_state)
            return PPOState(learned, opt_state), metrics

        return repeated(step, state, index)

    def loss(self, learned: ActorCritic, batch: Examples) -> tuple[Float[Array, ""], Metrics]:
        """The clipped surrogate, the value's loss and the entropy bonus, on one minibatch."""
        c, features = self.config, self.spec.features(batch.obs)
        mean = lambda x: jnp.sum(batch.weight * x) / jnp.maximum(jnp.sum(batch.weight), 1.0)
        policy, value = learned.actor(features), learned.critic(features)[..., 0]
        advantage, target = batch.advantage, batch.advantage + batch.value
        if c.normalise_advantages:
            centred = advantage - mean(advantage)
            advantage = centred / (jnp.sqrt(mean(centred**2)) + 1e-8)
        log_ratio = policy.log_prob(batch.raw) - batch.log_prob
        ratio = jnp.exp(log_ratio)
        surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - c.clip, 1 + c.clip) * advantage)
        error = (value - target) ** 2
        if c.value_clip is not None:
            near = batch.value + jnp.clip(value - batch.value, -c.value_clip, c.value_clip)
            error = jnp.maximum(error, (near - target) ** 2)
        actor_loss, critic_loss, entropy = -mean(surrogate), 0.5 * mean(error), mean(policy.entropy())
        metrics = {
            "actor/loss": actor_loss,
            "actor/entropy": entropy,
            "actor/kl": mean(ratio - 1 - log_ratio),
            "actor/clipped": mean((jnp.abs(ratio - 1) > c.clip).astype(ratio.dtype)),
            "critic/loss": critic_loss,
            "critic/value": mean(value),
        }
        return actor_loss + c.value_weight * critic_loss - c.entropy_weight * entropy, metrics


def check(config: PPOConfig) -> None:
    """Raises ValueError for invalid settings."""
    c = config
    for name in ("num_steps", "epochs", "num_minibatches"):
        checks.whole_number(name, getattr(c, name))
    for width in c.hidden:
        checks.whole_number("hidden", width)
    for name in ("discount", "gae_lambda"):
        checks.fraction(name, getattr(c, name))
    for name in ("clip", "learning_rate", "max_grad_norm", "initial_std"):
        checks.positive(name, getattr(c, name))
    for name in ("value_weight", "entropy_weight"):
        checks.not_negative(name, getattr(c, name))
    if c.value_clip is not None:
        checks.positive("value_clip", c.value_clip)
    if c.decay_steps is not None:
        checks.whole_number("decay_steps", c.decay_steps)
