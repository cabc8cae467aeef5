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


@dataclasses.dataclass(frozen=True)
class Dreaming:
    """One gradient step of Dreamer v3: world model, imagination, actor and critic. Defaults are its size 1m on vectors.

    A network is counted once for each state it is needed in, backward where something learns from it, and convolutions
    of a doubled image in their cheapest exact form (3 x 3 different pixels under each 5 x 5 kernel).
    """

    deter: int = 512
    hidden: int = 64
    latents: int = 32
    classes: int = 4
    blocks: int = 8
    prior_layers: int = 2
    units: int = 64
    layers: int = 3  # of the vector's encoder and decoder
    behaviour_layers: int = 3  # of actor and critic
    depth: int = 4  # channels of the first convolution, halved
    obs: int = 3  # numbers in the observation; 0: none
    image: int = 0  # side of its picture of three channels, 64 or 128; 0: none
    action: int = 1
    batch: int = 16
    length: int = 64
    imagination: int = 15

    @property
    def stoch(self) -> int:
        """Length of the latent."""
        return self.latents * self.classes

    @property
    def features(self) -> int:
        """Length of what the heads see."""
        return self.deter + self.stoch

    @property
    def channels(self) -> list[int]:
        """Of the picture and of what each of four convolutions makes of it."""
        return [3, *(self.depth * m for m in (2, 3, 4, 4))]

    @property
    def pixels(self) -> list[int]:
        """In the picture and after each halving."""
        return [(self.image >> halvings) ** 2 for halvings in range(5)]

    def head(self, outputs: int, layers: int = 1) -> int:
        """Forward FLOP of a network on the features."""
        return forward((self.features, *[self.units] * layers, outputs))

    @property
    def cell(self) -> int:
        """Of one step of the block GRU."""
        group = self.deter // self.blocks
        inputs = sum(2 * size * self.hidden for size in (self.deter, self.stoch, self.action))
        return inputs + self.blocks * forward((group + 3 * self.hidden, group, 3 * group))

    @property
    def prior(self) -> int:
        """Of one prior."""
        return forward((self.deter, *[self.hidden] * self.prior_layers, self.stoch))

    @property
    def encoder(self) -> tuple[int, int]:
        """Of one observation; and of its first layers, whose inputs need no gradient."""
        vector = (self.obs, *[self.units] * self.layers)
        convolutions = [
            2 * 25 * seen * i * o for seen, (i, o) in zip(self.pixels, itertools.pairwise(self.channels), strict=False)
        ]
        first = (2 * self.obs * self.units if self.obs else 0) + convolutions[0]
        return (forward(vector) if self.obs else 0) + sum(convolutions), first

    @property
    def decoder(self) -> int:
        """Of one reconstruction."""
        vector = self.head(self.obs, self.layers) if self.obs else 0
        if not self.image:
            return vector
        smallest = self.pixels[-1] * self.channels[-1]
        start = 2 * self.deter * smallest // self.blocks + forward((self.stoch, 2 * self.units, smallest))
        doublings = zip(self.pixels, itertools.pairwise(self.channels), strict=False)
        return vector + start + sum(2 * 9 * made * i * o for made, (i, o) in doublings)

    @property
    def flop(self) -> int:
        """Of one gradient step."""
        states, first = self.batch * self.length, 2 * self.features * self.units
        embedding = self.pixels[-1] * self.channels[-1] + (self.units if self.obs else 0)
        posterior = forward((self.deter + embedding, self.hidden, self.stoch))
        encoder, unneeded = self.encoder
        unneeded += 2 * self.action * self.hidden
        actor, critic = self.head(2 * self.action, self.behaviour_layers), self.head(BINS, self.behaviour_layers)
        foreseen = self.head(BINS) + self.head(1)
        learned = 3 * (encoder + self.cell + posterior + self.prior + self.decoder + foreseen) - unneeded
        imagined = self.imagination * (self.cell + self.prior + actor + critic) + (self.imagination + 1) * (
            foreseen + critic
        )
        behaviour = self.imagination * (2 * (actor + critic) - 2 * first)
        return states * (learned + imagined + behaviour) + (states - self.batch) * 4 * critic


@dataclasses.dataclass(frozen=True)
class SacUpdates:
    """Gradient steps of soft actor-critic with two critics, each on a batch drawn for it; sizes are HalfCheetah's."""

    obs: int = 17
    action: int = 6
    hidden: tuple[int, ...] = (256, 256)
    batch: int = 256
    steps: int = 50
    rows: int = 100_000  # in the replay

    @property
    def actor(self) -> tuple[int, ...]:
        """Widths from the observation to mean and log-deviation."""
        return (self.obs, *self.hidden, 2 * self.action)

    @property
    def critic(self) -> tuple[int, ...]:
        """Widths of one critic."""
        return (self.obs + self.action, *self.hidden, 1)

    @property
    def weights(self) -> int:
        """That are learned, biases included: of the actor and both critics."""
        count = lambda sizes: sum((i + 1) * o for i, o in itertools.pairwise(sizes))
        return count(self.actor) + 2 * count(self.critic)

    @property
    def flop(self) -> int:
        """Of all steps. Targets are worked out forward only; the actor's gradient passes through both critics to the
        action, and none of it is needed for their weights or the observation.
        """
        targets = forward(self.actor) + 2 * forward(self.critic)
        passed = 2 * forward(self.critic) - 2 * self.obs * self.hidden[0]
        learned = 2 * forward_and_backward(self.critic) + forward_and_backward(self.actor) + 2 * passed
        return self.steps * self.batch * (targets + learned)


@dataclasses.dataclass(frozen=True)
class BranchedRollouts:
    """Short rollouts of a policy through an ensemble that predicts reward too, from states of the replay into another
    replay; sizes are those of mbrl-lib's MBPO on HalfCheetah.
    """

    networks: Networks = Networks(obs=17, action=6)
    policy: tuple[int, ...] = (512, 512)  # hidden layers
    starts: int = 100_000
    horizon: int = 1

    @property
    def flop(self) -> int:
        """Every rollout goes through the policy and one member at every step."""
        n = self.networks
        model = forward((*n.sizes[:-1], 2 * (n.obs + 1)))
        return self.starts * self.horizon * (model + forward((n.obs, *self.policy, 2 * n.action)))


BINS = 255  # of the reward's and the critic's classification
DREAMING = {
    "tiny": Dreaming(
        deter=128,
        hidden=64,
        latents=8,
        classes=8,
        blocks=1,
        prior_layers=1,
        units=64,
        layers=2,
        behaviour_layers=2,
        length=16,
    ),
    "1m": Dreaming(),
    "1m, pictures": Dreaming(obs=0, image=64),
}
SAC_UPDATES = {"2 x 256": SacUpdates(), "2 x 512": SacUpdates(hidden=(512, 512))}
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
