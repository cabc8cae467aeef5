"""Probabilistic ensemble of neural networks (Chua et al. 2018, Sec. 4 and 5) and its single-network cases.

Networks predict the change of the observation, or the next observation itself (`target`), and where they are not given
also the reward and the probability of termination. A learned reward has two parts: the reward of steps that go on and
the reward of steps that end the episode. Each has a normaliser and an output of its own, so the rare large rewards of
ends (a crash, a goal) do not drown the others. Arrays are kept feature-major, `[members, features, batch]`, and every
member has weights of its own rather than a slice of common ones: its products then run beside those of the others,
which a CPU does much faster than one batched product per layer.
"""

from typing import Literal, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import replaced
from ..fit import AbstractFittable
from ..networks.distributions import DiagonalNormal
from ..networks.normaliser import Normaliser
from ..networks.perceptron import Activation, Initialisation, Network, make_networks
from ..types import EnvSpec, Given, Prediction, Transition, pointwise

Propagation = Literal["E", "DS", "MM", "TS1", "TSinf"]
Target = Literal["delta", "next"]


class Examples(NamedTuple):
    """What a network is shown and what it is to say."""

    inputs: Float[Array, "*batch inputs"]
    targets: Float[Array, "*batch targets"]
    final_reward: Float[Array, "*batch"]  # what the output of steps that end is to say; matters only there
    terminated: Bool[Array, "*batch"]


class Outputs(NamedTuple):
    """What networks say, in normalised units. None: a part that they do not have."""

    mean: Float[Array, "group targets batch"]
    logvar: Float[Array, "group targets batch"] | None  # not yet bounded
    final_reward: Float[Array, "group batch"] | None
    logit: Float[Array, "group batch"] | None  # of termination


class Members(NamedTuple):
    """What every member says of the same transitions, in the units of the task."""

    mean: Float[Array, "members *batch outputs"]  # of the next observation, and of the reward where that is learned
    variance: Float[Array, "members *batch outputs"]
    reward: Float[Array, "members *batch"]  # expected; a given one is that of the mean
    continuation: Float[Array, "members *batch"]  # probability that the episode goes on


class EnsembleBelief(eqx.Module):
    """Where each particle is, and the Gaussian that it was drawn from."""

    obs: Float[Array, "particles *batch obs"]
    mean: Float[Array, "particles *batch obs"]
    variance: Float[Array, "particles *batch obs"]


