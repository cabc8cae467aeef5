"""Tree search over discrete actions, in any model: a simulator's true rules, an ensemble, a latent model."""

from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractModel, AbstractRefiningPlanner
from ..errors import UserError
from ..presets.parts import PlannerConfig
from ..types import ActionSpace, Discrete
from . import checks
from .plan import unknown_value
from .random_play import turn
from .tree_rules import LOWEST, PUCT, UCB, AbstractTreeRule, Found, Gumbel, import_mctx, luckiest

Guide = Callable[[Any, PRNGKeyArray], tuple[Float[Array, "particles actions"], Float[Array, " particles"]]]
"""`(belief, key) -> (logits, value)`: what to try first, and what a belief is worth to the player to move there."""

BROKEN = -1e6  # what a step costs whose reward, continuation or value is not finite; PETS's number


class TreePlan(eqx.Module):
    """What the last search found at its root. Nothing of it is reused: the next search starts afresh."""

    weights: Float[Array, " actions"]  # the improved policy: what a network learns to say; sums to 1
    visits: Float[Array, " actions"]
    value: Float[Array, ""]  # mean return from the root, for the player to move; -inf before the first search


class TreeResults(eqx.Module):
    """Searches so far, summed."""

    choice: Float[Array, " actions"]
    weights: Float[Array, " actions"]
    visits: Float[Array, " actions"]
    returns: Float[Array, " actions"]  # of all visits of an action
    value: Float[Array, ""]
    luck: Float[Array, " actions"]
    count: Float[Array, ""]


class Node(eqx.Module):
    """What the tree stores of a belief; leaves `[1, ...]`, the batch axis of mctx."""

    belief: list[Array]  # the arrays of a belief, [1, particles, ...]
    alive: Float[Array, "1 particles"]  # probability that each particle's episode still goes on
    player: Array  # [1]: who is to move


