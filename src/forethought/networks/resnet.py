"""Residual convolutions for boards."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import EnvSpec
from .conv import Conv
from .layers import RELU, Linear


class BoardNorm(eqx.Module):
    """Brings a board's features to mean 0 and variance 1, over squares and channels together."""

    gain: Float[Array, " channels"]

    def __call__(self, x: Float[Array, "n height width channels"]) -> Float[Array, "n height width channels"]:
        x = x - jnp.mean(x, (1, 2, 3), keepdims=True)
        return x * jax.lax.rsqrt(jnp.mean(x**2, (1, 2, 3), keepdims=True) + 1e-5) * self.gain


class Block(eqx.Module):
    """Two convolutions beside an identity (He et al. 2016, norm and activation first)."""

    norms: list[BoardNorm]
    convs: list[Conv]

    def __init__(self, channels: int, *, key: PRNGKeyArray):
        self.norms = [BoardNorm(jnp.ones(channels)) for _ in range(2)]
        self.convs = [Conv(channels, channels, 3, key=k) for k in jr.split(key)]

    def __call__(self, x: Float[Array, "n height width channels"]) -> Float[Array, "n height width channels"]:
        y = x
        for norm, conv in zip(self.norms, self.convs):
            y = conv(jax.nn.relu(norm(y)))
        return x + y


class ResNet(eqx.Module):
    """Residual convolutions on the picture of an observation, and a narrow look at it for each head."""

    stem: Conv
    blocks: list[Block]
    looks: list[Conv]  # of the policy and of the value: few channels, all squares
    hidden: Linear
    spec: EnvSpec

    def __init__(self, spec: EnvSpec, *, channels: int, blocks: int, units: int, key: PRNGKeyArray):
        """Raises ValueError for a task without a picture."""
        if spec.image is None:
            raise ValueError(f"network=resnet needs a board; {spec.name} is seen as numbers: take network=mlp")
        keys = jr.split(key, blocks + 4)
        height, width, planes = spec.image
        self.stem = Conv(planes, channels, 3, key=keys[0])
        self.blocks = [Block(channels, key=k) for k in keys[4:]]
        self.looks = [Conv(channels, 4, 1, key=k) for k in keys[1:3]]
        self.hidden = Linear(4 * height * width, units, scale=RELU, key=keys[3])
        self.spec = spec

    def __call__(self, obs: Float[Array, "n obs"]) -> tuple[Array, Array]:
        x = jax.nn.relu(self.stem(self.spec.pixels(obs) / 255.0))
        for block in self.blocks:
            x = block(x)
        policy, value = (jax.nn.relu(look(x)).reshape(len(obs), -1) for look in self.looks)
        return policy, jax.nn.relu(self.hidden(value))
