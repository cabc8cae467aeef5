"""The recurrent state-space model: a deterministic path beside a stochastic latent (Hafner et al. 2019, Sec. 3).

With `cell="none"` it is the stochastic-only SSM, with `latent="point"` the deterministic-only RNN of that paper's
ablation.
"""

import abc
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..networks.layers import ACTIVATIONS, ActivationName, BlockLinear, Dense, Linear, Norm, NormKind
from .latents import AbstractLatent, LatentShape

CellKind = Literal["block-gru", "layer-gru", "gru", "gru-before", "gru-after", "none"]


class LatentBelief(eqx.Module):
    """What a recurrent state-space model knows: the memory and one draw of the latent."""

    deter: Float[Array, "*batch deter"]
    stoch: Float[Array, "*batch stoch"]


class AbstractCell(eqx.Module):
    """How the memory takes in the last latent and action."""

    @abc.abstractmethod
    def __call__(
        self,
        deter: Float[Array, "*batch deter"],
        stoch: Float[Array, "*batch stoch"],
        action: Float[Array, "*batch action"],
    ) -> Float[Array, "*batch deter"]:
        """The next memory."""


class BlockGRU(AbstractCell):
    """The GRU of Dreamer v3: block-diagonal, and inclined to keep (the update gate has a bias of -1)."""

    memory_in: Dense
    stoch_in: Dense
    action_in: Dense
    mix: BlockLinear
    mix_norm: Norm
    gates: BlockLinear
    blocks: int = eqx.field(static=True)
    activation: ActivationName = eqx.field(static=True)

    def __init__(
        self,
        deter: int,
        stoch: int,
        action: int,
        hidden: int,
        blocks: int,
        norm: NormKind,
        activation: ActivationName,
        *,
        key: PRNGKeyArray,
    ):
        if deter % blocks:
            raise ValueError(f"deter={deter} must be a multiple of blocks={blocks}")
        keys = jr.split(key, 5)
        sizes = (deter, stoch, action)
        self.memory_in, self.stoch_in, self.action_in = (
            Dense(size, hidden, norm, activation, key=k) for size, k in zip(sizes, keys)
        )
        self.mix = BlockLinear(deter + 3 * hidden * blocks, deter, blocks, key=keys[3])
        self.mix_norm = Norm(norm, deter)
        self.gates = BlockLinear(deter, 3 * deter, blocks, key=keys[4])
        self.blocks, self.activation = blocks, activation

    def __call__(self, deter, stoch, action):
        lead = deter.shape[:-1]
        shared = jnp.concatenate([self.memory_in(deter), self.stoch_in(stoch), self.action_in(action)], -1)
        shared = jnp.broadcast_to(shared[..., None, :], (*lead, self.blocks, shared.shape[-1]))
        x = jnp.concatenate([deter.reshape(*lead, self.blocks, -1), shared], -1).reshape(*lead, -1)
        x = ACTIVATIONS[self.activation](self.mix_norm(self.mix(x)))
        parts = jnp.split(self.gates(x).reshape(*lead, self.blocks, -1), 3, -1)
        reset, candidate, update = (part.reshape(*lead, -1) for part in parts)
        update = jax.nn.sigmoid(update - 1)
        return update * jnp.tanh(jax.nn.sigmoid(reset) * candidate) + (1 - update) * deter


class GRU(AbstractCell):
    """One GRU behind one dense layer, whose reset gate scales the whole candidate, input included.

    With a layer norm on the gates it is the cell of Dreamer v2: the update gate then has a bias of -1, as in its code.
    """

    mix: Dense
    gates: Linear
    gates_norm: Norm

    def __init__(
        self,
        deter: int,
        stoch: int,
        action: int,
        hidden: int,
        gates_norm: NormKind,
        norm: NormKind,
        activation: ActivationName,
        *,
        key: PRNGKeyArray,
    ):
        mix_key, gates_key = jr.split(key)
        self.mix = Dense(stoch + action, hidden, norm, activation, key=mix_key)
        self.gates = Linear(hidden + deter, 3 * deter, key=gates_key)
        self.gates_norm = Norm(gates_norm, 3 * deter)

    def __call__(self, deter, stoch, action):
        x = self.mix(jnp.concatenate([stoch, action], -1))
        x = self.gates_norm(self.gates(jnp.concatenate([x, deter], -1)))
        reset, candidate, update = jnp.split(x, 3, -1)
        update = jax.nn.sigmoid(update if self.gates_norm.kind == "none" else update - 1)
        return update * jnp.tanh(jax.nn.sigmoid(reset) * candidate) + (1 - update) * deter


