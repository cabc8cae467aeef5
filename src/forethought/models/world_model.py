"""A latent world model: encoder, recurrent state-space model, decoder, reward and continue heads."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core import AbstractFilter, AbstractModel, replaced
from ..losses.kl import with_free_nats
from ..networks.heads import ProbabilityHead, ScalarHead
from ..presets.world_model import WorldModelConfig
from ..types import Box, EnvSpec, Metrics, Prediction, Sequence
from .decoders import Decoder, Reconstruction
from .encoders import Encoder
from .latents import AbstractLatent, LatentShape
from .rssm import RSSM, LatentBelief


class WorldModel(AbstractFilter[LatentBelief]):
    """Filters observations into latent states and imagines in them; leaves of a belief are `[particles, *batch, .]`.

    Vector observations are reconstructed as they are, so an unbounded angle is followed only as far as the encoder,
    which sees its sine and cosine, lets it be known.
    """

    encoder: Encoder
    rssm: RSSM
    decoder: Decoder
    reward_head: ScalarHead
    continue_head: ProbabilityHead | None
    spec: EnvSpec
    config: WorldModelConfig = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    particles: int = eqx.field(static=True)

    def __init__(
        self, spec: EnvSpec, config: WorldModelConfig, *, discount: float = 1.0, particles: int = 1, key: PRNGKeyArray
    ):
        """`discount` is what the continue head is taught of a step that does not terminate, so that it predicts
        discounts; with 1 it predicts probabilities. `particles` are drawn side by side from one observation.

        Raises ValueError for sizes that do not fit one another, and for images that cannot be encoded.
        """
        c, keys = config, jr.split(key, 5)
        _check(c)
        if not 0 < discount <= 1 or particles < 1:
            raise ValueError(f"discount={discount} must be above 0 and at most 1, particles={particles} at least 1")
        style: Any = {"norm": c.norm, "activation": c.activation}
        sizes = {"units": c.units, "layers": c.layers, "depth": c.depth, "kernel": c.kernel, "images": c.images}
        self.encoder = Encoder(spec, **sizes, **style, symlog=c.symlog, key=keys[0])
        self.rssm = RSSM(
            embedding=self.encoder.outputs,
            action=spec.action.feature_dim,
            latent=LatentShape(c.latent, c.latents, c.classes, c.unimix, c.min_std),
            cell=c.cell,
            deter=c.deter,
            hidden=c.hidden,
            blocks=c.blocks,
            prior_layers=c.prior_layers,
            **style,
            key=keys[1],
        )
        blocks = c.blocks if c.cell == "block-gru" else 1
        self.decoder = Decoder(
            spec,
            self.rssm,
            **sizes,
            **style,
            blocks=blocks,
            symlog=c.symlog,
            weight=c.observation_weight,
            key=keys[2],
        )
        head = {"units": c.units, "layers": c.head_layers, **style}
        self.reward_head = ScalarHead(self.rssm.feature_dim, c.reward, **head, key=keys[3])
        self.continue_head = ProbabilityHead(self.rssm.feature_dim, **head, key=keys[4]) if c.continues else None
        self.spec, self.config, self.discount, self.particles = spec, config, discount, particles

    # ---- what networks see

    def action_features(self, action: Array) -> Float[Array, "*batch features"]:
        """Actions as network inputs: a Box in [-1, 1], whatever its units; a Discrete one-hot."""
        space = self.spec.action
        if not isinstance(space, Box):
            return space.features(action)
        low, high = jnp.array(space.low), jnp.array(space.high)
        return jnp.clip(2 * (action - low) / (high - low) - 1, -1.0, 1.0)

    def features(self, belief: LatentBelief) -> Float[Array, "*batch features"]:
        """What heads, actor and critic see of a belief."""
        return self.rssm.features(belief)

    # ---- filtering and imagining

    def start(self) -> LatentBelief:
        """The belief before anything was seen; leaves `[particles, ...]`."""
        return self.rssm.zero((self.particles,))

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> LatentBelief:
        zero = jnp.zeros(self.spec.action.shape, jnp.float32 if isinstance(self.spec.action, Box) else jnp.int32)
        return self.filtered(self.start(), zero, obs, jnp.array(True), key=key)

    def observe(
        self, belief: LatentBelief, action: Array, obs: Float[Array, "*batch obs"], *, key: PRNGKeyArray
    ) -> LatentBelief:
        """The belief after `action` `[*batch, *action]` and then `obs`."""
        return self.filtered(belief, action, obs, jnp.zeros(obs.shape[:-1], bool), key=key)

    def filtered(
        self,
        belief: LatentBelief,
        action: Array,
        obs: Float[Array, "*batch obs"],
        first: Bool[Array, "*batch"],
        *,
        key: PRNGKeyArray,
    ) -> LatentBelief:
        """As `observe`; where `first`, what was believed and done before does not count."""
        lead = belief.deter.shape[:-1]
        spread = lambda x: jnp.broadcast_to(x, (*lead, x.shape[-1]))
        noise = self.rssm.latent.noise(lead, key=key)
        inputs = (spread(self.action_features(action)), spread(self.encoder(obs)), jnp.broadcast_to(first, lead))
        return self.rssm.observe(belief, *inputs, noise)[0]

    def step(self, belief: LatentBelief, action: Array, *, key: PRNGKeyArray) -> tuple[LatentBelief, Prediction]:
        noise = self.rssm.latent.noise(belief.deter.shape[:-1], key=key)
        belief = self.rssm.imagine(belief, self.action_features(action), noise)
        return belief, self.predicted(belief)

    def predicted(self, belief: LatentBelief) -> Prediction:
        """Expected reward of the step that led to `belief`, and the probability that the episode went on."""
        features = self.features(belief)
        reward = self.reward_head(features).mean()
        if self.continue_head is None:
            return Prediction(reward, jnp.ones_like(reward))
        going = self.continue_head.mean(features) / self.discount
        return Prediction(reward, jnp.minimum(going, 1.0))

    def discounts(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch"]:
        """The expected discount of what comes after each state: 0 if it is terminal."""
        if self.continue_head is None:
            return jnp.full(features.shape[:-1], self.discount)
        return self.continue_head.mean(features)

    def dynamics(self) -> "LatentDynamics":
        """What comes after what, without rewards, ends and pictures."""
        return LatentDynamics(self.rssm)

    def observation(self, belief: LatentBelief) -> Reconstruction:
        return self.decoder(belief, self.features(belief))

    def certain(self) -> "WorldModel":
        """Follows the latents' means, of categorical ones the likeliest."""
        latent = dataclasses.replace(self.rssm.latent, drawn=False)
        return replaced(self, rssm=replaced(self.rssm, latent=latent), particles=1)

    # ---- learning

    def loss(self, batch: Sequence, *, key: PRNGKeyArray) -> tuple[Float[Array, ""], tuple[LatentBelief, Metrics]]:
        """The weighted loss of a batch `[batch, time, ...]`; the posterior beliefs in it, and its parts.

        Every chunk starts from the zero state, whatever came before it.
        """
        c = self.config
        first = batch.first.at[:, 0].set(True)
        action, embedding = self.action_features(batch.action), self.encoder(batch.obs)
        beliefs, posterior = self.rssm.scan(action, embedding, first, key=key)
        prior = self.rssm.prior(beliefs.deter)
        sg = jax.lax.stop_gradient
        dyn = with_free_nats(sg(posterior).kl(prior), c.free_nats, c.free_nats_of)
        rep = with_free_nats(posterior.kl(sg(prior)), c.free_nats, c.free_nats_of)
        features = self.features(beliefs)
        image, vector = self.decoder(beliefs, features).losses(batch.obs)
        reward = jnp.mean(self.reward_head(features).loss(batch.reward))
        total = jnp.mean(image) + jnp.mean(vector) + c.reward_scale * reward + c.dyn_scale * dyn + c.rep_scale * rep
        metrics = {
            "model/reward_loss": reward,
            "model/kl": jnp.mean(posterior.kl(prior)),
            "model/prior_entropy": jnp.mean(prior.entropy()),
            "model/posterior_entropy": jnp.mean(posterior.entropy()),
        }
        if self.decoder.picture is not None:
            metrics["model/image_loss"] = jnp.mean(image)
        if self.decoder.vector is not None:
            metrics["model/vector_loss"] = jnp.mean(vector)
        if self.continue_head is not None:
            going = jnp.mean(self.continue_head.loss(features, self.discount * (1.0 - batch.terminated)))
            total, metrics["model/continue_loss"] = total + c.continue_scale * going, going
        if c.overshooting > 1:
            apart = self.overshot(beliefs, posterior, action, first, key=jr.fold_in(key, 1))
            total, metrics["model/overshooting"] = total + c.overshooting_scale * apart, apart
        return total, (beliefs, {"model/loss": total, **metrics})

    def overshot(
        self,
        beliefs: LatentBelief,
        posterior: AbstractLatent,
        action: Float[Array, "batch time features"],
        first: Bool[Array, "batch time"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Latent overshooting (Hafner et al. 2019, eq. 7): how far priors of 2 to `overshooting` steps are from the
        posteriors that they lead to, with free nats; mean over distances and over the steps inside one episode.

        No gradient goes to the posteriors compared with.
        """
        target = jax.lax.stop_gradient(posterior)

        def further(carry: tuple, x: tuple) -> tuple:
            belief, alive = carry
            distance, key = x
            earlier = lambda leaf: jnp.concatenate([leaf[:, :1], leaf[:, :-1]], 1)  # what stands at t now left from t-1
            belief, alive = jax.tree.map(earlier, (belief, alive))
            alive = alive & ~first & (jnp.arange(first.shape[1]) >= distance)
            deter = self.rssm.cell(belief.deter, belief.stoch, action)
            prior = self.rssm.prior(deter)
            belief = LatentBelief(deter, prior.sample(self.rssm.latent.noise(first.shape, key=key)))
            kl = jnp.maximum(target.kl(prior), self.config.free_nats)
            mean = jnp.sum(jnp.where(alive, kl, 0.0)) / jnp.maximum(jnp.sum(alive), 1)
            return (belief, alive), mean

        distances = jnp.arange(1, self.config.overshooting + 1)
        keys = jr.split(key, self.config.overshooting)
        _, means = jax.lax.scan(further, (beliefs, jnp.ones_like(first)), (distances, keys))
        return jnp.sum(means[1:]) / self.config.overshooting


class LatentDynamics(AbstractModel[LatentBelief]):
    """The latent states of a world model alone: nothing is decoded, no reward is told and no episode ends.

    Actions are those that its network sees (`WorldModel.action_features`).
    """

    rssm: RSSM

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> LatentBelief:
        return self.rssm.zero((1,))

    def step(self, belief: LatentBelief, action: Array, *, key: PRNGKeyArray) -> tuple[LatentBelief, Prediction]:
        lead = belief.deter.shape[:-1]
        belief = self.rssm.imagine(belief, action, self.rssm.latent.noise(lead, key=key))
        return belief, Prediction(jnp.zeros(lead), jnp.ones(lead))

    def observation(self, belief: LatentBelief) -> None:
        return None


def _check(config: WorldModelConfig) -> None:
    """Raises ValueError for invalid numbers."""
    for name in ("deter", "hidden", "blocks", "units", "depth"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    for name in ("prior_layers", "layers", "head_layers", "overshooting", "free_nats"):
        if not 0 <= getattr(config, name) < float("inf"):
            raise ValueError(f"{name}={getattr(config, name)} must be at least 0")
    if not 0 < config.observation_weight < float("inf"):
        raise ValueError(f"observation_weight={config.observation_weight} must be above 0")
