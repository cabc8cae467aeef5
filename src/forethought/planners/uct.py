"""Plain Monte-Carlo tree search: UCB1 in the tree, random play below it."""

import math
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractModel, AbstractPlanner
from ..errors import UserError
from ..types import ActionSpace, Discrete
from . import checks
from .random_play import favourites, random_play, stepped, turn, uniform


class UCTPlan(eqx.Module):
    """What the latest search found at its root."""

    visits: Int[Array, " actions"]  # sum to the number of rollouts
    values: Float[Array, " actions"]  # mean return, for the player to move; 0 where never tried


class Tree(eqx.Module):
    """A search under way; node 0 is the root. What is said of a node's past is said for the player who chose it."""

    belief: PyTree  # leaves [nodes, ...]
    legal: Bool[Array, "nodes actions"]  # none where the game has ended
    player: Int[Array, " nodes"]
    children: Int[Array, "nodes actions"]  # -1: not tried
    parent: Int[Array, " nodes"]
    reward: Float[Array, " nodes"]  # of the step that led here
    link: Float[Array, " nodes"]  # what a return from here is worth one step before: discount, sign, 0 at an end
    visits: Int[Array, " nodes"]
    total: Float[Array, " nodes"]  # sum of the returns of its visits


def ucb(total: Float[Array, " n"], visits: Int[Array, " n"], exploration: float = math.sqrt(2)) -> Float[Array, " n"]:
    """Upper confidence bounds UCB1 (Auer et al. 2002) of `n` choices, each tried at least once."""
    return total / visits + exploration * jnp.sqrt(jnp.log(visits.sum()) / visits)


