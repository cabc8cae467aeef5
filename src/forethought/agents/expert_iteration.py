"""Expert iteration (Anthony, Tian & Barber 2017, "Thinking fast and slow with deep learning and tree search").

An expert, a tree search, says of every position what to do; an apprentice, a network, learns to say the same at once,
and guides the expert's next searches. The targets are tree-policy targets: how often the search tried each action. The
search adds `w pi(a) / (n(a) + 1)` to its upper confidence bounds; a new leaf is worth the result of one play at random
and, with a `value_weight`, what the apprentice thinks of it.

Differences from AlphaZero, all the paper's own: upper confidence bounds with a bonus in place of PUCT; random play at
the leaves, and the apprentice's value beside it or not at all; positions from games of the apprentice, which draws its
moves from its policy (`play` apprentice; `expert` takes the search's, drawn in proportion to visits); the value's loss
is the cross-entropy of winning. Network, replay, optimiser and symmetries are those of `alphazero`.

Deviations from the paper:
- no statistics shared between moves (RAVE), no parallel search with virtual losses, no expansion threshold: every
  simulation adds a node;
- every position of a game is searched and learned from, where theirs takes one of each game; a replay keeps the latest
  positions, which lies between their batch version (each iteration's own data) and their online one (all data);
- the apprentice's value is learned from the outcomes of the games that the positions are from, where theirs is learned
  from extra games of the apprentice;
- the sum of both values is divided by the sum of their weights, and so are the two other terms, which orders actions as
  theirs;
- the constants of the presets other than `paper` fit few simulations: with 32 of them a bonus of 100 would leave the
  search nothing to say; `opening` makes some first moves random besides;
- the network is a plain residual one, where theirs is a stack of convolutions made for hexagonal boards;
- tasks of one player are searched too: values are then discounted sums of rewards, and their loss is squared.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractPlanningAgent, Additions, Clock, Data, Schedule
from ..learners import self_play
from ..learners.optimiser import clipped_adamw
from ..learners.schedule import GradientSteps
from ..learners.search_imitation import Imitator, ValueLoss, imitate
from ..learners.self_play import GameSearch
from ..models.simulator import Simulator
from ..networks.policy_value import policy_value
from ..planners import checks
from ..planners.random_play import random_play, turn
from ..planners.tree_rules import UCB
from ..planners.tree_search import TreeSearch
from ..presets.expert_iteration import ExpertIterationConfig
from ..replay.games import GameReplay, Searched
from ..types import EnvSpec, Metrics


class ExpertIteration(AbstractPlanningAgent[Imitator, Int[Array, ""], GameSearch]):
    """Searches every move and imitates its searches; without exploration the expert plays. The memory counts moves.

    With 0 simulations the apprentice alone plays, and nothing can be learned.
    """

    spec: EnvSpec
    config: ExpertIterationConfig = eqx.field(static=True)
    rules: Simulator
    planner: TreeSearch
    gradient_steps: GradientSteps

    def __init__(self, spec: EnvSpec, config: ExpertIterationConfig | None = None, *, rules: Simulator):
        """`rules` are the true ones. Raises ValueError for invalid sizes, and for continuous actions."""
        self.spec = spec
        self.config = c = ExpertIterationConfig() if config is None else config
        self.rules = rules
        counts = {"update_every": c.update_every, "updates": c.updates, "batch_size": c.network.batch_size}
        for name, count in {**counts, "play_out": c.play_out}.items():
            checks.whole_number(name, count)
        checks.not_negative("value_weight", c.value_weight)
        self.gradient_steps = GradientSteps(c.update_every, c.updates)
        rule = UCB(c.exploration / (1 + c.value_weight), c.prior_weight / (1 + c.value_weight))
        self.planner = TreeSearch(spec.action, simulations=c.simulations, rule=rule, discount=c.discount)

    @property
    def schedule(self) -> Schedule:
        return Schedule.one_round("network", self.gradient_steps.update_every)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Of the apprentice."""
        c = self.config.network
        return clipped_adamw(c.learning_rate, clip=c.clip, weight_decay=c.weight_decay)

    @property
    def value_loss(self) -> ValueLoss:
        """The loss of the apprentice's value."""
        if not self.config.value_weight:
            return "none"
        return "cross-entropy" if self_play.for_two(self.rules) else "squared"

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": GameReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> Imitator:
        bounded = self_play.for_two(self.rules)
        network = policy_value(self.spec, self.config.network, bounded=bounded, key=key)
        return Imitator(network, self.optimiser.init(eqx.filter(network, eqx.is_inexact_array)))

    def init_memory(self, state: Imitator) -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    def begin(
        self, state: Imitator, memory: Int[Array, ""], obs: Float[Array, " obs"], *, key: PRNGKeyArray
    ) -> GameSearch:
        return self_play.begun(self.planner, self.rules, obs, key=key)

    def refine(self, state: Imitator, search: GameSearch, *, key: PRNGKeyArray, explore: bool) -> GameSearch:
        guide = lambda belief, key: self._guided(state, belief, key=key)
        options = {"guide": guide, "explore": explore, "key": key}
        return GameSearch(search.at, self.planner.refine(self.rules, search.at.belief, search.found, **options))

    def best(
        self, state: Imitator, memory: Int[Array, ""], search: GameSearch, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Int[Array, ""], Int[Array, ""], Searched]:
        c, at = self.config, search.at
        action, plan = self.planner.best(search.found)
        if explore:
            draw_key, open_key = jr.split(key)
            action = self.planner.drawn(search.found, key=draw_key)
            if c.play == "apprentice":
                apprentice = self_play.network_policy(state.network, self.rules, at)
                action = jr.categorical(draw_key, jnp.log(apprentice)).astype(action.dtype)
            action = self_play.opened(action, at.legal, memory, c.opening, key=open_key)
        return action, memory + 1, Searched(plan.weights, at.player)

    def _guided(self, state: Imitator, belief: PyTree, *, key: PRNGKeyArray) -> tuple[Array, Array]:
        """What the apprentice would do, and what one play at random and the apprentice say of the belief's worth."""
        c = self.config
        logits, value = self_play.guided(state.network, self.rules, belief)
        legal, player = turn(self.rules, belief, logits.shape[-1])
        limits = {"discount": c.discount, "max_steps": c.play_out}
        result = random_play(self.rules, belief, legal, player, **limits, key=key)
        return logits, (result + c.value_weight * value) / (1 + c.value_weight)

    def update(
        self, state: Imitator, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[Imitator, Additions, Metrics]:
        """One round of gradient steps on the games so far. Raises ValueError for an agent that does not search."""
        if not self.planner.simulations:
            raise ValueError("simulations=0 plays by the apprentice alone, which teaches it nothing; search to train")
        c, symmetries = self.config, self_play.symmetries_of(self.rules)
        options = {"batch_size": c.network.batch_size, "value_loss": self.value_loss, "discount": c.discount}
        parts = (data["env"], self.optimiser, self.gradient_steps)
        state, metrics = imitate(state, *parts, **options, symmetries=symmetries, key=key)
        return state, {}, metrics
