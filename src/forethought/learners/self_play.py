"""Playing by a network and a search on the true rules: what AlphaZero and expert iteration share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractGame
from ..models.simulator import Simulator
from ..networks.policy_value import PolicyValue
from ..planners.random_play import turn
from ..planners.tree_search import TreeResults, TreeSearch
from ..presets.search import OpeningConfig
from .search_imitation import Symmetries


class Standing(eqx.Module):
    """Where a player stands, as the rules have it."""

    belief: PyTree
    legal: Bool[Array, " actions"]
    player: Int[Array, ""]


class GameSearch(eqx.Module):
    """The search for one move, and the position that it is for."""

    at: Standing
    found: TreeResults


def begun(planner: TreeSearch, rules: Simulator, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> GameSearch:
    """The search for a move at the position seen as `obs`, before its first simulation."""
    return GameSearch(position(rules, obs, key=key), planner.begin(planner.init()))


def position(rules: Simulator, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> Standing:
    """The position seen as `obs`."""
    belief = rules.init(obs, key=key)
    return Standing(belief, *turn(rules, belief, rules.env.spec.action.feature_dim))


def guided(network: PolicyValue, rules: Simulator, belief: PyTree) -> tuple[Array, Array]:
    """What the network says of a belief: logits `[particles, actions]` and value `[particles]`."""
    logits, score = network(rules.drawn(belief))
    return logits, network.value(score)


def network_policy(network: PolicyValue, rules: Simulator, at: Standing) -> Float[Array, " actions"]:
    """The network's own policy over the legal actions."""
    logits, _ = guided(network, rules, at.belief)
    return jax.nn.softmax(jnp.where(at.legal | ~jnp.any(at.legal), logits[0], -jnp.inf))


def opened(
    action: Int[Array, ""],
    legal: Bool[Array, " actions"],
    played: Int[Array, ""],
    opening: OpeningConfig,
    *,
    key: PRNGKeyArray,
) -> Int[Array, ""]:
    """`action`, or with the opening's probability a uniformly random legal one while few moves have been played."""
    if not opening.moves:
        return action
    chance_key, action_key = jr.split(key)
    anything = jr.categorical(action_key, jnp.where(legal | ~jnp.any(legal), 0.0, -jnp.inf)).astype(action.dtype)
    return jnp.where((played < opening.moves) & jr.bernoulli(chance_key, opening.chance), anything, action)


def symmetries_of(rules: Simulator) -> Symmetries:
    """Those of the game; none of what is no game."""
    return rules.env.symmetries if isinstance(rules.env, AbstractGame) else ()


def for_two(rules: Simulator) -> bool:
    """Whether the rules are those of a game of two: results in [-1, 1]."""
    return isinstance(rules.env, AbstractGame) and rules.env.num_players == 2
