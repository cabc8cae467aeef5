"""Dreamer v1 (Hafner et al. 2020, Algorithm 1; settings as in the authors' code).

The world model of PlaNet; in its imagination an actor climbs lambda returns by gradients through the model, and a
critic is regressed on them.

As in their code, a state's value includes the reward for reaching it, and a dream counts from its first imagined
state.

Deviations from the authors' code:
- terminal states are no starts of dreams; theirs leave out the last state of every sequence, where termination is
  learned;
- weights start as in Dreamer v3, where theirs start by Keras's defaults;
- images are encoded and decoded as in Dreamer v3;
- sequences may run over an episode's end, where the state is reset; theirs lie within one episode;
- there are no extra gradient steps before the first action;
- evaluation takes the squashed mean for the actor's mode, where theirs takes the likeliest of 100 draws;
- preset `default` is small, with larger step sizes, for CPUs, and its GRU's reset gate scales the whole candidate, as
  in Dreamer v2; `paper` has their sizes and their GRU, whose gate scales what the memory adds to the candidate.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractAgent, Additions, Clock, Data, Schedule
from ..learners.actor_critic import Learned, dream, reach_weights, state_returns
from ..learners.exploration import noisy
from ..learners.optimiser import by_part, clipped_adam
from ..learners.schedule import GradientSteps, descended
from ..models.filtering import FilterMemory
from ..models.world_model import WorldModel
from ..networks.heads import ScalarHead
from ..networks.policies import Actor
from ..presets.dreamer_v1 import DreamerV1Config
from ..replay.sequence import SequenceReplay
from ..types import EnvSpec, Metrics, Sequence


class DreamerV1State(eqx.Module):
    """Everything that learning changes."""

    learned: Learned
    opt_state: optax.OptState


class DreamerV1(AbstractAgent[DreamerV1State, FilterMemory]):
    """Acts from filtered latent states; learns behaviours in imagination. The reward is learned, and where asked for
    (`model.continues`) termination."""

    spec: EnvSpec
    config: DreamerV1Config = eqx.field(static=True)
    gradient_steps: GradientSteps

    def __init__(self, spec: EnvSpec, config: DreamerV1Config | None = None):
        """Raises ValueError for invalid settings."""
        self.spec = spec
        self.config = c = DreamerV1Config() if config is None else config
        self.gradient_steps = GradientSteps.rounds(c.update_every, c.updates, c.batch_size, c.batch_length)
        if c.imagination < 2:
            raise ValueError(
                f"imagination={c.imagination} must be at least 2: one imagined state, and one to bootstrap"
            )
        if not 0 <= c.action_noise < float("inf"):
            raise ValueError(f"action_noise={c.action_noise} must be at least 0")

    @property
    def schedule(self) -> Schedule:
        every = self.gradient_steps.update_every
        return Schedule.one_round("model", every, random_steps=self.config.random_steps)

    @property
    def sequence_length(self) -> int:
        return self.config.batch_length

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """One for each of model, actor and critic."""
        c = self.config
        of = lambda rate: clipped_adam(rate, clip=c.clip, eps=1e-7)
        return by_part(model=of(c.model_rate), actor=of(c.actor_rate), critic=of(c.critic_rate))

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": SequenceReplay.empty(self.spec, max(capacity, 2 * num_envs), num_envs)}

    def init(self, *, key: PRNGKeyArray) -> DreamerV1State:
        c, keys = self.config, jr.split(key, 3)
        model = WorldModel(self.spec, c.model, discount=c.discount, key=keys[0])
        size = model.rssm.feature_dim
        style = {"units": c.model.units, "norm": c.model.norm, "activation": c.model.activation}
        actor = Actor(size, self.spec.action, kind="tanh", layers=c.actor_layers, **style, key=keys[1])
        critic = ScalarHead(size, "normal", layers=c.critic_layers, **style, key=keys[2])
        learned = Learned(model, actor, critic)
        return DreamerV1State(learned, self.optimiser.init(eqx.filter(learned, eqx.is_inexact_array)))

    def model(self, state: DreamerV1State) -> WorldModel:
        return state.learned.model

    def init_memory(self, state: DreamerV1State) -> FilterMemory:
        return FilterMemory.start(state.learned.model)

    def act(
        self, state: DreamerV1State, memory: FilterMemory, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, FilterMemory, None]:
        see_key, act_key, noise_key = jr.split(key, 3)
        belief = memory.seen(state.learned.model, obs, key=see_key)
        policy = state.learned.actor(state.learned.model.features(belief)[0])
        action = policy.executed(policy.sample(key=act_key) if explore else policy.mode())
        if explore:
            action = noisy(self.spec.action, action, self.config.action_noise, key=noise_key)
        return action, memory.after(belief, action), None

    def update(
        self, state: DreamerV1State, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[DreamerV1State, Additions, Metrics]:
        def step(state: DreamerV1State, key: PRNGKeyArray) -> tuple[DreamerV1State, Metrics]:
            batch_key, loss_key = jr.split(key)
            batch = data["env"].sequences(self.config.batch_size, self.config.batch_length, key=batch_key)
            loss = lambda learned: self.loss(learned, batch, key=loss_key)
            learned, opt_state, metrics = descended(loss, self.optimiser, state.learned, state.opt_state)
            return DreamerV1State(learned, opt_state), metrics

        state, metrics = self.gradient_steps.repeat(step, state, key=key)
        return state, {}, metrics

    def loss(self, learned: Learned, batch: Sequence, *, key: PRNGKeyArray) -> tuple[Float[Array, ""], Metrics]:
        """The sum of the losses of model, actor and critic on a batch `[batch, time, ...]`; none reaches another."""
        c, sg, (model_key, dream_key) = self.config, jax.lax.stop_gradient, jr.split(key)
        model_loss, (beliefs, metrics) = learned.model.loss(batch, key=model_key)
        starts = jax.tree.map(lambda x: sg(x).reshape(-1, x.shape[-1]), beliefs)
        model = sg(learned.model)
        features = dream(model, learned.actor, starts, c.imagination, key=dream_key).features
        discount, value = model.discounts(features), sg(learned.critic)(features).mean()
        # As in the authors' code, the state that a dream starts from has no part in it, unless it is terminal.
        returns = state_returns(model.reward_head(features).mean(), discount, value, c.td_lambda)[1:]
        going = (1.0 - batch.terminated).reshape(-1)
        weight = sg(reach_weights(discount.at[0].set(going))[1:-1])
        actor_loss = -jnp.mean(weight * returns)
        critic_loss = jnp.mean(weight * learned.critic(sg(features[1:-1])).loss(returns))
        metrics |= {
            "actor/loss": actor_loss,
            "critic/loss": critic_loss,
            "critic/value": jnp.mean(value),
            "dream/return": jnp.mean(returns),
        }
        return model_loss + actor_loss + critic_loss, metrics
