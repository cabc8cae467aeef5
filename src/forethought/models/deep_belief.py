"""A deep belief network that draws the next binary observation, given the observation and the action.

Restricted Boltzmann machines in a stack (Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief
nets"), each with biases that depend on the condition (conditional RBM; Taylor, Hinton & Roweis 2007, "Modeling human
motion using binary latent variables"). The lowest sees the next observation, every other one the hidden units below
it; they are trained greedily, one after another, by contrastive divergence (Hinton 2002, CD-k; statistics as in Hinton
2012, "A practical guide to training RBMs", sec. 3). To predict, the uppermost machine is sampled and its visible units
are carried down. Deviations:
- Adam on the contrastive-divergence statistics, where the guide has momentum;
- the condition (observation and one-hot action) is seen by every layer;
- every second chain begins where predictions begin, with no bit set, and not in the data: chains from the data alone
  never correct what the model thinks of states far from these, and predictions get stuck there (compare Nijkamp et al.
  2019, "Learning non-convergent non-persistent short-run MCMC toward energy-based model").
"""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractDistribution, AbstractLearner, AbstractModel
from ..fit import adam
from ..types import EnvSpec, Given, Metrics, Prediction, RewardFunction, TerminationFunction, pointwise


class Bits(AbstractDistribution):
    """Independent bits, seen as 0 or `high`."""

    probability: Float[Array, "*batch obs"]  # of `high`
    high: Float[Array, " obs"]

    def mean(self) -> Float[Array, "*batch obs"]:
        return self.probability * self.high

    def variance(self) -> Float[Array, "*batch obs"]:
        return self.probability * (1.0 - self.probability) * self.high**2

    def log_density(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """Logarithm of each bit's probability."""
        return jnp.log(jnp.where(obs > self.high / 2, self.probability, 1.0 - self.probability))

    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return self.log_density(obs).sum(-1)

    def cdf(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        low = 0.5 * (1.0 + jnp.sign(obs)) * (1.0 - self.probability)
        return low + 0.5 * (1.0 + jnp.sign(obs - self.high)) * self.probability


def drawn_bits(probability: Float[Array, "*batch bits"], key: PRNGKeyArray) -> Float[Array, "*batch bits"]:
    """0 or 1, with the probability of 1, to 1 / 65,536: short random numbers cost half as much."""
    luck = jr.bits(key, probability.shape, jnp.uint16).astype(jnp.float32)
    return (luck < 65536.0 * probability).astype(jnp.float32)


class ConditionalRBM(eqx.Module):
    """Energy -v W h - v (a + c A) - h (b + c B) of visible units v and hidden units h under a condition c."""

    weight: Float[Array, "visible hidden"]
    bias: Float[Array, " visible"]
    hidden_bias: Float[Array, " hidden"]
    to_visible: Float[Array, "condition visible"]
    to_hidden: Float[Array, "condition hidden"]

    def __init__(self, visible: int, hidden: int, condition: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        small = lambda k, *shape: 0.05 * jr.normal(k, shape)
        self.weight = small(keys[0], visible, hidden)
        self.to_visible, self.to_hidden = small(keys[1], condition, visible), small(keys[2], condition, hidden)
        self.bias, self.hidden_bias = jnp.zeros(visible), jnp.zeros(hidden)

    def biases(self, c: Float[Array, "*batch condition"]) -> tuple[Array, Array]:
        """Of visible and hidden units under a condition."""
        return c @ self.to_visible + self.bias, c @ self.to_hidden + self.hidden_bias

    def up(self, v: Float[Array, "*batch visible"], c: Float[Array, "*batch condition"]) -> Array:
        """Probabilities of the hidden units."""
        return jax.nn.sigmoid(v @ self.weight + self.biases(c)[1])

    def down(self, h: Float[Array, "*batch hidden"], c: Float[Array, "*batch condition"]) -> Array:
        """Probabilities of the visible units."""
        return jax.nn.sigmoid(h @ self.weight.T + self.biases(c)[0])

    def gibbs(self, v: Array, c: Array, steps: int, *, key: PRNGKeyArray) -> tuple[Array, Array]:
        """Visible units after `steps` steps of alternating Gibbs sampling from `v`, and their probabilities."""
        below, above = self.biases(c)

        def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            up_key, down_key = jr.split(jr.fold_in(key, i))
            hidden = drawn_bits(jax.nn.sigmoid(carry[0] @ self.weight + above), up_key)
            p = jax.nn.sigmoid(hidden @ self.weight.T + below)
            return drawn_bits(p, down_key), p

        return jax.lax.fori_loop(0, steps, step, (v, v))

    def divergence(self, v: Array, start: Array, c: Array, steps: int, *, key: PRNGKeyArray) -> Self:
        """CD-`steps` estimate of the gradient of the negative log-likelihood, mean over the batch.

        Chains begin in `start`: the data `v` themselves, or states that the model should be led away from.
        """
        end, _ = self.gibbs(start, c, steps, key=key)
        hidden, fancied, n = self.up(v, c), self.up(end, c), v.shape[0]
        statistics = lambda v, h: (v.T @ h / n, v.mean(0), h.mean(0), c.T @ v / n, c.T @ h / n)
        parts = lambda m: (m.weight, m.bias, m.hidden_bias, m.to_visible, m.to_hidden)
        change = jax.tree.map(lambda model, data: model - data, statistics(end, fancied), statistics(v, hidden))
        return eqx.tree_at(parts, self, change)

    def turned(self) -> Self:
        """With visible and hidden units exchanged."""
        parts = lambda m: (m.weight, m.bias, m.hidden_bias, m.to_visible, m.to_hidden)
        return eqx.tree_at(parts, self, (self.weight.T, *(parts(self)[i] for i in (2, 1, 4, 3))))


class BitsBelief(eqx.Module):
    """What each particle sees, and the probabilities that it was drawn with."""

    obs: Float[Array, "particles *batch obs"]
    probability: Float[Array, "particles *batch obs"]


class DeepBelief(AbstractModel[BitsBelief]):
    """Draws the next bits. Pixels are bits where they are above 127.5, other observations where they are above 0.5.

    A termination that is not given is one more bit. The reward is given.
    """

    layers: list[ConditionalRBM]  # the lowest first
    spec: EnvSpec
    reward: RewardFunction = eqx.field(static=True)
    termination: TerminationFunction | None = eqx.field(static=True)
    particles: int = eqx.field(static=True)
    gibbs_steps: int = eqx.field(static=True)

    def __init__(
        self,
        spec: EnvSpec,
        *,
        given: Given,
        hidden: int = 128,
        depth: int = 2,
        particles: int = 1,
        gibbs_steps: int = 5,
        key: PRNGKeyArray,
    ):
        """`depth` machines of `hidden` units and, every second, of as many as there are bits.

        `gibbs_steps` are those of the uppermost machine for each drawn observation.

        Raises ValueError for sizes below 1, or where the reward is not given.
        """
        if hidden < 1 or depth < 1:
            raise ValueError(f"hidden={hidden} and depth={depth} must be at least 1")
        if particles < 1 or gibbs_steps < 1:
            raise ValueError(f"particles={particles} and gibbs_steps={gibbs_steps} must be at least 1")
        if given.reward is None:
            raise ValueError(f"a deep belief network does not learn the reward of {spec.name}; give a reward function")
        self.spec, self.reward, self.termination = spec, given.reward, given.termination
        self.particles, self.gibbs_steps = particles, gibbs_steps
        condition = spec.obs_dim + spec.action.feature_dim
        self.layers = [ConditionalRBM(spec.obs_dim + (given.termination is None), hidden, condition, key=key)]
        for _ in range(depth - 1):
            self.layers.append(self.layers[-1].turned())

    @property
    def high(self) -> Float[Array, " obs"]:
        """What a set bit looks like."""
        return jnp.where(jnp.arange(self.spec.obs_dim) < self.spec.num_pixels, 255.0, 1.0)

    def bits(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """Observations as 0 or 1."""
        return (obs > self.high / 2).astype(jnp.float32)

    def nothing(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch visible"]:
        """Visible units of the lowest machine, none of them set: where predictions begin."""
        return jnp.zeros((*obs.shape[:-1], self.layers[0].bias.shape[0]))

    def condition(self, obs: Float[Array, "*batch obs"], action: Array) -> Float[Array, "*batch condition"]:
        """What all layers see: bits and action."""
        return jnp.concatenate([self.bits(obs), self.spec.action.features(action)], -1)

    def draw(self, obs: Float[Array, "*batch obs"], action: Array, *, key: PRNGKeyArray) -> tuple[Array, Array]:
        """The next bits, and the probabilities that they were drawn with."""
        c, keys = self.condition(obs, action), jr.split(key, len(self.layers) + 1)
        v = self.nothing(obs)
        for layer in self.layers[:-1]:
            v = layer.up(v, c)
        v, probability = self.layers[-1].gibbs(v, c, self.gibbs_steps, key=keys[0])
        for layer, k in zip(reversed(self.layers[:-1]), keys[1:]):
            probability = layer.down(v, c)
            v = drawn_bits(probability, k)
        return v, probability

    def expected(
        self, obs: Float[Array, "*batch obs"], action: Array, *, draws: int = 32, key: PRNGKeyArray
    ) -> Float[Array, "*batch obs"]:
        """Probabilities of the next bits: the mean over `draws` of those they were drawn with."""
        add = lambda i, total: total + self.draw(obs, action, key=jr.fold_in(key, i))[1][..., : self.spec.obs_dim]
        return jax.lax.fori_loop(0, draws, add, jnp.zeros(obs.shape)) / draws

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> BitsBelief:
        bits = jnp.broadcast_to(self.bits(obs), (self.particles, *obs.shape))
        return BitsBelief(bits * self.high, bits)

    def step(self, belief: BitsBelief, action: Array, *, key: PRNGKeyArray) -> tuple[BitsBelief, Prediction]:
        bits, probability = self.draw(belief.obs, action, key=key)
        size = self.spec.obs_dim
        obs = bits[..., :size] * self.high
        reward = pointwise(self.reward, self.spec.action)(belief.obs, action, obs)
        if self.termination is None:
            stop = probability[..., size]
        else:
            stop = pointwise(self.termination, self.spec.action)(belief.obs, action, obs).astype(jnp.float32)
        return BitsBelief(obs, probability[..., :size]), Prediction(reward, 1.0 - stop)

    def observation(self, belief: BitsBelief) -> Bits:
        return Bits(belief.probability, self.high)

    def drawn(self, belief: BitsBelief) -> Float[Array, "particles *batch obs"]:
        return belief.obs


class GreedyLearner(AbstractLearner):
    """Trains a deep belief network layer by layer, `steps` minibatches for each.

    The lowest machine goes on from its last weights. Every other one begins as the one below it turned over, so that
    the stack begins as good as without it (Hinton et al. 2006, sec. 4).
    """

    model: DeepBelief
    steps: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    divergence_steps: int = eqx.field(static=True)

    def __init__(
        self,
        model: DeepBelief,
        *,
        steps: int = 5000,
        batch_size: int = 64,
        learning_rate: float = 1e-2,
        divergence_steps: int = 5,
    ):
        """`divergence_steps` is the k of CD-k, best that of the model's `gibbs_steps`. The step size falls to a tenth
        along each layer's `steps`.

        Raises ValueError for sizes below 1 or a learning rate that is not positive.
        """
        for name, value in {"steps": steps, "batch_size": batch_size, "divergence_steps": divergence_steps}.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if not 0 < learning_rate < float("inf"):
            raise ValueError(f"learning_rate={learning_rate} must be above 0")
        self.model, self.steps, self.batch_size = model, steps, batch_size
        self.learning_rate, self.divergence_steps = learning_rate, divergence_steps

    def fit(self, replay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        """`model/loss` is the mean squared difference of the bits and their reconstruction, by the lowest machine."""
        rows, used = replay.rows()
        model = self.model
        v, c, start = model.bits(rows.next_obs), model.condition(rows.obs, rows.action), model.nothing(rows.obs)
        if model.termination is None:
            v = jnp.concatenate([v, rows.terminated[:, None].astype(jnp.float32)], -1)
        order = jnp.argsort(~used, stable=True)
        size = jnp.maximum(jnp.sum(used), 1)
        layers, below = [], v
        for i, layer in enumerate(model.layers):
            begin = layers[-1].turned() if layers else layer
            layers.append(self._fitted(begin, below, start, c, order, size, key=jr.fold_in(key, i)))
            below, start = layers[-1].up(below, c), layers[-1].up(start, c)
        lowest = layers[0]
        error = jnp.mean((lowest.down(lowest.up(v, c), c) - v) ** 2, -1)
        loss = jnp.sum(jnp.where(used, error, 0.0)) / size
        return eqx.tree_at(lambda s: s.model.layers, self, layers), {"model/loss": loss}

    def _fitted(
        self, layer: ConditionalRBM, v: Array, start: Array, c: Array, order: Array, size: Array, *, key: PRNGKeyArray
    ) -> ConditionalRBM:
        """One machine, trained on the probabilities `v` of its visible units, which are drawn anew for every batch.

        Every second chain begins in the data, the others where those of a prediction begin.
        """
        optimiser, parameters = adam(self.learning_rate), eqx.filter(layer, eqx.is_array)

        def step(i: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            layer, state = carry
            pick_key, draw_key, chain_key = jr.split(jr.fold_in(key, i), 3)
            rows = order[jr.randint(pick_key, (self.batch_size,), 0, size)]
            # Every row's units are drawn with one luck for both, so that what is alike stays alike.
            luck = jr.uniform(draw_key, (self.batch_size, v.shape[1]))
            batch, begin = (luck < v[rows]).astype(jnp.float32), (luck < start[rows]).astype(jnp.float32)
            begin = jnp.where(jnp.arange(self.batch_size)[:, None] % 2 == 0, batch, begin)
            slope = layer.divergence(batch, begin, c[rows], self.divergence_steps, key=chain_key)
            updates, state = optimiser.update(slope, state)
            fade = 0.1 ** (i / self.steps)
            return eqx.apply_updates(layer, jax.tree.map(lambda u: fade * u, updates)), state

        return jax.lax.fori_loop(0, self.steps, step, (layer, optimiser.init(parameters)))[0]