class Ensemble(AbstractFittable):
    """Networks of equal shape that differ in their weights.

    `propagation` is how uncertainty travels (Chua et al. 2018, Sec. 5): `TSinf` keeps each particle with its member,
    `TS1` deals the particles anew to the members at every step, `DS` samples from the Gaussian with the mixture's
    moments, `MM` also replaces the particles by a Gaussian with their moments, `E` follows the mean of the means.
    """

    networks: list[Network]
    min_logvar: Float[Array, " outputs"]  # learned soft bounds of the log-variance, in normalised units
    max_logvar: Float[Array, " outputs"]
    inputs: Normaliser
    targets: Normaliser  # the reward's part is of steps that go on
    final_reward: Normaliser  # of the reward of steps that end the episode
    elites: Int[Array, " elites"]  # members that predict, best on the holdout first
    spec: EnvSpec
    given: Given
    num_members: int = eqx.field(static=True)
    num_elites: int = eqx.field(static=True)
    particles: int = eqx.field(static=True)
    propagation: Propagation = eqx.field(static=True)
    probabilistic: bool = eqx.field(static=True)
    target: Target = eqx.field(static=True)
    normalise_targets: bool = eqx.field(static=True)
    weight_decay: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        spec: EnvSpec,
        *,
        given: Given,
        num_members: int = 5,
        num_elites: int | None = None,
        hidden: tuple[int, ...] = (200, 200, 200),
        particles: int = 20,
        propagation: Propagation = "TSinf",
        probabilistic: bool = True,
        target: Target = "delta",
        normalise_targets: bool = True,
        weight_decay: tuple[float, ...] | float = 0.0,
        activation: Activation = "swish",
        initialisation: Initialisation = "truncated-normal",
        key: PRNGKeyArray,
    ):
        """With fresh networks, by default as those of the paper's code.

        `target` is what they predict of the next observation: its difference from this one, or itself. Either is
        normalised output by output with `normalise_targets`.
        `weight_decay` is the coefficient of half the squared weights in the loss, per layer or one for all.
        Raises ValueError if sizes do not fit one another.
        """
        elites = num_members if num_elites is None else num_elites
        _check_sizes(num_members, elites, hidden, particles, propagation)
        if target not in ("delta", "next"):
            raise ValueError(f"target={target!r} must be delta or next")
        if spec.num_states is not None:
            raise ValueError(
                f"an ensemble predicts differences of vectors, and an observation of {spec.name} is the number of a "
                "state; take a table (models/tabular.py), or gymnasium.wrappers.FlattenObservation"
            )
        learned = given.reward is None
        targets = spec.obs_dim + learned
        outputs = targets * (2 if probabilistic else 1) + learned + (given.termination is None)
        sizes = [spec.feature_dim + spec.action.feature_dim, *hidden, outputs]
        layers = len(sizes) - 1
        decay = weight_decay if isinstance(weight_decay, tuple) else (weight_decay,) * layers
        if len(decay) != layers:
            raise ValueError(
                f"weight_decay={decay} must have one value per layer ({layers}: {len(hidden)} hidden and the "
                "output), or be a single number"
            )
        self.networks = make_networks(num_members, sizes, activation, initialisation, key=key)
        self.min_logvar = jnp.full(targets, -10.0)
        self.max_logvar = jnp.full(targets, 0.5)
        self.inputs = Normaliser.identity(sizes[0])
        self.targets, self.final_reward = Normaliser.identity(targets), Normaliser.identity(1)
        self.elites = jnp.arange(elites)
        self.spec, self.given = spec, Given(given.reward, given.termination)
        self.num_members, self.num_elites, self.particles = num_members, elites, particles
        self.propagation, self.probabilistic, self.target = propagation, probabilistic, target
        self.normalise_targets, self.weight_decay = normalise_targets, decay

    # ---- prediction

    def network(self, x: Float[Array, "group inputs batch"], members: Int[Array, " group"] | None = None) -> Outputs:
        """What the networks say of normalised inputs.

        `members` says which network sees which group; None means all, in order.
        """
        if members is None:
            chosen = self.networks
        else:  # which ones is known only when it runs
            chosen = [jax.tree.map(lambda *each, m=m: jnp.stack(each)[m], *self.networks) for m in members]
        x = jnp.stack([network(inputs) for network, inputs in zip(chosen, x)])
        targets = self.min_logvar.shape[0]
        logit = x[:, -1] if self.given.termination is None else None
        final = x[:, targets * (2 if self.probabilistic else 1)] if self.given.reward is None else None
        return Outputs(x[:, :targets], x[:, targets : 2 * targets] if self.probabilistic else None, final, logit)

    def bounded(self, raw: Float[Array, "group targets batch"]) -> Float[Array, "group targets batch"]:
        """The log-variance within its learned soft bounds (Chua et al. 2018, appendix A.1)."""
        low, high = self.min_logvar[:, None], self.max_logvar[:, None]
        logvar = high - jax.nn.softplus(high - raw)
        return low + jax.nn.softplus(logvar - low)

    def variance(self, raw: Float[Array, "group targets batch"]) -> Float[Array, "group targets batch"]:
        """`exp(bounded(raw))`, which is exp(low) + exp(high) sigmoid(raw - high): no logarithm, for the hot loop."""
        low, high = self.min_logvar[:, None], self.max_logvar[:, None]
        return jnp.exp(low) + jnp.exp(high) * jax.nn.sigmoid(raw - high)

    def encode(self, obs: Float[Array, "*batch obs"], action: Array) -> Float[Array, "*batch inputs"]:
        """Normalised network inputs of observation and action."""
        return self.inputs(jnp.concatenate([self.spec.features(obs), self.spec.action.features(action)], -1))

    def wanted(self, batch: Transition) -> Float[Array, "*batch targets"]:
        """What the networks are to predict, in its own units: of the next observation, then the reward if learned."""
        next_obs = batch.next_obs if self.target == "next" else self.spec.difference(batch.next_obs, batch.obs)
        return next_obs if self.given.reward is not None else jnp.concatenate([next_obs, batch.reward[..., None]], -1)

    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> EnsembleBelief:
        obs = jnp.broadcast_to(obs, (self.particles, *obs.shape))
        return EnsembleBelief(obs, obs, jnp.zeros_like(obs))

    def step(self, belief: EnsembleBelief, action: Array, *, key: PRNGKeyArray) -> tuple[EnsembleBelief, Prediction]:
        return self._step(belief, action, key=key)

    def step_alike(
        self, belief: EnsembleBelief, action: Array, *, key: PRNGKeyArray
    ) -> tuple[EnsembleBelief, Prediction]:
        return self._step(belief, action, alike=True, key=key)

    def _step(
        self, belief: EnsembleBelief, action: Array, *, alike: bool = False, key: PRNGKeyArray
    ) -> tuple[EnsembleBelief, Prediction]:
        """One imagined step; with `alike` each particle draws once for the whole batch."""
        obs, size = belief.obs, self.spec.obs_dim
        if self.propagation == "TS1":
            key, order_key = jr.split(key)
            said = self._dealt(obs, action, alike=alike, key=order_key)
        else:
            said = self._predict(obs, action)
        mean, var, final, stop = said
        if self.propagation == "MM":
            mean, var = _matched(mean, var, self._base(obs))
        next_obs = self._base(obs) + self._draw(mean, var, alike=alike, key=key)[..., :size]
        earned = None if self.given.reward is not None else mean[..., size]
        prediction = self._outcome(obs, action, next_obs, earned, final, stop)
        return EnsembleBelief(next_obs, self._base(obs) + mean[..., :size], var[..., :size]), prediction

    def members(self, obs: Float[Array, "*batch obs"], action: Array) -> Members:
        """What every member, elite or not, predicts for the same observations and actions `[*batch, ...]`.

        For how much they disagree, and for targets that weigh them.
        """
        obs, action = (jnp.broadcast_to(x, (self.num_members, *x.shape)) for x in (obs, action))
        mean, var, final, stop = self._predict(obs, action, everybody=True)
        next_obs = self._base(obs) + mean[..., : self.spec.obs_dim]
        earned = None if self.given.reward is not None else mean[..., -1]
        said = self._outcome(obs, action, next_obs, earned, final, stop)
        mean = mean.at[..., : self.spec.obs_dim].set(next_obs)
        return Members(mean, var, said.reward, said.continuation)

    def _base(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """What predictions of the next observation are relative to."""
        return obs if self.target == "delta" else jnp.zeros_like(obs)

    def _outcome(
        self, obs: Array, action: Array, next_obs: Array, earned: Array | None, final: Array, stop: Array
    ) -> Prediction:
        """Reward and continuation; `earned` and `final` are learned rewards of steps that go on, and that end."""
        if self.given.termination is not None:
            stop = pointwise(self.given.termination, self.spec.action)(obs, action, next_obs).astype(jnp.float32)
        if self.given.reward is not None:
            reward = pointwise(self.given.reward, self.spec.action)(obs, action, next_obs)
        else:  # expected, not drawn: noise would only blur the comparison of candidates
            assert earned is not None
            reward = (1.0 - stop) * earned + stop * final
        return Prediction(reward, 1.0 - stop)

    @property
    def _mixes(self) -> bool:
        """Whether every particle sees the mixture of all members rather than a member of its own."""
        return self.propagation in ("E", "DS", "MM")

    def _dealt(
        self, obs: Float[Array, "particles *batch obs"], action: Array, *, alike: bool, key: PRNGKeyArray
    ) -> "_Said":
        """As `_predict`, with the particles dealt to the members in random order, to each member as many.

        The order is each batch row's own, as in the authors' code, unless they are alike.
        """
        shape = obs.shape[:1] + (1,) * (obs.ndim - 2) if alike else obs.shape[:-1]
        order = jnp.argsort(jr.uniform(key, shape), 0)
        back = jnp.argsort(order, 0)

        def along(x: Array, order: Array) -> Array:
            return jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - order.ndim)), 0)

        return _Said(*(along(x, back) for x in self._predict(along(obs, order), along(action, order))))

    def _predict(self, obs: Float[Array, "particles *batch obs"], action: Array, *, everybody: bool = False) -> "_Said":
        """What the elites say of the particles, in the units of the task; with `everybody` each member of its own."""
        lead, mixes = obs.shape[:-1], self._mixes and not everybody
        x = self.encode(obs, action)
        groups = 1 if mixes else self.num_members if everybody else self.num_elites
        x = jnp.swapaxes(x.reshape(groups, -1, x.shape[-1]), 1, 2)
        if mixes:
            x = jnp.broadcast_to(x, (self.num_elites, *x.shape[1:]))
        elites_alone = not everybody and self.num_elites < self.num_members
        mean, raw, last, logit = self.network(x, self.elites if elites_alone else None)
        mean = mean * self.targets.scale[:, None] + self.targets.loc[:, None]
        final = jnp.zeros(mean[:, 0].shape) if last is None else self.final_reward.inverse(last[..., None])[..., 0]
        var = jnp.zeros_like(mean) if raw is None else self.variance(raw) * self.targets.scale[:, None] ** 2
        stop = jnp.zeros(mean[:, 0].shape) if logit is None else jax.nn.sigmoid(logit)
        if mixes:  # one Gaussian with the mixture's mean and variance
            var = jnp.mean(var, 0) + jnp.var(mean, 0)
            mean, final, stop = jnp.mean(mean, 0), jnp.mean(final, 0), jnp.mean(stop, 0)
        back = lambda y: jnp.swapaxes(y.reshape(groups, y.shape[-2], -1), 1, 2).reshape(*lead, -1)
        return _Said(back(mean), back(var), final.reshape(lead), stop.reshape(lead))

    def _draw(
        self, mean: Array, var: Array, *, alike: bool, key: PRNGKeyArray
    ) -> Float[Array, "particles *batch targets"]:
        """A target for each particle, drawn as the propagation method says."""
        certain = not self.probabilistic and not (self._mixes and self.num_elites > 1)
        if self.propagation == "E" or certain:
            return mean
        shape = (mean.shape[0], *[1] * (mean.ndim - 2), mean.shape[-1]) if alike else mean.shape
        return mean + jnp.sqrt(var) * jr.normal(key, shape)

    def observation(self, belief: EnsembleBelief) -> DiagonalNormal:
        return DiagonalNormal(belief.mean, belief.variance)

    def drawn(self, belief: EnsembleBelief) -> Float[Array, "particles *batch obs"]:
        return belief.obs

    def certain(self) -> "Ensemble":
        """The mean of the members' means."""
        return replaced(self, propagation="E", particles=1)

    # ---- fitting (called by fit.GradientLearner)

    def normalised(self, data: Transition, mask: Bool[Array, " n"]) -> Self:
        """With input and target statistics of the rows of `data` where `mask`."""
        x = jnp.concatenate([self.spec.features(data.obs), self.spec.action.features(data.action)], -1)
        targets = Normaliser.of(self.wanted(data), mask) if self.normalise_targets else self.targets
        final = self.final_reward
        if self.given.reward is None:
            reward = data.reward[:, None]
            going = Normaliser.of(reward, mask & ~data.terminated)
            # In units of the other rewards, so that a single end, or none, has a scale too.
            ends = Normaliser.of(going(reward), mask & data.terminated)
            final = Normaliser(going.inverse(ends.loc), going.scale * ends.scale)
            targets = jax.tree.map(lambda all, own: all.at[-1].set(own[0]), targets, going)
        return eqx.tree_at(
            lambda m: (m.inputs, m.targets, m.final_reward), self, (Normaliser.of(x, mask), targets, final)
        )

    def examples(self, data: Transition) -> Examples:
        """Normalised inputs and targets of transitions."""
        inputs, final = self.encode(data.obs, data.action), self.final_reward(data.reward[..., None])[..., 0]
        return Examples(inputs, self.targets(self.wanted(data)), final, data.terminated)

    def losses(self, batch: Examples) -> tuple[Float[Array, " members"], Float[Array, " members"]]:
        """Training loss and squared error per member; batch leaves are `[members, n, ...]`.

        Gaussian loss: mean over batch and outputs of `(mean - y)^2 exp(-logvar) + logvar`, in normalised units
        (Chua et al. 2018, Sec. 4, without the constant). A learned reward, which the paper does not have, is weighted
        as `_pull` says; steps that end an episode teach only the final reward, the others only the other one.
        Termination adds its cross-entropy.
        """
        x, y = (jnp.swapaxes(rows, 1, 2) for rows in (batch.inputs, batch.targets))
        mean, raw, last, logit = self.network(x)
        ended = batch.terminated.astype(jnp.float32)
        square = (mean - y) ** 2
        weight, final = jnp.ones_like(square), jnp.zeros_like(ended)
        if last is not None:
            weight = weight.at[:, -1].set(1.0 - ended)
            final = ended * (last - batch.final_reward) ** 2 / square.shape[1]
        error = jnp.mean(weight * square, (1, 2)) + jnp.mean(final, 1)
        loss = error
        if raw is not None:
            logvar = self.bounded(raw)
            if last is not None:
                pull = self._pull(logvar)
                weight = weight.at[:, -1].multiply(pull * jax.lax.stop_gradient(jnp.exp(logvar[:, -1])))
                final = pull * final
            loss = jnp.mean(weight * (square * jnp.exp(-logvar) + logvar), (1, 2)) + jnp.mean(final, 1)
        if logit is not None:
            loss = loss + jnp.mean(jax.nn.softplus(logit) - ended * logit, 1)
        return loss, error

    def _pull(self, logvar: Float[Array, "group targets batch"]) -> Float[Array, "group 1"]:
        """How hard an error of a learned reward pulls at the networks.

        Where dynamics are precise their gradients are 1 / sigma as large as those of a reward that is still unknown,
        and its likelihood then lets it explain every error as noise: it is never learned. So its own variance is
        taken out of its gradient (Seitzer et al. 2022, "On the pitfalls of heteroscedastic uncertainty estimation",
        with beta = 1), and it pulls as hard as the observation's outputs do: by their mean 1 / sigma.
        """
        return jax.lax.stop_gradient(jnp.mean(jnp.exp(-0.5 * logvar[:, :-1]), (1, 2)))[:, None]

    def regulariser(self) -> Float[Array, ""]:
        """0.01 (sum max_logvar - sum min_logvar) and the weight decay, as in the paper's code."""
        decayed = [(c, w) for network in self.networks for c, w in zip(self.weight_decay, network.weights) if c]
        decay = 0.5 * sum(c * jnp.sum(w**2) for c, w in decayed)
        bounds = 0.01 * (jnp.sum(self.max_logvar) - jnp.sum(self.min_logvar)) if self.probabilistic else 0.0
        return jnp.asarray(bounds + decay, jnp.float32)

    def keep(self, better: Bool[Array, " members"], other: Self) -> Self:
        """With this model's networks where `better`, and those of `other` elsewhere."""
        choose = lambda e, new, old: jax.tree.map(lambda n, o: jnp.where(better[e], n, o), new, old)
        networks = [choose(e, new, old) for e, (new, old) in enumerate(zip(self.networks, other.networks))]
        return eqx.tree_at(lambda m: m.networks, self, networks)

    def with_elites(self, error: Float[Array, " members"]) -> Self:
        """With the members of the smallest holdout `error` as elites."""
        return eqx.tree_at(lambda m: m.elites, self, jnp.argsort(error)[: self.num_elites])


