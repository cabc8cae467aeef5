"""Networks that say of an observation what to do and what it is worth: dense layers, or residual ones for boards."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import EnvSpec
from .convolution import Conv
from .layers import Linear

NetworkKind = Literal["mlp", "resnet"]
RELU = 2**0.5  # scale that keeps the size of what passes through rectified layers


class Trunk(eqx.Module):
    """Dense layers on all of an observation; of one with a picture, on the picture alone."""

    layers: list[Linear]
    spec: EnvSpec

    def __init__(self, spec: EnvSpec, *, units: int, layers: int, key: PRNGKeyArray):
        sizes = [spec.feature_dim if spec.image is None else spec.num_pixels, *[units] * layers]
        keys = jr.split(key, layers)
        self.layers = [Linear(i, o, scale=RELU, key=k) for i, o, k in zip(sizes[:-1], sizes[1:], keys)]
        self.spec = spec

    def __call__(self, obs: Float[Array, "n obs"]) -> tuple[Array, Array]:
        """What the policy's head sees, and what the value's does, `[n, features]`."""
        seen = self.spec.pixels(obs).reshape(len(obs), -1) / 255.0 if self.spec.image else self.spec.features(obs)
        for layer in self.layers:
            seen = jax.nn.relu(layer(seen))
        return seen, seen


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


class PolicyValue(eqx.Module):
    """A policy and a value, from the side of the player to move.

    In a game of two the value is `tanh` of what the head says, else that itself. Both heads say next to nothing at
    first. Raises ValueError for sizes below 1 and for a ResNet on a task without a picture.
    """

    trunk: Trunk | ResNet
    policy_head: Linear
    value_head: Linear
    bounded: bool = eqx.field(static=True)

    def __init__(
        self,
        spec: EnvSpec,
        kind: NetworkKind,
        *,
        units: int,
        layers: int,
        channels: int,
        blocks: int,
        bounded: bool,
        key: PRNGKeyArray,
    ):
        for name, size in {"units": units, "layers": layers, "channels": channels, "blocks": blocks}.items():
            if size < 1:
                raise ValueError(f"{name}={size} must be at least 1")
        trunk_key, policy_key, value_key = jr.split(key, 3)
        if kind == "mlp":
            self.trunk = Trunk(spec, units=units, layers=layers, key=trunk_key)
        else:
            self.trunk = ResNet(spec, channels=channels, blocks=blocks, units=units, key=trunk_key)
        sizes = jax.eval_shape(self.trunk, jnp.zeros((1, spec.obs_dim)))
        self.policy_head = Linear(sizes[0].shape[-1], spec.action.feature_dim, scale=0.1, key=policy_key)
        self.value_head = Linear(sizes[1].shape[-1], 1, scale=0.1, key=value_key)
        self.bounded = bounded

    def __call__(
        self, obs: Float[Array, "*batch obs"]
    ) -> tuple[Float[Array, "*batch actions"], Float[Array, "*batch"]]:
        """Logits of the policy, and the value before any `tanh`: see `value`."""
        policy, value = self.trunk(obs.reshape(-1, obs.shape[-1]))
        logits, score = self.policy_head(policy), self.value_head(value)[..., 0]
        return logits.reshape(*obs.shape[:-1], -1), score.reshape(obs.shape[:-1])

    def value(self, score: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """What a position is worth to the player to move, from the second output."""
        return jnp.tanh(score) if self.bounded else score
