"""Config of latent world models. Plain numbers; nothing here imports JAX."""

import dataclasses
from typing import Literal

from .bounds import FewOrNone, Fraction, Natural, Positive


@dataclasses.dataclass(frozen=True)
class WorldModelConfig:
    """Encoder, recurrent state-space model, decoder and heads. Sizes are those of Dreamer v3's smallest preset."""

    cell: Literal["block-gru", "layer-gru", "gru", "gru-before", "gru-after", "none"] = "block-gru"
    """How the memory moves on: Dreamer v3's block GRU, v2's GRU with a layer norm, the same without the norm, plain
    GRUs with the reset gate before (PlaNet) or after (Dreamer v1) the memory's matrix, or no memory (PlaNet's
    stochastic-only SSM)."""
    latent: Literal["categorical", "gaussian", "point"] = "categorical"
    """What the latent is; `point` draws nothing (PlaNet's deterministic-only RNN)."""
    deter: int = 512
    """Length of the memory."""
    hidden: int = 64
    """Width of the layers inside the state-space model."""
    latents: int = 32
    """Categoricals, or dimensions of a Gaussian or a point."""
    classes: int = 4
    """[categorical] Classes of each."""
    blocks: int = 8
    """[block-gru] Groups of memory features; also of the image decoder."""
    prior_layers: FewOrNone = 2
    """Hidden layers between memory and prior."""
    unimix: Fraction = 0.01
    """[categorical] Share of the uniform distribution in every prior and posterior."""
    min_std: Positive = 0.1
    """[gaussian] Least standard deviation."""
    units: int = 64
    """Width of the layers of encoder, decoder and heads."""
    layers: FewOrNone = 3
    """Hidden layers of the vector encoder and decoder."""
    head_layers: FewOrNone = 1
    """Hidden layers of the reward and continue heads."""
    images: Literal["convolutions", "dense"] = "convolutions"
    """How images are encoded and decoded; `dense` suits small symbolic ones, such as MinAtar's."""
    depth: int = 4
    """Channels of the image encoder, in units that grow 2, 3, 4, 4 times from layer to layer."""
    kernel: int = 5
    """Side of the convolutions' kernels."""
    norm: Literal["rms", "layer", "none"] = "rms"
    """Normalisation before every activation."""
    activation: Literal["silu", "elu", "relu"] = "silu"
    """Activation of all layers."""
    symlog: bool = True
    """Vectors are seen and predicted under the symmetric logarithm."""
    reward: Literal["two-hot", "normal"] = "two-hot"
    """The reward head: a classification over exponential bins, or a unit Gaussian."""
    continues: bool = True
    """Learn the probability that the episode goes on; off: it always does."""
    observation_weight: Positive = 1.0
    """Loss per squared error of the reconstruction: 1 in Dreamer v3, 0.5 (a unit Gaussian) before."""
    reward_scale: float = 1.0
    """Weight of the reward loss."""
    continue_scale: float = 1.0
    """Weight of the continue loss."""
    dyn_scale: float = 1.0
    """Weight of the divergence that pulls the prior towards the posterior."""
    rep_scale: float = 0.1
    """Weight of the divergence that pulls the posterior towards the prior."""
    free_nats: float = 1.0
    """Divergence below which nothing pulls."""
    free_nats_of: Literal["step", "batch"] = "step"
    """Whether each step's divergence is held against `free_nats`, or the mean of the batch."""
    overshooting: Natural = 0
    """Steps over which priors are also compared with later posteriors (latent overshooting); 0 or 1: off."""
    overshooting_scale: float = 1.0
    """Weight of latent overshooting."""