class PlainGRU(AbstractCell):
    """One GRU behind one dense layer, whose reset gate acts on the memory alone (Cho et al. 2014).

    The gate scales the memory before its matrix, with gate biases of 1 (TensorFlow's `GRUBlockCell`, in PlaNet), or
    with `after` what the matrix makes of it, with biases of 0 (Keras's `GRUCell`, in Dreamer v1).
    """

    mix: Dense
    gates: Linear
    candidate: Linear
    recall: Linear
    after: bool = eqx.field(static=True)

    def __init__(
        self,
        deter: int,
        stoch: int,
        action: int,
        hidden: int,
        norm: NormKind,
        activation: ActivationName,
        *,
        after: bool,
        key: PRNGKeyArray,
    ):
        keys = jr.split(key, 4)
        self.mix = Dense(stoch + action, hidden, norm, activation, key=keys[0])
        self.gates = Linear(hidden + deter, 2 * deter, key=keys[1])
        self.candidate = Linear(hidden, deter, key=keys[2])
        self.recall = Linear(deter, deter, key=keys[3])
        self.after = after

    def __call__(self, deter, stoch, action):
        x = self.mix(jnp.concatenate([stoch, action], -1))
        gates = self.gates(jnp.concatenate([x, deter], -1)) + (0.0 if self.after else 1.0)
        reset, keep = jnp.split(jax.nn.sigmoid(gates), 2, -1)
        recalled = reset * self.recall(deter) if self.after else self.recall(reset * deter)
        return keep * deter + (1 - keep) * jnp.tanh(self.candidate(x) + recalled)


class Memoryless(AbstractCell):
    """No memory: what it hands on is a hidden layer of the last latent and action alone (the SSM of PlaNet)."""

    mix: Dense

    def __init__(
        self, deter: int, stoch: int, action: int, norm: NormKind, activation: ActivationName, *, key: PRNGKeyArray
    ):
        self.mix = Dense(stoch + action, deter, norm, activation, key=key)

    def __call__(self, deter, stoch, action):
        return self.mix(jnp.concatenate([stoch, action], -1))


