"""From configs to parts: the only place where a part's config meets its constructor."""

import dataclasses

from jaxtyping import PRNGKeyArray

from .core import AbstractLearner, AbstractRefiningPlanner
from .fit import GradientLearner
from .learners.local_rounds import LocalRounds
from .models.ensemble import Ensemble
from .models.gp import GaussianProcess, GPLearner
from .models.tabular import AbstractTable, CountTable, LatestOutcome
from .networks.policy_value import PolicyValue
from .planners.cem import CEM
from .planners.gradient import GradientPlanner
from .planners.icem import ICEM
from .planners.ilqr_planner import ILQR, LQRPlanner
from .planners.mppi import MPPI
from .planners.shooting import RandomShooting
from .planners.tree_rules import PUCT, UCB, Gumbel
from .planners.tree_search import TreeSearch
from .presets.local_control import LocalControlConfig
from .presets.parts import EnsembleConfig, GPConfig, PlannerConfig
from .presets.search import PolicyValueConfig
from .types import ActionSpace, Box, EnvSpec, Given


def make_learner(
    spec: EnvSpec,
    config: EnsembleConfig,
    *,
    given: Given,
    data_noise: float = 0.0,
    new_fraction: float | None = None,
    old_rows: int = 0,
    key: PRNGKeyArray,
) -> GradientLearner:
    """An ensemble with fresh weights and its optimiser; see GradientLearner for the options of the data.

    Raises ValueError if sizes do not fit one another.
    """
    model = Ensemble(
        spec,
        given=given,
        num_members=config.num_members,
        num_elites=config.num_elites,
        hidden=config.hidden,
        particles=config.particles,
        propagation=config.propagation,
        probabilistic=config.probabilistic,
        target=config.target,
        normalise_targets=config.normalise_targets,
        weight_decay=config.weight_decay,
        activation=config.activation,
        initialisation=config.initialisation,
        key=key,
    )
    return GradientLearner(
        model,
        learning_rate=config.learning_rate,
        epochs=config.epochs,
        min_steps=config.min_steps,
        batch_size=config.batch_size,
        holdout_ratio=config.holdout_ratio,
        patience=config.patience,
        bootstrap=config.bootstrap,
        data_noise=data_noise,
        new_fraction=new_fraction,
        old_rows=old_rows,
    )


def make_policy_value(spec: EnvSpec, config: PolicyValueConfig, *, bounded: bool, key: PRNGKeyArray) -> PolicyValue:
    """A network that guides searches, with fresh weights. Raises ValueError for sizes that cannot be."""
    sizes = {"units": config.units, "layers": config.layers, "channels": config.channels, "blocks": config.blocks}
    return PolicyValue(spec, config.kind, **sizes, bounded=bounded, key=key)


def make_table(spec: EnvSpec, kind: str) -> AbstractTable:
    """A table without data. Raises ValueError unless `kind` is latest or counts, and for tasks without numbers."""
    kinds = {"latest": LatestOutcome, "counts": CountTable}
    if kind not in kinds:
        raise ValueError(f"model={kind!r} must be latest or counts")
    return kinds[kind].empty(spec)


def make_local_rounds(spec: EnvSpec, config: LocalControlConfig, given: Given) -> LocalRounds:
    """The rounds of local controllers. Raises ValueError for sizes that cannot be and tasks without a given reward."""
    if given.model is not None:
        raise ValueError("local controllers learn their models from rollouts and cannot plan on the true dynamics")
    if given.reward is None:
        raise ValueError("local controllers learn no reward; give one: a function of (obs, action, next_obs)")
    numbers = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    del numbers["network"], numbers["gp"]
    return LocalRounds(spec, given.reward, **numbers)


def make_prior_learner(
    spec: EnvSpec, config: LocalControlConfig, given: Given, *, key: PRNGKeyArray
) -> AbstractLearner | None:
    """The learner of the model that is the prior of local models; None where a model is not."""
    if config.prior == "network":
        return make_learner(spec, config.network, given=given, key=key)
    return make_gp_learner(spec, config.gp, given=given) if config.prior == "gp" else None


def make_gp_learner(spec: EnvSpec, config: GPConfig, *, given: Given) -> GPLearner:
    """Gaussian processes without data. Raises ValueError for discrete actions, an end to learn, and bad sizes."""
    model = GaussianProcess(spec, given=given, max_points=config.max_points)
    return GPLearner(model, config.restarts, config.iterations, config.max_rows)


def make_planner(action: ActionSpace, config: PlannerConfig) -> AbstractRefiningPlanner:
    """The planner that `config.kind` names. Raises ValueError if its sizes clash or it cannot take `action`."""
    c = config
    imagined = {"horizon": c.horizon, "discount": c.discount, "common_noise": c.common_noise}
    common = {**imagined, "population": c.population, "iterations": c.iterations}
    if c.kind == "cem":
        return CEM(action, elites=c.elites, momentum=c.momentum, initial_std=c.initial_std, clipped=c.clipped, **common)
    if c.kind == "icem":
        return ICEM(
            action,
            elites=c.elites,
            momentum=c.momentum,
            beta=c.noise_beta,
            keep_fraction=c.keep_elites,
            **common,
        )
    if c.kind == "mppi":
        return MPPI(action, temperature=c.temperature, noise_std=c.noise / 2, beta=c.noise_beta, **common)
    if c.kind == "shooting":
        return RandomShooting(action, **common)
    if c.kind in ("gradient", "ilqr", "lqr") and not isinstance(action, Box):
        raise ValueError(f"planner kind={c.kind!r} needs continuous actions; use cem, icem, mppi or shooting")
    if c.kind == "gradient" and isinstance(action, Box):
        return GradientPlanner(
            action, restarts=c.restarts, iterations=c.gradient_steps, learning_rate=c.step_size, **imagined
        )
    if c.kind == "ilqr" and isinstance(action, Box):
        return ILQR(
            action,
            horizon=c.horizon,
            iterations=c.iterations,
            restarts=c.restarts,
            second_order=c.second_order,
            discount=c.discount,
            final_weight=c.final_weight,
        )
    if c.kind == "lqr" and isinstance(action, Box):
        return LQRPlanner(action, horizon=c.horizon, discount=c.discount)
    if c.kind == "tree":
        rules = {"gumbel": Gumbel(), "puct": PUCT(), "ucb": UCB()}
        rule = rules[c.tree_rule]
        return TreeSearch(action, c.simulations, rule, discount=c.discount, max_depth=c.horizon)
    raise ValueError(f"planner kind={c.kind!r} must be one of cem, icem, mppi, shooting, gradient, ilqr, lqr, tree")
