"""AlphaZero (Silver et al. 2018, "A general reinforcement learning algorithm that masters chess, shogi and Go").

A network guides a tree search on the true rules; the games that the search plays against itself teach the network the
search's policy and the games' outcomes. The newest network always plays.

Deviations from the paper and its pseudocode:
- AdamW and a clipped gradient, with a constant step size, where theirs is SGD with momentum, a falling step size and an
  L2 term in the loss;
- the residual blocks have norm and activation first, and the norm is over each board instead of over a batch; boards
  are told by the stones of the position alone, without its history; presets are small;
- noise at the root is drawn over legal moves only, always mixed in the same share;
- learning alternates with playing, one round of `updates` gradient steps every `update_every` moves, where theirs goes
  on beside it; the replay is a ring of moves, not of games;
- games that time cut off have no outcome, and teach the policy only;
- rule `gumbel` is the search of Danihelka et al. 2022 and its improved policy as the target; it draws by Gumbel noise
  in place of root noise and temperature;
- `opening` makes some first moves at random (off by default): outcomes of positions before them are those of the game
  as it was played;
- training sees each position in one of the game's symmetries, drawn anew every time, as AlphaGo Zero did;
- tasks of one player are searched too: values are then discounted sums of rewards, without bounds, which the `puct`
  rule scales by the lowest and highest of each node (MuZero).
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractPlanningAgent, Additions, Clock, Data, Schedule
from ..learners import self_play
from ..learners.optimiser import clipped_adamw
from ..learners.schedule import GradientSteps
from ..learners.search_imitation import Imitator, imitate
from ..learners.self_play import GameSearch
from ..models.simulator import Simulator
from ..networks.policy_value import policy_value
from ..planners import checks
from ..planners.tree_rules import PUCT, Gumbel
from ..planners.tree_search import TreeSearch
from ..presets.alphazero import AlphaZeroConfig
from ..replay.games import GameReplay, Searched
from ..types import EnvSpec, Metrics


class AlphaZero(AbstractPlanningAgent[Imitator, Int[Array, ""], GameSearch]):
    """Searches every move, and learns from its own games. The memory counts the moves.

    With 0 simulations the network alone plays, and nothing can be learned.
    """

    spec: EnvSpec
    config: AlphaZeroConfig = eqx.field(static=True)
    rules: Simulator
    planner: TreeSearch
    player: TreeSearch  # the same with `play_simulations`
    gradient_steps: GradientSteps

    def __init__(self, spec: EnvSpec, config: AlphaZeroConfig | None = None, *, rules: Simulator):
        """`rules` are the true ones. Raises ValueError for invalid sizes, and for continuous actions."""
        self.spec = spec
        self.config = c = AlphaZeroConfig() if config is None else config
        self.rules = rules
        counts = {"update_every": c.update_every, "updates": c.updates, "batch_size": c.network.batch_size}
        for name, count in counts.items():
            checks.whole_number(name, count)
        self.gradient_steps = GradientSteps(c.update_every, c.updates)
        if c.play_simulations is not None:
            checks.whole_number("play_simulations", c.play_simulations)
        bounds = (-1.0, 1.0) if self_play.for_two(rules) else None
        puct = PUCT(c.c_init, c.c_base, c.noise_fraction, c.noise_alpha, bounds)
        rule = puct if c.rule == "puct" else Gumbel(c.considered)
        search = lambda n: TreeSearch(spec.action, simulations=n, rule=rule, discount=c.discount)
        self.planner = search(c.simulations)
        self.player = search(c.play_simulations or c.simulations) if c.simulations else self.planner

    @property
    def schedule(self) -> Schedule:
        return Schedule.one_round("network", self.gradient_steps.update_every)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Of the network."""
        c = self.config.network
        return clipped_adamw(c.learning_rate, clip=c.clip, weight_decay=c.weight_decay)

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
        guide = lambda belief, key: self_play.guided(state.network, self.rules, belief)
        planner, options = self.planner if explore else self.player, {"guide": guide, "explore": explore}
        return GameSearch(search.at, planner.refine(self.rules, search.at.belief, search.found, **options, key=key))

    def best(
        self, state: Imitator, memory: Int[Array, ""], search: GameSearch, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Int[Array, ""], Int[Array, ""], Searched]:
        action, plan = self.planner.best(search.found)
        if explore:
            draw_key, open_key = jr.split(key)
            temperature = jnp.where(memory < self.config.temperature_moves, 1.0, 0.0)
            action = self.planner.drawn(search.found, temperature, key=draw_key)
            action = self_play.opened(action, search.at.legal, memory, self.config.opening, key=open_key)
        return action, memory + 1, Searched(plan.weights, search.at.player)

    def update(
        self, state: Imitator, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[Imitator, Additions, Metrics]:
        """One round of gradient steps on the games so far. Raises ValueError for an agent that does not search."""
        if not self.planner.simulations:
            raise ValueError("simulations=0 plays by the network alone, which teaches it nothing; search to train")
        state, metrics = imitate(
            state,
            data["env"],
            self.optimiser,
            self.gradient_steps,
            batch_size=self.config.network.batch_size,
            value_loss="squared",
            discount=self.config.discount,
            symmetries=self_play.symmetries_of(self.rules),
            key=key,
        )
        return state, {}, metrics
