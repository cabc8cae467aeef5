"""Configs of the parts that agents are made of. Plain numbers; nothing here imports JAX.

Sizes are checked where the part is built, so a config is never rejected for what it is not used for.
"""

import dataclasses
from typing import Literal

from .bounds import Few, Fraction, Natural, Part, Positive


@dataclasses.dataclass(frozen=True)
class EnsembleConfig:
    """The learned model: an ensemble of networks, or a single one with `num_members` 1."""

    num_members: Few = 5
    """Networks in the ensemble."""
    num_elites: int | None = None
    """Members that predict, chosen by holdout error; None: all."""
    hidden: tuple[int, ...] = (200, 200, 200)
    """Widths of the hidden layers."""
    probabilistic: bool = True
    """Predict a log-variance as well as a mean; off: squared-error networks."""
    activation: Literal["swish", "relu"] = "swish"
    """Non-linearity of the hidden layers."""
    initialisation: Literal["truncated-normal", "xavier"] = "truncated-normal"
    """How first weights are drawn: as in PETS's code, or Glorot's uniform distribution."""
    particles: int = 20
    """Imagined particles per candidate; a multiple of the members that predict for TS1 and TSinf."""
    propagation: Literal["E", "DS", "MM", "TS1", "TSinf"] = "TSinf"
    """How uncertainty travels: expectation, distribution sampling, moment matching, trajectory sampling."""
    target: Literal["delta", "next"] = "delta"
    """What is predicted of the next observation: its difference from this one, or itself."""
    normalise_targets: bool = True
    """Divide what is predicted by its standard deviation before it is learned, each dimension on its own."""
    weight_decay: tuple[float, ...] | float = 0.0
    """Coefficient of half the squared weights in the loss: one number, or one per layer."""
    learning_rate: Positive = 1e-3
    """Adam's step size."""
    epochs: int = 5
    """Passes over all data at each fit; the most, where a holdout stops earlier."""
    min_steps: Natural = 0
    """Gradient steps that each fit takes at least, so that little data is seen more often."""
    batch_size: int = 32
    """Transitions per member in a gradient step."""
    holdout_ratio: Part = 0.0
    """Part of the data held out to stop early and to choose elites; 0: none."""
    patience: int = 5
    """Passes without a better holdout error before a fit stops."""
    bootstrap: bool = True
    """Each member learns from its own resample of the data."""


@dataclasses.dataclass(frozen=True)
class GPConfig:
    """Gaussian processes of the change of the observation."""

    max_points: int = 400
    """Data points up to which the processes are exact; above it they are told by that many inducing points."""
    restarts: int = 2
    """Searches for the hyper-parameters of each process: from the last ones, from the data's scales, then random."""
    iterations: int = 100
    """Steps of each of these searches, at most."""
    max_rows: int = 400
    """Rows that hyper-parameters are fitted to; drawn at random where there are more."""


@dataclasses.dataclass(frozen=True)
class PlannerConfig:
    """How actions are chosen in the model. Options name the planners that use them; the others ignore them."""

    kind: Literal["cem", "icem", "mppi", "shooting", "gradient", "ilqr", "lqr", "tree"] = "cem"
    """Cross-entropy method, improved CEM, path integrals, random shooting; for Box actions only gradient ascent, iLQR
    and LQR about the present; for Discrete actions only tree search."""
    horizon: int = 25
    """Steps imagined; of a tree, its depth."""
    population: int = 400
    """Candidate action sequences per iteration."""
    iterations: int = 5
    """Refinements per action."""
    discount: Fraction = 1.0
    """Discount per imagined step."""
    common_noise: bool = True
    """[cem, icem, mppi, shooting, gradient] Candidates share each particle's noise (common random numbers): they are
    compared under the same luck."""
    elites: int = 40
    """[cem, icem] Best candidates that the next iteration is fitted to."""
    momentum: Part = 0.1
    """[cem, icem] Weight of the old mean and variance."""
    initial_std: Positive = 0.25
    """[cem] Standard deviation of the first candidates, as a part of the action range."""
    clipped: bool = False
    """[cem] Draw from a plain Gaussian and clip it at the bounds, instead of from one cut at two deviations."""
    noise_beta: float = 2.0
    """[icem, mppi] Colour of the noise: 0 is white, 2 as smooth as a random walk."""
    keep_elites: Part = 0.3
    """[icem] Part of the elites carried to the next iteration and, shifted, to the next step."""
    temperature: Positive = 0.5
    """[mppi] Softness of the weights, in units of return."""
    noise: Positive = 0.3
    """[mppi] Standard deviation of the candidates, as a part of half the action range."""
    restarts: int = 8
    """[gradient, ilqr] Sequences improved side by side, in place of a population."""
    gradient_steps: int = 50
    """[gradient] Adam steps per action, in place of iterations."""
    step_size: Positive = 0.1
    """[gradient] Adam's step size on the squashed actions."""
    second_order: bool = False
    """[ilqr] DDP: with the second derivatives of the dynamics."""
    final_weight: Positive = 1.0
    """[ilqr] How many times the last imagined reward counts."""
    simulations: int = 64
    """[tree] Simulations per action, in place of population and iterations."""
    tree_rule: Literal["gumbel", "puct", "ucb"] = "puct"
    """[tree] What is tried next: Gumbel MuZero's halving, AlphaZero's PUCT, or plain upper confidence bounds."""