class UCT(AbstractPlanner[UCTPlan]):
    """Each rollout descends by UCB1, tries one untried action, and plays on at random to the end.

    Source: Kocsis & Szepesvari 2006; the tree grows by one node a rollout, untried actions come first, and the most
    visited action is chosen (Coulom 2006; Chaslot et al. 2008), among equally visited ones the one of best value. All
    other ties are broken at random. Returns keep the task's
    own scale, and `exploration` is in its unit: in a game, with -1 to 1, the default is half of what UCB1's proof asks
    for (rewards of 0 to 1); Connect Four is played better so. Where the model is stochastic, each action in the tree
    keeps the outcome that was drawn when it was first tried.
    Raises UserError for continuous actions, and ValueError for sizes below 1 and for beliefs of several particles.
    """

    action: ActionSpace
    rollouts: int = eqx.field(static=True, default=200)
    exploration: float = eqx.field(static=True, default=math.sqrt(2))
    discount: float = eqx.field(static=True, default=1.0)
    max_steps: int = eqx.field(static=True, default=1000)  # of a rollout below the tree; then nothing more is counted

    def __check_init__(self) -> None:
        if not isinstance(self.action, Discrete):
            raise UserError("UCT searches discrete actions, and these are continuous; take CEM, iCEM or MPPI")
        for name in ("rollouts", "max_steps"):
            checks.whole_number(name, getattr(self, name))
        checks.positive("exploration", self.exploration)
        checks.fraction("discount", self.discount)

    def init(self) -> UCTPlan:
        actions = self._actions
        return UCTPlan(jnp.zeros(actions, jnp.int32), jnp.zeros(actions))

    def __call__(
        self, model: AbstractModel, belief: PyTree, plan: UCTPlan, *, guide: Any = None, key: PRNGKeyArray
    ) -> tuple[Array, UCTPlan]:
        """The most visited action, of several the best; 0 where none is legal. Neither `plan` nor `guide` is used."""
        grow_key, choice_key = jr.split(key)
        tree = jax.lax.fori_loop(
            0,
            self.rollouts,
            lambda i, t: self._grown(model, t, i + 1, jr.fold_in(grow_key, i)),
            self._root(model, belief),
        )
        tried, visits, total = _below(tree, 0)
        plan = UCTPlan(visits, jnp.where(tried, total / jnp.maximum(visits, 1), 0.0))
        return uniform(tried & favourites(visits, plan.values), choice_key), plan

    @property
    def _actions(self) -> int:
        return cast(Discrete, self.action).n

    def _root(self, model: AbstractModel, belief: PyTree) -> Tree:
        particles = jax.tree.leaves(belief)[0].shape[0]
        if particles != 1:
            raise ValueError(f"UCT: a belief of {particles} particles, wanted 1; give the model one particle")
        nodes, actions = self.rollouts + 1, self._actions
        many = jax.tree.map(lambda x: jnp.broadcast_to(x, (nodes, *x.shape[1:])), belief)
        legal, player = turn(model, belief, actions)
        ints, floats = jnp.zeros(nodes, jnp.int32), jnp.zeros(nodes)
        children = jnp.full((nodes, actions), -1, jnp.int32)
        legal = jnp.broadcast_to(legal, (nodes, actions))
        return Tree(many, legal, ints + player, children, ints, floats, floats, ints, floats)

    def _grown(self, model: AbstractModel, tree: Tree, new: Int[Array, ""], key: PRNGKeyArray) -> Tree:
        """The tree after one rollout; `new` is the place for its node."""
        descend_key, choice_key, step_key, play_key = jr.split(key, 4)
        node = self._descended(tree, descend_key)
        untried = tree.legal[node] & (tree.children[node] < 0)
        grows = untried.any()  # if not, the game is over there
        action = uniform(untried, choice_key)
        at = jax.tree.map(lambda x: x[node][None], tree.belief)
        belief, reward, link, legal, player = stepped(
            model, at, tree.player[node], action, num_actions=self._actions, discount=self.discount, key=step_key
        )
        value = random_play(
            model, belief, legal & grows, player, discount=self.discount, max_steps=self.max_steps, key=play_key
        )
        child = jnp.where(grows, new, tree.children[node, action])
        tree = Tree(
            jax.tree.map(lambda all, one: all.at[new].set(one[0]), tree.belief, belief),
            tree.legal.at[new].set(legal),
            tree.player.at[new].set(player),
            tree.children.at[node, action].set(child),
            tree.parent.at[new].set(node),
            tree.reward.at[new].set(reward),
            tree.link.at[new].set(link),
            tree.visits,
            tree.total,
        )
        return _backed_up(tree, jnp.where(grows, new, node), jnp.where(grows, value, 0.0))

    def _descended(self, tree: Tree, key: PRNGKeyArray) -> Int[Array, ""]:
        """The first node on the way of the highest bounds that is an end or has an untried action."""

        def whole(at: tuple) -> Array:
            legal = tree.legal[at[0]]
            return legal.any() & ~(legal & (tree.children[at[0]] < 0)).any()

        def down(at: tuple) -> tuple:
            node, key = at
            key, tie_key = jr.split(key)
            tried, visits, total = _below(tree, node)
            score = jnp.where(tried, ucb(total, visits, self.exploration), -jnp.inf)
            return tree.children[node, uniform(score == score.max(), tie_key)], key

        return jax.lax.while_loop(whole, down, (jnp.int32(0), key))[0]


def _below(tree: Tree, node: Int[Array, ""] | int) -> tuple[Array, Array, Array]:
    """Of each action at a node: whether it was tried, how often, and the sum of its returns."""
    children = tree.children[node]
    tried = children >= 0
    return tried, jnp.where(tried, tree.visits[children], 0), jnp.where(tried, tree.total[children], 0.0)


def _backed_up(tree: Tree, node: Int[Array, ""], value: Float[Array, ""]) -> Tree:
    """The tree with a return of `value` from `node` counted there and on the way to the root."""
    nodes = jnp.arange(len(tree.parent))

    def up(at: tuple) -> tuple:
        node, value, gained, passed = at
        value = tree.reward[node] + tree.link[node] * value
        here = nodes == node  # dense, since a scatter in a loop over many searches would copy the trees
        return tree.parent[node], value, jnp.where(here, value, gained), passed | here

    start = (node, value, jnp.zeros(len(nodes)), jnp.zeros(len(nodes), bool))
    _, _, gained, passed = jax.lax.while_loop(lambda at: at[0] > 0, up, start)
    return eqx.tree_at(lambda t: (t.visits, t.total), tree, (tree.visits + passed, tree.total + gained))
