"""From an observation to what the posterior sees of it."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..losses.symlog import symlog
from ..networks.conv import Conv, depths, stages
from ..networks.layers import ACTIVATIONS, MLP, ActivationName, ImageLayers, Norm, NormKind
from ..types import EnvSpec


class ImageEncoder(eqx.Module):
    """Convolutions, each followed by the greatest of every 2 x 2 pixels, as in the code of Dreamer v3.

    Images whose sides cannot be halved get one convolution without pooling.
    """

    convs: list[Conv]
    norms: list[Norm]
    image: tuple[int, int, int] = eqx.field(static=True)
    activation: ActivationName = eqx.field(static=True)

    def __init__(
        self,
        image: tuple[int, int, int],
        *,
        depth: int,
        kernel: int,
        norm: NormKind,
        activation: ActivationName,
        key: PRNGKeyArray,
    ):
        channels = [image[2], *depths(depth, stages(image))]
        keys = jr.split(key, len(channels) - 1)
        self.convs = [Conv(i, o, kernel, key=k) for i, o, k in zip(channels[:-1], channels[1:], keys)]
        self.norms = [Norm(norm, o) for o in channels[1:]]
        self.image, self.activation = image, activation

    @property
    def outputs(self) -> int:
        """Length of the embedding."""
        height, width, _ = self.image
        halved = 2 ** stages(self.image)
        return height // halved * (width // halved) * self.convs[-1].bias.shape[0]

    def __call__(self, pixels: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch outputs"]:
        """The embedding of pixels in 0..255."""
        lead = pixels.shape[:-3]
        x = pixels.reshape(-1, *self.image) / 255.0 - 0.5
        for conv, norm in zip(self.convs, self.norms):
            x = conv(x)
            if stages(self.image):
                n, height, width, channels = x.shape
                x = x.reshape(n, height // 2, 2, width // 2, 2 * channels)  # pairs of pixels side by side, last
                x = jnp.maximum(x[:, :, 0], x[:, :, 1])
                x = jnp.maximum(x[..., :channels], x[..., channels:])
            x = ACTIVATIONS[self.activation](norm(x))
        return x.reshape(*lead, self.outputs)


class DenseImageEncoder(eqx.Module):
    """Dense layers on all pixels at once: for small symbolic images, where convolutions cost more than they help.

    They see each pixel's distance from the image's mean, and that mean: a background that is always there would drown
    what moves before it.
    """

    network: MLP

    def __call__(self, pixels: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch outputs"]:
        """The embedding of pixels in 0..255."""
        flat = pixels.reshape(*pixels.shape[:-3], -1) / 255.0
        mean = jnp.mean(flat, -1, keepdims=True)
        return self.network(jnp.concatenate([flat - mean, mean], -1))


class Encoder(eqx.Module):
    """Embeds the picture, the vector, or both, of an observation; angles are seen as sine and cosine."""

    picture: ImageEncoder | DenseImageEncoder | None
    vector: MLP | None
    spec: EnvSpec
    outputs: int = eqx.field(static=True)
    symlog: bool = eqx.field(static=True)

    def __init__(
        self,
        spec: EnvSpec,
        *,
        units: int,
        layers: int,
        depth: int,
        kernel: int,
        images: ImageLayers,
        norm: NormKind,
        activation: ActivationName,
        symlog: bool,
        key: PRNGKeyArray,
    ):
        """Raises ValueError for an image of a size that cannot be taken."""
        picture_key, vector_key = jr.split(key)
        vector = spec.feature_dim - spec.num_pixels
        common: Any = {"norm": norm, "activation": activation}
        hidden = (units,) * layers
        self.picture = self.vector = None
        self.outputs = 0
        if spec.image is not None and images == "dense":
            self.picture = DenseImageEncoder(MLP(spec.num_pixels + 1, None, hidden, **common, key=picture_key))
            self.outputs += units
        elif spec.image is not None:
            self.picture = ImageEncoder(spec.image, depth=depth, kernel=kernel, **common, key=picture_key)
            self.outputs += self.picture.outputs
        if vector:
            self.vector = MLP(vector, None, hidden, **common, key=vector_key)
            self.outputs += units
        self.spec, self.symlog = spec, symlog

    def __call__(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch outputs"]:
        parts = []
        if self.picture is not None:
            parts.append(self.picture(self.spec.pixels(obs)))
        if self.vector is not None:
            x = self.spec.features(obs)[..., self.spec.num_pixels :]
            parts.append(self.vector(symlog(x) if self.symlog else x))
        return jnp.concatenate(parts, -1)
