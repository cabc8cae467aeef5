"""Multi-layer perceptrons on feature-major data: what an ensemble is made of."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

Activation = Literal["swish", "relu"]
Initialisation = Literal["truncated-normal", "xavier"]


def swish(x: Array) -> Array:
    """`x sigmoid(x)` by way of tanh: equal to `jax.nn.silu` within 4e-6, and cheaper on a CPU."""
    return 0.5 * x * (1.0 + jnp.tanh(0.5 * x))


class Network(eqx.Module):
    """A multi-layer perceptron on feature-major data."""

    weights: list[Float[Array, "fan_in fan_out"]]
    biases: list[Float[Array, "fan_out 1"]]
    activation: Activation = eqx.field(static=True, default="swish")

    def __call__(self, x: Float[Array, "inputs batch"]) -> Float[Array, "outputs batch"]:
        bend = swish if self.activation == "swish" else jax.nn.relu
        for i, (w, b) in enumerate(zip(self.weights, self.biases)):
            x = w.T @ x + b
            if i < len(self.weights) - 1:
                x = bend(x)
        return x


def make_networks(
    count: int, sizes: list[int], activation: Activation, initialisation: Initialisation, *, key: PRNGKeyArray
) -> list[Network]:
    """`count` networks with fresh weights and zero biases.

    `truncated-normal` has the scale 1 / (2 sqrt(fan_in)) of PETS's code, `xavier` is Glorot & Bengio's uniform
    distribution. Raises ValueError for other names.
    """
    if activation not in ("swish", "relu"):
        raise ValueError(f"activation={activation!r} must be swish or relu")
    if initialisation not in ("truncated-normal", "xavier"):
        raise ValueError(f"initialisation={initialisation!r} must be truncated-normal or xavier")

    def drawn(key: PRNGKeyArray, i: int, o: int) -> Array:
        if initialisation == "xavier":
            return jr.uniform(key, (count, i, o), minval=-1.0) * (6 / (i + o)) ** 0.5
        return jr.truncated_normal(key, -2, 2, (count, i, o)) / (2 * i**0.5)

    keys = jr.split(key, len(sizes) - 1)
    weights = [drawn(k, i, o) for k, i, o in zip(keys, sizes[:-1], sizes[1:])]
    zeros = lambda: [jnp.zeros((o, 1)) for o in sizes[1:]]
    return [Network([w[member] for w in weights], zeros(), activation) for member in range(count)]
