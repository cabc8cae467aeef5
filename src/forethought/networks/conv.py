"""Convolutions of stride 1 whose gradients are fast on a CPU too.

XLA's own gradient of a convolution by its kernel is 10 to 50 times slower on a CPU inside a loop than outside, for the
layout that it comes in. Here it is made as the plain convolution that it also is.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .layers import weights


def as_convolution(x: Array, kernel: Array) -> Array:
    """`convolve` by XLA."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def convolve(
    x: Float[Array, "n height width fan_in"], kernel: Float[Array, "size size fan_in fan_out"]
) -> Float[Array, "n height width fan_out"]:
    """Convolution of stride 1 with zeros beyond the edges; `size` is odd. It has no forward-mode derivative."""
    return as_convolution(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return as_convolution(x, kernel), (x, kernel)


def _backward(inputs: tuple[Array, Array], change: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    native = lambda x, change: jax.vjp(lambda k: as_convolution(x, k), kernel)[1](change)[0]
    plain = lambda x, change: _over_images(x, change, kernel.shape[0] // 2)
    return as_convolution(change, turned), jax.lax.platform_dependent(x, change, cpu=plain, default=native)


def _over_images(x: Array, change: Array, reach: int) -> Array:
    """The gradient of `as_convolution` by its kernel, as a convolution whose images are the channels of `x`."""
    images, weights = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(change, (1, 2, 0, 3))
    edge = (reach, reach)
    layout = ("NHWC", "HWIO", "NHWC")
    found = jax.lax.conv_general_dilated(images, weights, (1, 1), (edge, edge), dimension_numbers=layout)
    return jnp.transpose(found, (1, 2, 0, 3))


convolve.defvjp(_forward, _backward)


def convolve_doubled(
    x: Float[Array, "n height width fan_in"], kernel: Float[Array, "size size fan_in fan_out"]
) -> Float[Array, "n height2 width2 fan_out"]:
    """`convolve` of the image with every pixel repeated twice along height and width, without making that image.

    Each of the four pixels that come from one sees only few different pixels of `x`, so its kernel is a small one
    whose taps are sums of the large one's: one convolution of `x` gives all four (sub-pixel form, exact).
    """
    phases = jnp.asarray(_phases(kernel.shape[0]), kernel.dtype)
    small = jnp.einsum("pak,qbl,klio->abipqo", phases, phases, kernel)
    n, height, width = x.shape[:3]
    y = convolve(x, small.reshape(*small.shape[:3], -1)).reshape(n, height, width, 2, 2, -1)
    return jnp.transpose(y, (0, 1, 3, 2, 4, 5)).reshape(n, 2 * height, 2 * width, -1)


def _phases(size: int) -> np.ndarray:
    """`[2, small, size]`: which tap of the small kernel each tap of the large one falls on, for both phases."""
    reach = size // 2
    low = (reach + 1) // 2
    phases = np.zeros((2, 2 * low + 1, size), np.float32)
    for phase in range(2):
        for tap in range(-reach, reach + 1):
            phases[phase, (phase + tap) // 2 + low, tap + reach] = 1.0
    return phases


class Conv(eqx.Module):
    """A convolution of stride 1 and its bias; with `doubled`, of the image at twice the size."""

    kernel: Float[Array, "size size fan_in fan_out"]
    bias: Float[Array, " fan_out"]
    doubled: bool = eqx.field(static=True)

    def __init__(self, fan_in: int, fan_out: int, size: int, *, doubled: bool = False, key: PRNGKeyArray):
        """Raises ValueError if `size` is even."""
        if size % 2 == 0 or size < 1:
            raise ValueError(f"kernel={size} must be odd; 5 is usual, 3 for small images")
        self.kernel = weights((size, size, fan_in, fan_out), size * size * fan_in, 1.0, key=key)
        self.bias, self.doubled = jnp.zeros(fan_out), doubled

    def __call__(self, x: Float[Array, "n height width fan_in"]) -> Float[Array, "n h w fan_out"]:
        return (convolve_doubled if self.doubled else convolve)(x, self.kernel) + self.bias


def stages(image: tuple[int, int, int]) -> int:
    """How often the sides of an image are halved: while both are even and stay at least 3, at most four times.

    Raises ValueError if more than 16 pixels are left along a side.
    """
    height, width, _ = image
    count = 0
    while count < 4 and height % 2 == 0 and width % 2 == 0 and min(height, width) >= 6:
        height, width, count = height // 2, width // 2, count + 1
    if max(height, width) > 16:
        raise ValueError(
            f"image={image} (height, width, channels): its sides can be halved {count} times, which leaves "
            f"{height}x{width}; wanted at most 16x16. Resize it to 64x64, or to sides of 16 or less times a power "
            "of two, up to 256"
        )
    return count


def depths(depth: int, count: int) -> list[int]:
    """Channels after each halving: 2, 3, 4 and 4 times `depth` (at least one layer)."""
    return [depth * m for m in (2, 3, 4, 4)[: max(count, 1)]]
