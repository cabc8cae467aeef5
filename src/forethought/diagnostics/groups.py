"""What observations are judged as: the picture as one quantity, every other number as one of its own."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..types import GREYS, EnvSpec


class Groups(eqx.Module):
    """The quantities that the numbers of an observation make up: first the picture, if there is one, in 0..1."""

    spec: EnvSpec
    weight: Float[Any, " pixels"]  # of each pixel in a mean over the picture: even over those that vary

    @classmethod
    def of(cls, spec: EnvSpec, still: np.ndarray) -> Self:
        """`still` `[obs]` says which numbers never vary; if no pixel does, all count."""
        counted = ~still[: spec.num_pixels]
        counted = counted if counted.any() else np.ones_like(counted)
        return cls(spec, counted / max(counted.sum(), 1))

    @property
    def units(self) -> np.ndarray:
        """Units of the observation in one unit of each group, `[groups]`."""
        return np.array([GREYS] * (self.spec.image is not None) + [1.0] * self.spec.vector_dim)

    @property
    def names(self) -> list[str]:
        """What each group is called in a figure."""
        if self.spec.image is None:
            return [f"observation {d}" for d in range(self.spec.obs_dim)]
        return ["picture", *(f"observation {d}" for d in range(self.spec.num_pixels, self.spec.obs_dim))]

    def picture(self, x: Any) -> Any:
        """Mean `[*batch]` over the pixels of `x` `[*batch, obs]`."""
        return x[..., : self.spec.num_pixels] @ self.weight

    def mean(self, x: Any) -> Any:
        """Mean over each group, `[*batch, groups]`, in the observation's own units."""
        if self.spec.image is None:
            return x
        parts = [self.picture(x)[..., None], x[..., self.spec.num_pixels :]]
        return (jnp if isinstance(x, jax.Array) else np).concatenate(parts, -1)
