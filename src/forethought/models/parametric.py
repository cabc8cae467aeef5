"""The parametric model: a user's equations whose physical parameters are fitted to data (system identification)."""

from collections.abc import Callable, Mapping
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core import AbstractLearner, AbstractModel
from ..errors import UserError
from ..networks.distributions import DiagonalNormal
from ..types import EnvSpec, Given, Metrics, Prediction, RewardFunction, TerminationFunction, pointwise
from . import output_error

Equations = Callable[[dict[str, Array], Array, Array], Array]
"""`(parameters, obs [obs], action [*action]) -> next_obs [obs]`, for one step, written in jax.numpy."""


class Parametric(AbstractModel[Float[Array, "particles *batch obs"]]):
    """Equations and their parameters. The belief is the observation, and imagination leaves nothing to chance.

    `observation` is what would be seen: the noise on observations that was estimated, about what the equations show.
    Reward and termination are given ones: equations say nothing of them.
    """

    theta: Float[Array, " parameters"]  # logarithms of the parameters, signed ones as they are
    deviation: Float[Array, " parameters"]  # standard errors of theta; infinite before any fit
    alike: Bool[Array, " parameters"]  # the data do not tell these from one another
    noise: Float[Array, " obs"]  # standard deviation of what is seen about what the equations show
    equations: Equations = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    signed: tuple[str, ...] = eqx.field(static=True)
    reward: RewardFunction = eqx.field(static=True)
    termination: TerminationFunction = eqx.field(static=True)
    spec: EnvSpec

    def __init__(
        self,
        equations: Equations,
        guess: Mapping[str, float],
        spec: EnvSpec,
        given: Given,
        signed: tuple[str, ...] = (),
    ):
        """`guess` names the parameters and says where the search begins. All are positive but those in `signed`.

        Raises ValueError for a guess that is not finite or not positive, for equations that do not return one
        observation, and where reward or termination are not given.
        """
        if not guess:
            raise ValueError("guess is empty; name the parameters to be fitted, such as {'mass': 1.0}")
        for name, value in guess.items():
            if not abs(value) < float("inf") or (value <= 0 and name not in signed):
                raise ValueError(
                    f"guess {name}={value} must be finite and above 0; name parameters that may be negative in signed="
                )
        if unknown := sorted(set(signed) - set(guess)):
            raise ValueError(f"signed={unknown[0]!r} is no parameter; parameters are {', '.join(guess)}")
        if given.reward is None or given.termination is None:
            what = "reward" if given.reward is None else "termination"
            raise ValueError(
                f"equations do not say the {what} of {spec.name}, nor is it learned; give a {what} function"
            )
        self.reward, self.termination = given.reward, given.termination
        self.equations, self.names, self.signed = equations, tuple(guess), tuple(signed)
        values = [value if name in signed else jnp.log(value) for name, value in guess.items()]
        self.theta = jnp.array(values, jnp.float32)
        self.deviation = jnp.full(len(values), jnp.inf)
        self.alike = jnp.zeros(len(values), bool)
        self.noise = jnp.zeros(spec.obs_dim)
        self.spec = spec
        action = jnp.zeros(spec.action.shape, jnp.float32 if spec.action.shape else jnp.int32)
        shape = jax.eval_shape(lambda theta: self.simulate(theta, jnp.zeros(spec.obs_dim), action), self.theta).shape
        if shape != (spec.obs_dim,):
            raise ValueError(
                f"the equations return shape {shape} for one observation and action of {spec.name}, wanted "
                f"({spec.obs_dim},): the next observation"
            )

    def values(self, theta: Float[Array, " parameters"]) -> dict[str, Array]:
        """Parameters by name."""
        return {n: t if n in self.signed else jnp.exp(t) for n, t in zip(self.names, theta)}

    def simulate(self, theta: Float[Array, " parameters"], obs: Float[Array, " obs"], action: Array) -> Array:
        """One step of the equations."""
        return self.equations(self.values(theta), obs, action)

    @property
    def standard_errors(self) -> dict[str, Array]:
        """Standard error of every parameter, in its own units, by the Gauss-Newton matrix."""
        values = self.values(self.theta)
        return {n: d if n in self.signed else d * values[n] for n, d in zip(self.names, self.deviation)}

    def parameters(self) -> dict[str, float]:
        """The fitted parameters by name. Raises UserError naming those that the data do not determine."""
        open_ = [name for name, alike in zip(self.names, self.alike) if alike]
        if open_:
            cause = "cannot be told apart" if len(open_) > 1 else "has no effect that could be told from noise"
            raise UserError(
                f"{' and '.join(open_)} {cause} by these data; fix {open_[0]} in the equations, or collect data in "
                "which they act differently"
            )
        return {name: float(value) for name, value in self.values(self.theta).items()}

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> Float[Array, "1 obs"]:
        return obs[None]

    def step(
        self, belief: Float[Array, "particles *batch obs"], action: Array, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "particles *batch obs"], Prediction]:
        signature = f"(o),{'(a)' if self.spec.action.shape else '()'}->(o)"
        next_obs = jnp.vectorize(lambda o, a: self.simulate(self.theta, o, a), signature=signature)(belief, action)
        reward = pointwise(self.reward, self.spec.action)(belief, action, next_obs)
        ended = pointwise(self.termination, self.spec.action)(belief, action, next_obs)
        return next_obs, Prediction(reward, 1.0 - ended.astype(jnp.float32))

    def observation(self, belief: Float[Array, "particles *batch obs"]) -> DiagonalNormal:
        return DiagonalNormal(belief, jnp.broadcast_to(self.noise**2, belief.shape))


class SystemIdentification(AbstractLearner):
    """Fits a parametric model by output error with multiple shooting (see `output_error`), from its last parameters on.

    A fit takes `num_stretches` stretches of `length` consecutive steps, drawn at random where the replay holds more.
    `num_envs` says how many environments took turns in filling it.
    """

    model: Parametric
    length: int = eqx.field(static=True)
    num_stretches: int = eqx.field(static=True)
    num_envs: int = eqx.field(static=True)

    def __init__(self, model: Parametric, *, length: int = 20, num_stretches: int = 32, num_envs: int = 1):
        """Raises ValueError for sizes below 1."""
        for name, value in {"length": length, "num_stretches": num_stretches, "num_envs": num_envs}.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        self.model, self.length, self.num_stretches, self.num_envs = model, length, num_stretches, num_envs

    def fit(self, replay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        """Metrics: `model/loss`, the squared output error in variances of the data (NaN where the equations are not
        finite at the guess); every parameter; `model/not_determined`, how many the data leave open."""
        data, used = replay.rows()
        sizes = {"length": self.length, "most": self.num_stretches, "num_envs": self.num_envs}
        stretches = output_error.cut(data, used, **sizes, key=key)
        old = self.model
        found = output_error.fit(old.simulate, old.spec, stretches, old.theta)
        new = (found.theta, found.deviation, found.alike, found.noise)
        model = eqx.tree_at(lambda m: (m.theta, m.deviation, m.alike, m.noise), old, new)
        metrics = {"model/loss": found.error, "model/not_determined": jnp.sum(found.alike).astype(jnp.float32)}
        metrics |= {f"model/{name}": value for name, value in model.values(found.theta).items()}
        return eqx.tree_at(lambda s: s.model, self, model), metrics
