"""From what a model knows to what it would see."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractDistribution
from ..losses.symlog import symexp, symlog
from ..networks.conv import Conv, depths, stages
from ..networks.layers import ACTIVATIONS, MLP, ActivationName, BlockLinear, ImageLayers, Linear, Norm, NormKind
from ..types import EnvSpec
from .rssm import RSSM, LatentBelief, Memoryless


class Reconstruction(AbstractDistribution):
    """A Gaussian of fixed width in the space where the squared error is taken: pixels in 0..1, vectors as they are or
    under `symlog`. Its variance there is 1 / (2 `weight`), so that `weight` times the squared error is minus its
    log-density, up to a constant.

    In the observation's own units, the vector part is skewed under symlog: `mean` is then its median, and `variance`
    the first-order one around that.
    """

    loc: Float[Array, "*batch obs"]  # in the space of the loss
    num_pixels: int = eqx.field(static=True)
    symlog: bool = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def _parts(self, x: Array) -> tuple[Array, Array]:
        return x[..., : self.num_pixels], x[..., self.num_pixels :]

    def _standard(self, obs: Array) -> Array:
        """An observation in the space of the loss."""
        pixels, vector = self._parts(obs)
        return jnp.concatenate([pixels / 255.0, symlog(vector) if self.symlog else vector], -1)

    def _stretch(self, obs: Array) -> Array:
        """Units of the observation per unit of the loss, at `obs`."""
        pixels, vector = self._parts(obs)
        ones = jnp.ones_like(vector)
        return jnp.concatenate([jnp.full_like(pixels, 255.0), 1 + jnp.abs(vector) if self.symlog else ones], -1)

    def mean(self) -> Float[Array, "*batch obs"]:
        pixels, vector = self._parts(self.loc)
        return jnp.concatenate([255.0 * pixels, symexp(vector) if self.symlog else vector], -1)

    def variance(self) -> Float[Array, "*batch obs"]:
        return self._stretch(self.mean()) ** 2 / (2 * self.weight)

    def log_density(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        square = (self._standard(obs) - self.loc) ** 2
        return -self.weight * square - 0.5 * jnp.log(jnp.pi / self.weight) - jnp.log(self._stretch(obs))

    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        return jnp.sum(self.log_density(obs), -1)

    def cdf(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        return jax.scipy.stats.norm.cdf((self._standard(obs) - self.loc) * (2 * self.weight) ** 0.5)

    def losses(self, obs: Float[Array, "*batch obs"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """Weighted squared errors, summed over the pixels and over the vector."""
        pixels, vector = self._parts(self.weight * (self._standard(obs) - self.loc) ** 2)
        return jnp.sum(pixels, -1), jnp.sum(vector, -1)


class ImageDecoder(eqx.Module):
    """The mirror of `ImageEncoder`: pixels are repeated and convolved, in sub-pixel form (Dreamer v3's code).

    With `blocks` above 1, the memory's groups of features each paint channels of their own, beside a small network
    of the latent.
    """

    from_memory: BlockLinear | Linear | None
    from_latent: list[MLP]
    norms: list[Norm]
    convs: list[Conv]
    image: tuple[int, int, int] = eqx.field(static=True)
    blocks: int = eqx.field(static=True)
    activation: ActivationName = eqx.field(static=True)

    def __init__(
        self,
        image: tuple[int, int, int],
        rssm: RSSM,
        *,
        units: int,
        depth: int,
        kernel: int,
        blocks: int,
        norm: NormKind,
        activation: ActivationName,
        key: PRNGKeyArray,
    ):
        """Raises ValueError if `blocks` does not divide the channels of the smallest image."""
        count = stages(image)
        channels = depths(depth, count)
        if channels[-1] % blocks:
            raise ValueError(f"depth={depth} gives {channels[-1]} channels, wanted a multiple of blocks={blocks}")
        keys = jr.split(key, 3 + len(channels))
        size = image[0] * image[1] // 4**count * channels[-1]
        self.from_memory = None
        if not isinstance(rssm.cell, Memoryless):
            make = (lambda k: BlockLinear(rssm.deter, size, blocks, key=k)) if blocks > 1 else None
            self.from_memory = make(keys[0]) if make else Linear(rssm.deter, size, key=keys[0])
        style: Any = {"norm": norm, "activation": activation}
        stoch = rssm.latent.stoch
        self.from_latent = [MLP(stoch, size, (2 * units,) if blocks > 1 else (), **style, key=keys[1])]
        self.norms = [Norm(norm, c) for c in reversed(channels)]
        outputs = [*reversed(channels[:-1]), image[2]]
        self.convs = [
            Conv(i, o, kernel, doubled=count > 0, key=k) for i, o, k in zip(reversed(channels), outputs, keys[2:])
        ]
        self.image, self.blocks, self.activation = image, blocks, activation

    def __call__(self, belief: LatentBelief) -> Float[Array, "*batch pixels"]:
        """Pixels in 0..1, flat."""
        lead = belief.stoch.shape[:-1]
        act = ACTIVATIONS[self.activation]
        halved = 2 ** stages(self.image)
        height, width = self.image[0] // halved, self.image[1] // halved
        x = self.from_latent[0](belief.stoch).reshape(-1, height, width, self.convs[0].kernel.shape[2])
        if self.from_memory is not None:
            grouped = self.from_memory(belief.deter).reshape(-1, self.blocks, height, width, x.shape[-1] // self.blocks)
            x = x + jnp.transpose(grouped, (0, 2, 3, 1, 4)).reshape(x.shape)
        for norm, conv in zip(self.norms, self.convs):
            x = conv(act(norm(x)))
        return jax.nn.sigmoid(x).reshape(*lead, -1)


class DenseImageDecoder(eqx.Module):
    """The mirror of `DenseImageEncoder`."""

    network: MLP

    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch pixels"]:
        """Pixels in 0..1, flat."""
        return jax.nn.sigmoid(self.network(features))


class Decoder(eqx.Module):
    """What a belief expects to see: picture, vector, or both."""

    picture: ImageDecoder | DenseImageDecoder | None
    vector: MLP | None
    rssm_features: int = eqx.field(static=True)
    num_pixels: int = eqx.field(static=True)
    symlog: bool = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def __init__(
        self,
        spec: EnvSpec,
        rssm: RSSM,
        *,
        units: int,
        layers: int,
        depth: int,
        kernel: int,
        blocks: int,
        images: ImageLayers,
        norm: NormKind,
        activation: ActivationName,
        symlog: bool,
        weight: float,
        key: PRNGKeyArray,
    ):
        picture_key, vector_key = jr.split(key)
        style: Any = {"norm": norm, "activation": activation}
        hidden = (units,) * layers
        self.picture = self.vector = None
        if spec.image is not None and images == "dense":
            dense = MLP(rssm.feature_dim, spec.num_pixels, hidden, **style, key=picture_key)
            self.picture = DenseImageDecoder(dense)
        elif spec.image is not None:
            sizes: Any = {"units": units, "depth": depth, "kernel": kernel, "blocks": blocks}
            self.picture = ImageDecoder(spec.image, rssm, **sizes, **style, key=picture_key)
        if spec.vector_dim:
            self.vector = MLP(rssm.feature_dim, spec.vector_dim, hidden, **style, key=vector_key)
        self.rssm_features, self.num_pixels = rssm.feature_dim, spec.num_pixels
        self.symlog, self.weight = symlog, weight

    def __call__(self, belief: LatentBelief, features: Float[Array, "*batch features"]) -> Reconstruction:
        """`features` are the RSSM's of `belief`."""
        parts = []
        if isinstance(self.picture, DenseImageDecoder):
            parts.append(self.picture(features))
        elif self.picture is not None:
            parts.append(self.picture(belief))
        if self.vector is not None:
            parts.append(self.vector(features))
        return Reconstruction(jnp.concatenate(parts, -1), self.num_pixels, self.symlog, self.weight)