class _Said(NamedTuple):
    """What the members say of particles, `[particles, *batch, ...]`."""

    mean: Array  # of the targets
    var: Array
    final_reward: Array  # of a step that ends the episode; zero where the reward is given
    stop: Array  # probability of termination; zero where termination is given


def _matched(mean: Array, var: Array, base: Float[Array, "particles *batch obs"]) -> tuple[Array, Array]:
    """Mean, relative to `base`, and variance of the one Gaussian that has the moments of all particles.

    The authors' code matches the moments of the changes, which leaves out how these go with where a particle is.
    """
    whole = jnp.zeros_like(mean).at[..., : base.shape[-1]].set(base)
    ahead = whole + mean
    matched = jnp.broadcast_to(jnp.mean(var, 0) + jnp.var(ahead, 0), var.shape)
    return jnp.mean(ahead, 0) - whole, matched


def _check_sizes(num_members: int, num_elites: int, hidden: tuple[int, ...], particles: int, propagation: str) -> None:
    """Raises ValueError, naming the first size that does not fit."""
    if num_members < 1:
        raise ValueError(f"num_members={num_members} must be at least 1; 5 is usual")
    if not 1 <= num_elites <= num_members:
        raise ValueError(f"num_elites={num_elites} must be between 1 and num_members={num_members}")
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden={hidden} must hold widths of at least 1")
    if particles < 1:
        raise ValueError(f"particles={particles} must be at least 1; use {4 * num_elites}")
    if propagation not in ("E", "DS", "MM", "TS1", "TSinf"):
        raise ValueError(f"propagation={propagation!r} must be one of E, DS, MM, TS1, TSinf")
    if propagation in ("TS1", "TSinf") and particles % num_elites:
        low = max(particles // num_elites, 1) * num_elites
        name = "num_members" if num_elites == num_members else "num_elites"
        raise ValueError(
            f"particles={particles} must be a multiple of {name}={num_elites}; use {low} or {low + num_elites}"
        )
    if propagation == "E" and particles != 1:
        raise ValueError(f"particles={particles} must be 1 with propagation='E', which follows the mean")
