"""Proximal policy optimisation with a clipped surrogate (Schulman et al. 2017, eq. 7 and 9, Algorithm 1)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..losses.policy_gradient import clipped_surrogate, value_error
from ..losses.returns import generalised_advantages
from ..networks.actors import PolicyGradientActor
from ..networks.critics import ValueNetwork
from ..networks.policies import AbstractPolicy
from ..planners import checks
from ..presets.ppo import PPOConfig
from ..types import EnvSpec, Metrics, Transition
from .schedule import descended, repeated


class ActorCritic(eqx.Module):
    """What the optimiser changes."""

    actor: PolicyGradientActor
    critic: ValueNetwork


class PPOState(eqx.Module):
    """Everything that learning changes."""

    learned: ActorCritic
    opt_state: Any
    version: Int[Array, ""]  # gradient steps so far


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
        checks.settings(
            config,
            whole=("num_steps", "epochs", "num_minibatches", "hidden", "decay_steps"),
            fractions=("discount", "gae_lambda"),
            positives=("clip", "value_clip", "learning_rate", "max_grad_norm", "initial_std"),
        )
        checks.not_negative("value_weight", config.value_weight)
        checks.not_negative("entropy_weight", config.entropy_weight)
        if config.num_steps < config.num_minibatches:
            raise ValueError(
                f"num_minibatches={config.num_minibatches} must be at most num_steps={config.num_steps}, the steps "
                "of a round that they share out"
            )
        self.spec, self.config = spec, config

    def init(self, *, key: PRNGKeyArray) -> PPOState:
        """First weights: a policy close to uniform or of mean 0."""
        c, inputs = self.config, self.spec.feature_dim
        actor_key, critic_key = jr.split(key)
        actor = PolicyGradientActor(inputs, self.spec.action, c.hidden, initial_std=c.initial_std, key=actor_key)
        learned = ActorCritic(actor, ValueNetwork(inputs, c.hidden, key=critic_key))
        opt_state = self._optimiser(1.0).init(eqx.filter(learned, eqx.is_inexact_array))
        return PPOState(learned, opt_state, jnp.zeros((), jnp.int32))

    def _optimiser(self, remaining: Float[Array, ""] | float) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(self.config.max_grad_norm)
        return optax.chain(clip, optax.adam(self.config.learning_rate * remaining, eps=1e-5))

    def policy(self, state: PPOState, obs: Float[Array, "*batch obs"]) -> AbstractPolicy:
        """What to do in each observation."""
        return state.learned.actor(self.spec.features(obs))

    def value(self, state: PPOState, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """The expected return from each observation."""
        return state.learned.critic(self.spec.features(obs))

    def advantages(
        self, state: PPOState, batch: Transition, weight: Float[Array, "envs time"] | None = None
    ) -> Examples:
        """Examples `[envs * time, ...]` of trajectories `[envs, time, ...]` whose `extras` are the raw actions drawn.

        A terminated step has no future; a truncated one, and the last of each trajectory, is bootstrapped from the
        value of its `next_obs`. `weight` is 0 for steps that do not count, as behind the end of an imagined episode.
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
        weight = jnp.ones_like(value) if weight is None else weight
        examples = Examples(batch.obs, batch.extras, log_prob, advantage, value, weight)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), examples)

    def update(
        self,
        state: PPOState,
        examples: Examples,
        count: int | None = None,
        *,
        remaining: Float[Array, ""] | float = 1.0,
        key: PRNGKeyArray,
    ) -> tuple[PPOState, Metrics]:
        """All epochs of gradient steps; metrics are the means. The step size is `remaining` times the configured one.

        Each epoch uses `count` examples (None: all) in a new random order, those with weight 0 last. Raises ValueError
        if `count` is smaller than the number of minibatches.
        """
        c, n = self.config, len(examples.weight)
        self.check_count(count := n if count is None else count)
        optimiser, size = self._optimiser(remaining), count // c.num_minibatches
        last = examples.weight <= 0
        order = jax.vmap(lambda key: jnp.argsort(jr.uniform(key, (n,)) + last))(jr.split(key, c.epochs))
        index = order[:, : size * c.num_minibatches].reshape(-1, size)

        def step(state: PPOState, rows: Array) -> tuple[PPOState, Metrics]:
            batch = jax.tree.map(lambda x: x[rows], examples)
            loss = lambda learned: self.loss(learned, batch)
            learned, opt_state, metrics = descended(loss, optimiser, state.learned, state.opt_state)
            return PPOState(learned, opt_state, state.version + 1), metrics

        return repeated(step, state, index)

    def check_count(self, count: int) -> None:
        """Raises ValueError for too few steps of a round."""
        if count < self.config.num_minibatches:
            raise ValueError(
                f"num_minibatches={self.config.num_minibatches} must be at most the {count} actions of a round; use "
                f"{count}"
            )

    def loss(self, learned: ActorCritic, batch: Examples) -> tuple[Float[Array, ""], Metrics]:
        """Surrogate, value's loss and entropy bonus of a minibatch (eq. 9)."""
        c, features = self.config, self.spec.features(batch.obs)
        mean = lambda x: jnp.sum(batch.weight * x) / jnp.maximum(jnp.sum(batch.weight), 1.0)
        policy, value = learned.actor(features), learned.critic(features)
        advantage, target = batch.advantage, batch.advantage + batch.value
        if c.normalise_advantages:
            advantage = advantage - mean(advantage)
            advantage = advantage / (jnp.sqrt(mean(advantage**2)) + 1e-8)
        log_ratio = policy.log_prob(batch.raw) - batch.log_prob
        actor_loss = -mean(clipped_surrogate(log_ratio, advantage, c.clip))
        critic_loss = mean(value_error(value, target, batch.value, c.value_clip))
        entropy = mean(policy.entropy())
        metrics = {
            "actor/loss": actor_loss,
            "actor/entropy": entropy,
            "actor/kl": mean(jnp.expm1(log_ratio) - log_ratio),
            "critic/loss": critic_loss,
            "critic/value": mean(value),
        }
        return actor_loss + c.value_weight * critic_loss - c.entropy_weight * entropy, metrics
