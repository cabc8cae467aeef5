"""Numbers of any scale as a classification over fixed bins (Hafner et al. 2023, "Critic learning").

Bins are spaced exponentially and targets are put between them in raw space, as in the authors' code since 2024; its
first version had even bins in symlog space.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NUM_BINS = 255


def bins() -> Float[Array, " bins"]:
    """`symexp(linspace(-20, 20, 255))`, exactly symmetric: from -4.9e8 to 4.9e8, the middle one 0."""
    half = np.expm1(np.linspace(0.0, 20.0, NUM_BINS // 2 + 1))
    return jnp.asarray(np.concatenate([-half[:0:-1], half]), jnp.float32)


def two_hot(target: Float[Array, "*batch"]) -> Float[Array, "*batch bins"]:
    """Weights of the two bins around each target, so that their mean is the target.

    Beyond the outermost bins, all weight is on those.
    """
    place = bins()
    target = jnp.clip(target, place[0], place[-1])
    above = jnp.clip(jnp.searchsorted(place, target, side="right"), 1, NUM_BINS - 1)
    low, high = place[above - 1], place[above]
    upper = (target - low) / (high - low)
    classes = jnp.arange(NUM_BINS)
    is_below, is_above = classes == (above - 1)[..., None], classes == above[..., None]
    return is_below * (1 - upper)[..., None] + is_above * upper[..., None]


def mean(log_probs: Float[Array, "*batch bins"]) -> Float[Array, "*batch"]:
    """The expected number. Equal probabilities give exactly 0, compiled or not: opposite bins are subtracted first."""
    probs, middle = jnp.exp(log_probs), NUM_BINS // 2
    return jnp.sum((probs[..., middle + 1 :] - probs[..., :middle][..., ::-1]) * bins()[middle + 1 :], -1)


def cross_entropy(log_probs: Float[Array, "*batch bins"], target: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Cross-entropy to the two-hot target; no gradient through the target."""
    return -jnp.sum(jax.lax.stop_gradient(two_hot(target)) * log_probs, -1)