class TreeSearch(AbstractRefiningPlanner[TreePlan, TreeResults]):
    """Monte-Carlo tree search with `rule` (PUCT, Gumbel or UCB), through mctx.

    A node holds all particles of a belief, and an action moves all of them: rewards are means over the particles that
    are still alive, so the value of a sequence of actions is what `rollout` says of it. The continuation multiplies
    the discount, and what comes after an end is worth 0. Where the model knows `moves`, only legal actions are tried,
    and values change sign where the player does.

    `guide` says of a belief which actions to try first and what it is worth; None: all actions alike, worth 0, so that
    only what the tree itself meets counts. With 0 `simulations` the guide alone decides. With `iterations` above 1 (or
    more refinements) further searches start from the root and their visits are added up (root parallelisation, Chaslot
    et al. 2008).

    A step whose reward, continuation or value is not finite costs 1e6 and ends there. Raises ValueError for Box
    actions, sizes below 1 and a discount outside [0, 1]; UserError where mctx is missing, and, outside of compiled
    functions, if no action is legal at the root (inside of them, the action is then 0).
    """

    action: ActionSpace
    simulations: int = eqx.field(static=True)
    rule: AbstractTreeRule = Gumbel()
    discount: float = eqx.field(static=True, default=1.0)
    max_depth: int | None = eqx.field(static=True, default=None)  # of the tree, in actions
    iterations: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if not isinstance(self.action, Discrete):
            raise ValueError(
                f"tree search needs discrete actions, got Box with {self.action.shape[0]} dimensions; use cem, icem, "
                "mppi, shooting or gradient"
            )
        checks.whole_number("simulations", self.simulations, 0)
        checks.whole_number("iterations", self.iterations)
        if self.max_depth is not None:
            checks.whole_number("max_depth", self.max_depth)
        checks.fraction("discount", self.discount)
        import_mctx()

    @classmethod
    def from_config(cls, action: ActionSpace, config: PlannerConfig) -> Self:
        """As configured. Raises ValueError for sizes that clash."""
        rules = {"gumbel": Gumbel(), "puct": PUCT(), "ucb": UCB()}
        rule = rules[config.tree_rule]
        checks.whole_number("simulations", config.simulations)  # nothing guides it
        return cls(action, config.simulations, rule, discount=config.discount, max_depth=config.horizon)

    def init(self) -> TreePlan:
        n = self._num_actions
        return TreePlan(jnp.ones(n) / n, jnp.zeros(n), unknown_value())

    def begin(self, plan: TreePlan) -> TreeResults:
        nothing = jnp.zeros(self._num_actions)
        return TreeResults(nothing, nothing, nothing, nothing, jnp.zeros(()), nothing, jnp.zeros(()))

    def refine(
        self,
        model: AbstractModel,
        belief: PyTree,
        search: TreeResults,
        *,
        guide: Guide | None = None,
        explore: bool = False,
        key: PRNGKeyArray,
    ) -> TreeResults:
        """One search more, with the rule's noise at the root if it is to `explore`."""
        found = self._search(model, belief, guide, explore=explore, key=key)
        returns = jnp.where(found.visits > 0, found.visits * found.qvalues, 0.0)
        one = jnp.ones(())
        new = TreeResults(found.choice, found.weights, found.visits, returns, found.value, found.luck, one)
        return jax.tree.map(jnp.add, search, new)

    def best(self, search: TreeResults) -> tuple[Array, TreePlan]:
        values = jnp.where(search.visits > 0, search.returns / jnp.maximum(search.visits, 1), -jnp.inf)
        action = luckiest(search.choice, values, search.luck)  # of the most tried the one of best value
        count = jnp.maximum(search.count, 1)
        value = jnp.where(search.count > 0, search.value / count, -jnp.inf)
        return action, TreePlan(search.weights / count, search.visits, value)

    def drawn(
        self, search: TreeResults, temperature: Float[Array, ""] | float = 1.0, *, key: PRNGKeyArray
    ) -> Int[Array, ""]:
        """An action drawn in proportion to `visits^(1 / temperature)` (0: the best), or, where the rule is Gumbel's,
        one of those that its searches drew."""
        logits = jnp.log(search.choice / jnp.max(search.choice)) / jnp.maximum(temperature, 1e-3)
        action = jr.categorical(key, logits).astype(jnp.int32)
        return jnp.where(jnp.asarray(temperature) > 0, action, self.best(search)[0])

    @property
    def _num_actions(self) -> int:
        return self.action.feature_dim

    def _search(
        self,
        model: AbstractModel,
        belief: PyTree,
        guide: Guide | None,
        *,
        explore: bool,
        key: PRNGKeyArray,
    ) -> Found:
        mctx = import_mctx()
        guide = self._unguided if guide is None else guide
        root_key, search_key = jr.split(key)
        particles = _stored(belief)[0].shape[0]
        alive = jnp.ones(particles)

        def valued(belief: PyTree, legal: Array, alive: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
            logits, value = guide(belief, key)
            return _mixed(logits, legal, alive), _mean(value, alive)

        def recurrent(_: None, key: PRNGKeyArray, action: Array, node: Node) -> tuple[Any, Node]:
            step_key, guide_key = jr.split(key)
            node = jax.tree.map(lambda x: x[0], node)
            after, said = model.step(_restored(node.belief, belief), jnp.repeat(action, particles), key=step_key)
            legal, player = turn(model, after, self._num_actions)
            reward = _mean(said.reward, node.alive)
            going = _mean(said.continuation, node.alive)
            alive = node.alive * said.continuation
            logits, value = valued(after, legal, alive, guide_key)
            sound = jnp.isfinite(reward) & jnp.isfinite(going) & jnp.isfinite(value)
            over = ~sound | ~jnp.any(alive > 0)
            sign = jnp.where(player == node.player, 1.0, -1.0)
            said = mctx.RecurrentFnOutput(
                reward=jnp.where(sound, reward, BROKEN)[None],
                discount=jnp.where(over, 0.0, self.discount * sign * going)[None],
                prior_logits=logits[None],
                value=jnp.where(over, 0.0, value)[None],
            )
            alive = jnp.where(over, 0.0, alive)
            return said, jax.tree.map(lambda x: x[None], Node(_stored(after), alive, player))

        legal, player = turn(model, belief, self._num_actions)
        _refuse_if_over(legal)
        logits, value = valued(belief, legal, alive, root_key)
        if not self.simulations:
            weights, luck = jax.nn.softmax(logits), jr.uniform(search_key, logits.shape)
            return Found(weights, weights, jnp.zeros(logits.shape), weights, value, luck)
        root = jax.tree.map(lambda x: x[None], Node(_stored(belief), alive, player))
        return self.rule.search(
            mctx.RootFnOutput(prior_logits=logits[None], value=value[None], embedding=root),
            recurrent,
            legal | ~jnp.any(legal),
            simulations=self.simulations,
            max_depth=self.max_depth,
            explore=explore,
            key=search_key,
        )

    def _unguided(self, belief: PyTree, key: PRNGKeyArray) -> tuple[Array, Array]:
        particles = _stored(belief)[0].shape[0]
        return jnp.zeros((particles, self._num_actions)), jnp.zeros(particles)


def _mean(x: Float[Array, " particles"], alive: Float[Array, " particles"]) -> Float[Array, ""]:
    """The mean over particles, weighted by how alive they are; 0 if none is."""
    # A model run on past termination may say NaN or inf, and 0 * NaN is NaN.
    total = jnp.sum(jnp.where(alive > 0, alive * x, 0.0))
    return total / jnp.where(jnp.any(alive > 0), jnp.sum(alive), 1.0)


def _mixed(
    logits: Float[Array, "particles actions"], legal: Bool[Array, " actions"], alive: Float[Array, " particles"]
) -> Float[Array, " actions"]:
    """Logits of the mean of the particles' policies over the legal actions."""
    logits = jnp.where(legal, logits - jnp.max(logits, -1, where=legal, initial=LOWEST, keepdims=True), LOWEST)
    if logits.shape[0] == 1:
        return logits[0]
    weight = jnp.where(jnp.any(alive > 0), alive, 1.0)
    mixed = jax.nn.logsumexp(jax.nn.log_softmax(logits), 0, b=weight[:, None] / jnp.sum(weight))
    return jnp.where(legal, mixed, LOWEST)


def _stored(belief: PyTree) -> list[Array]:
    """The arrays of a belief as mctx can store them: typed keys as their data."""
    return [jr.key_data(x) if _is_key(x) else x for x in jax.tree.leaves(belief) if eqx.is_array(x)]


def _restored(stored: list[Array], like: PyTree) -> PyTree:
    """The belief that `_stored` took apart; `like` is one of the same kind."""
    leaves, structure = jax.tree.flatten(like)
    arrays = iter(stored)

    def restored(x: Any) -> Any:
        if not eqx.is_array(x):
            return x
        return jr.wrap_key_data(next(arrays), impl=jr.key_impl(x)) if _is_key(x) else next(arrays)

    return jax.tree.unflatten(structure, [restored(x) for x in leaves])


def _is_key(x: Any) -> bool:
    return eqx.is_array(x) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _refuse_if_over(legal: Bool[Array, " actions"]) -> None:
    """Raises UserError if it can be seen now that there is nothing to choose from."""
    if not isinstance(legal, Tracer) and not np.any(legal):
        raise UserError("no action is legal here, so there is nothing to search: the game is over; start a new one")
