"""Linear layers, norms and MLPs. All take any leading batch axes."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

NormKind = Literal["rms", "layer", "none"]
ActivationName = Literal["silu", "elu", "relu", "tanh"]
ImageLayers = Literal["convolutions", "dense"]
RELU = 2**0.5  # scale that keeps the size of what passes through rectified layers
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
}


def weights(shape: tuple[int, ...], fan_in: int, scale: float, *, key: PRNGKeyArray) -> Array:
    """Normal numbers cut at two standard deviations, of variance `scale^2 / fan_in` after the cut."""
    std = scale / fan_in**0.5 / 0.87962566103423978  # the standard deviation of a unit normal cut at 2
    return std * jr.truncated_normal(key, -2.0, 2.0, shape)


class Linear(eqx.Module):
    """`x W + b`, with b = 0 at first. With a `scale` of 0 the output is 0 at first.

    `orthogonal` draws a W whose rows or columns are orthogonal and of length `scale` (Saxe et al. 2014).
    """

    weight: Float[Array, "fan_in fan_out"]
    bias: Float[Array, " fan_out"]

    def __init__(self, fan_in: int, fan_out: int, *, scale: float = 1.0, orthogonal: bool = False, key: PRNGKeyArray):
        if orthogonal:
            self.weight = jax.nn.initializers.orthogonal(scale)(key, (fan_in, fan_out))
        else:
            self.weight = weights((fan_in, fan_out), fan_in, scale, key=key)
        self.bias = jnp.zeros(fan_out)

    def __call__(self, x: Float[Array, "*batch fan_in"]) -> Float[Array, "*batch fan_out"]:
        flat = x.reshape(-1, x.shape[-1])  # two axes at once would be summed over slowly in the backward pass
        return (flat @ self.weight).reshape(*x.shape[:-1], -1) + self.bias


class BlockLinear(eqx.Module):
    """A linear layer whose matrix is block-diagonal: `blocks` groups of features that do not see one another.

    Raises ValueError if `blocks` does not divide both sizes.
    """

    weight: Float[Array, "blocks group_in group_out"]
    bias: Float[Array, " fan_out"]

    def __init__(self, fan_in: int, fan_out: int, blocks: int, *, key: PRNGKeyArray):
        if fan_in % blocks or fan_out % blocks:
            raise ValueError(f"blocks={blocks} must divide the sizes {fan_in} and {fan_out}")
        shape = (blocks, fan_in // blocks, fan_out // blocks)
        self.weight = weights(shape, fan_in // blocks, 1.0, key=key)
        self.bias = jnp.zeros(fan_out)

    def __call__(self, x: Float[Array, "*batch fan_in"]) -> Float[Array, "*batch fan_out"]:
        groups = x.reshape(*x.shape[:-1], *self.weight.shape[:2])
        return jnp.einsum("...gi,gio->...go", groups, self.weight).reshape(*x.shape[:-1], -1) + self.bias


class Norm(eqx.Module):
    """Brings features to unit size: `rms` divides by their root mean square, `layer` also takes out their mean."""

    scale: Float[Array, " features"] | None
    shift: Float[Array, " features"] | None
    kind: NormKind = eqx.field(static=True)

    def __init__(self, kind: NormKind, size: int):
        self.kind = kind
        self.scale = None if kind == "none" else jnp.ones(size)
        self.shift = jnp.zeros(size) if kind == "layer" else None

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        if self.kind == "layer":
            x = x - jnp.mean(x, -1, keepdims=True)
        if self.scale is not None:
            eps = 1e-4 if self.kind == "rms" else 1e-3  # those of the authors of Dreamer v3 and v2
            x = x * (jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + eps) * self.scale)
        return x if self.shift is None else x + self.shift


class Dense(eqx.Module):
    """A linear layer, a norm and an activation."""

    linear: Linear
    norm: Norm
    activation: ActivationName = eqx.field(static=True)

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        norm: NormKind,
        activation: ActivationName,
        *,
        scale: float = 1.0,
        orthogonal: bool = False,
        key: PRNGKeyArray,
    ):
        self.linear = Linear(fan_in, fan_out, scale=scale, orthogonal=orthogonal, key=key)
        self.norm = Norm(norm, fan_out)
        self.activation = activation

    def __call__(self, x: Float[Array, "*batch fan_in"]) -> Float[Array, "*batch fan_out"]:
        return ACTIVATIONS[self.activation](self.norm(self.linear(x)))


class MLP(eqx.Module):
    """Dense layers of the widths in `hidden`, then a linear one unless `outputs` is None.

    `scale` and `out_scale` are those of the first weights of the hidden layers and of the last layer (`Linear`).
    """

    layers: list[Dense]
    out: Linear | None

    def __init__(
        self,
        inputs: int,
        outputs: int | None,
        hidden: tuple[int, ...],
        *,
        norm: NormKind,
        activation: ActivationName,
        scale: float = 1.0,
        out_scale: float = 1.0,
        orthogonal: bool = False,
        key: PRNGKeyArray,
    ):
        keys = jr.split(key, len(hidden) + 1)
        sizes = [inputs, *hidden]
        drawn: Any = {"scale": scale, "orthogonal": orthogonal}
        self.layers = [Dense(i, o, norm, activation, **drawn, key=k) for i, o, k in zip(sizes[:-1], sizes[1:], keys)]
        self.out = None
        if outputs is not None:
            self.out = Linear(sizes[-1], outputs, scale=out_scale, orthogonal=orthogonal, key=keys[-1])

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        for layer in self.layers:
            x = layer(x)
        return x if self.out is None else self.out(x)
