"""Heads that predict one number or one probability from features."""

from typing import Any, Literal

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ..losses import two_hot
from .layers import MLP, ActivationName, NormKind

ScalarKind = Literal["two-hot", "normal"]


class Scalar(eqx.Module):
    """What a head says of a number."""

    raw: Float[Array, "*batch outputs"]  # log-probabilities of the bins, or the mean
    kind: ScalarKind = eqx.field(static=True)

    def mean(self) -> Float[Array, "*batch"]:
        """The expected number."""
        return two_hot.mean(self.raw) if self.kind == "two-hot" else self.raw[..., 0]

    def loss(self, target: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Minus the log-probability of `target` (up to a constant if normal); no gradient through the target."""
        if self.kind == "two-hot":
            return two_hot.cross_entropy(self.raw, target)
        return 0.5 * (self.raw[..., 0] - jax.lax.stop_gradient(target)) ** 2


class ScalarHead(eqx.Module):
    """A number: by classification over exponential bins (`two-hot`), or as the mean of a unit Gaussian (`normal`)."""

    network: MLP
    kind: ScalarKind = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        kind: ScalarKind,
        *,
        units: int,
        layers: int,
        norm: NormKind,
        activation: ActivationName,
        key: PRNGKeyArray,
    ):
        """Says exactly 0 at first if two-hot. Raises ValueError for an unknown kind."""
        if kind not in ("two-hot", "normal"):
            raise ValueError(f"kind={kind!r} must be two-hot or normal")
        two = kind == "two-hot"
        style: Any = {"norm": norm, "activation": activation}
        outputs = two_hot.NUM_BINS if two else 1
        self.network = MLP(features, outputs, (units,) * layers, **style, out_scale=0.0 if two else 1.0, key=key)
        self.kind = kind

    def __call__(self, features: Float[Array, "*batch features"]) -> Scalar:
        raw = self.network(features)
        return Scalar(jax.nn.log_softmax(raw) if self.kind == "two-hot" else raw, self.kind)


class ProbabilityHead(eqx.Module):
    """A probability."""

    network: MLP

    def __init__(
        self,
        features: int,
        *,
        units: int,
        layers: int,
        norm: NormKind,
        activation: ActivationName,
        key: PRNGKeyArray,
    ):
        self.network = MLP(features, 1, (units,) * layers, norm=norm, activation=activation, key=key)

    def mean(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch"]:
        """The probability."""
        return jax.nn.sigmoid(self.network(features)[..., 0])

    def loss(self, features: Float[Array, "*batch features"], target: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Cross-entropy to a probability `target`."""
        logit = self.network(features)[..., 0]
        return jax.nn.softplus(logit) - target * logit
