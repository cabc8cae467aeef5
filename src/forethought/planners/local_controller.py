"""Controllers along one trajectory, and three ways to execute them."""

from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .lqr import LinearPolicy

Execution = Literal["open-loop", "feedback", "noisy-feedback"]
"""Planned controls whatever happens; `K x + k`; the same with noise of the policy's covariance (Quu^-1 of
maximum-entropy LQR), whose rollouts tell what the controls do."""


class LocalController(eqx.Module):
    """A time-varying policy and the controls that it is expected to give."""

    policy: LinearPolicy
    planned: Float[Array, "*batch time u"]

    @classmethod
    def initial(cls, batch: tuple[int, ...], steps: int, x: int, std: Float[Array, " u"]) -> "LocalController":
        """White noise around zero."""
        u = std.shape[0]
        zeros = jnp.zeros((*batch, steps, u))
        cov = jnp.broadcast_to(jnp.diag(std**2), (*batch, steps, u, u))
        return cls(LinearPolicy(jnp.zeros((*batch, steps, u, x)), zeros, cov), zeros)

    def __call__(
        self, x: Float[Array, " x"], time: Int[Array, ""], *, execution: Execution, key: PRNGKeyArray
    ) -> Float[Array, " u"]:
        """The control at `time` in the state `x`; past the last step the last goes on.

        Raises ValueError for an unknown `execution`.
        """
        if execution not in get_args(Execution):
            raise ValueError(f"execution={execution!r} must be one of {', '.join(get_args(Execution))}")
        at = jnp.minimum(time, self.planned.shape[-2] - 1)
        if execution == "open-loop":
            return self.planned[at]
        policy = self.policy
        u = policy.K[at] @ x + policy.k[at]
        if execution == "feedback" or policy.covariance is None:
            return u
        return u + jnp.linalg.cholesky(policy.covariance[at]) @ jr.normal(key, u.shape)
