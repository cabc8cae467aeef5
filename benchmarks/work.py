"""The work that is timed, and its matrix-product FLOP by formula: nothing else counts floating-point operations here.

Imports neither JAX nor Forethought, so that peers in environments of their own share it.
"""

import dataclasses
import itertools


def forward(sizes: tuple[int, ...]) -> int:
    """FLOP of one row through a network with layers of `sizes`: a multiply and an add per weight."""
    return 2 * sum(i * o for i, o in itertools.pairwise(sizes))


def forward_and_backward(sizes: tuple[int, ...]) -> int:
    """FLOP of one row of a gradient step.

    The backward pass has one product per layer for the weights and one for the layer's input, which the first layer
    does not need.
    """
    return 3 * forward(sizes) - 2 * sizes[0] * sizes[1]


@dataclasses.dataclass(frozen=True)
class Networks:
    """An ensemble of Gaussian networks that predict changes of the observation; reward and termination are given."""

    obs: int = 4
    action: int = 1
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    members: int = 7
    elites: int = 5  # members that predict

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from input to output (mean and log-variance)."""
        return (self.obs + self.action, *self.hidden, 2 * self.obs)


@dataclasses.dataclass(frozen=True)
class Planning:
    """One iteration of the cross-entropy method; the default is mbrl-lib's PETS on its continuous cart-pole."""

    networks: Networks = Networks()
    particles: int = 20
    population: int = 350
    horizon: int = 15

    @property
    def flop(self) -> int:
        """Every particle of every candidate goes through one member at every step."""
        return self.population * self.particles * self.horizon * forward(self.networks.sizes)


@dataclasses.dataclass(frozen=True)
class Fitting:
    """One pass of minibatches over as many rows as fill them, every member on its own resample."""

    networks: Networks = Networks()
    batch: int = 256
    steps: int = 40

    @property
    def rows(self) -> int:
        """Transitions in the data set."""
        return self.batch * self.steps

    @property
    def flop(self) -> int:
        """Of all members and steps."""
        return self.networks.members * self.rows * forward_and_backward(self.networks.sizes)


@dataclasses.dataclass(frozen=True)
class Action:
    """One action of PETS: how much is imagined for it."""

    networks: Networks
    particles: int
    population: int
    horizon: int
    iterations: int

    @property
    def flop(self) -> int:
        """Of all iterations."""
        return self.iterations * Planning(self.networks, self.particles, self.population, self.horizon).flop


FITTING = {"batch 256": Fitting(batch=256, steps=40), "batch 32": Fitting(batch=32, steps=313)}

# glibc gives memory back to the system whenever some is freed, and takes it again page by page; these stop that.
# 32 MiB is the largest threshold it accepts.
MALLOC_TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
}


def from_dict(kind: type, values: dict):
    """A piece of work from its `dataclasses.asdict`, as it comes back from JSON."""
    values = dict(values)
    if "networks" in values:
        values["networks"] = Networks(**{**values["networks"], "hidden": tuple(values["networks"]["hidden"])})
    return kind(**values)