class RSSM(eqx.Module):
    """Memory `h_t = f(h_tm1, z_tm1, a_tm1)`, prior `p(z_t | h_t)` and posterior `q(z_t | h_t, embedding_t)`."""

    cell: AbstractCell
    prior_hidden: list[Dense]
    prior_out: Linear
    posterior_hidden: Dense
    posterior_out: Linear
    latent: LatentShape
    deter: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        embedding: int,
        action: int,
        latent: LatentShape,
        cell: CellKind,
        deter: int,
        hidden: int,
        blocks: int,
        prior_layers: int,
        norm: NormKind,
        activation: ActivationName,
        key: PRNGKeyArray,
    ):
        """Raises ValueError if `blocks` does not divide `deter`, or for an unknown cell."""
        keys = jr.split(key, 4 + prior_layers)
        style: Any = {"norm": norm, "activation": activation, "key": keys[0]}
        if cell == "block-gru":
            self.cell = BlockGRU(deter, latent.stoch, action, hidden, blocks, **style)
        elif cell in ("gru", "layer-gru"):
            gates_norm = "layer" if cell == "layer-gru" else "none"
            self.cell = GRU(deter, latent.stoch, action, hidden, gates_norm, **style)
        elif cell in ("gru-before", "gru-after"):
            self.cell = PlainGRU(deter, latent.stoch, action, hidden, **style, after=cell == "gru-after")
        elif cell == "none":
            self.cell = Memoryless(deter, latent.stoch, action, **style)
        else:
            raise ValueError(f"cell={cell!r} must be block-gru, layer-gru, gru, gru-before, gru-after or none")
        sizes = [deter, *[hidden] * prior_layers]
        self.prior_hidden = [
            Dense(i, o, norm, activation, key=k) for i, o, k in zip(sizes[:-1], sizes[1:], keys[4:], strict=True)
        ]
        self.prior_out = Linear(sizes[-1], latent.outputs, key=keys[1])
        self.posterior_hidden = Dense(deter + embedding, hidden, norm, activation, key=keys[2])
        self.posterior_out = Linear(hidden, latent.outputs, key=keys[3])
        self.latent, self.deter = latent, deter

    @property
    def feature_dim(self) -> int:
        """Length of `features`."""
        return self.latent.stoch + (0 if isinstance(self.cell, Memoryless) else self.deter)

    def features(self, belief: LatentBelief) -> Float[Array, "*batch features"]:
        """What decoder, heads, actor and critic see: memory and latent, or the latent alone without a memory."""
        if isinstance(self.cell, Memoryless):
            return belief.stoch
        return jnp.concatenate([belief.deter, belief.stoch], -1)

    def zero(self, batch: tuple[int, ...]) -> LatentBelief:
        """The state before anything was seen."""
        return LatentBelief(jnp.zeros((*batch, self.deter)), jnp.zeros((*batch, self.latent.stoch)))

    def prior(self, deter: Float[Array, "*batch deter"]) -> AbstractLatent:
        """What the next latent will be, without seeing."""
        for layer in self.prior_hidden:
            deter = layer(deter)
        return self.latent.distribution(self.prior_out(deter))

    def imagine(self, belief: LatentBelief, action: Float[Array, "*batch action"], noise: Array) -> LatentBelief:
        """One step without seeing. Actions are network inputs: in [-1, 1], or one-hot."""
        deter = self.cell(belief.deter, belief.stoch, action)
        return LatentBelief(deter, self.prior(deter).sample(noise))

    def observe(
        self,
        belief: LatentBelief,
        action: Float[Array, "*batch action"],
        embedding: Float[Array, "*batch embedding"],
        first: Bool[Array, "*batch"],
        noise: Array,
    ) -> tuple[LatentBelief, AbstractLatent]:
        """One step, then seeing; and the posterior. Where `first`, previous state and action count as zero."""
        clear = lambda x: jnp.where(first[..., None], 0.0, x)
        deter = self.cell(clear(belief.deter), clear(belief.stoch), clear(action))
        raw = self.posterior_out(self.posterior_hidden(jnp.concatenate([deter, embedding], -1)))
        posterior = self.latent.distribution(raw)
        return LatentBelief(deter, posterior.sample(noise)), posterior

    def scan(
        self,
        action: Float[Array, "batch time action"],
        embedding: Float[Array, "batch time embedding"],
        first: Bool[Array, "batch time"],
        *,
        start: LatentBelief | None = None,
        key: PRNGKeyArray,
    ) -> tuple[LatentBelief, AbstractLatent]:
        """`observe` along time from `start` (default: zero), leaves `[batch, time, ...]`.

        Step t draws with the t-th of `split(key, time)`.
        """
        batch, time = first.shape
        noise = jax.vmap(lambda k: self.latent.noise((batch,), key=k))(jr.split(key, time))
        along = lambda x: jnp.moveaxis(x, 1, 0)

        def step(belief: LatentBelief, x: tuple) -> tuple:
            belief, posterior = self.observe(belief, *x)
            return belief, (belief, posterior)

        start = self.zero((batch,)) if start is None else start
        inputs = (along(action), along(embedding), along(first), noise)
        _, steps = jax.lax.scan(step, start, inputs)
        return jax.tree.map(along, steps)
