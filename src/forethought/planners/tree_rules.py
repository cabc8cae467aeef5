"""How a tree search chooses: which action it tries next at a node, and which one it plays in the end."""

import abc
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..errors import UserError
from . import checks
from .random_play import favourites

LOWEST = float(jnp.finfo(jnp.float32).min)  # the logit of an action that is not legal, as in mctx


class Found(eqx.Module):
    """What one search has found at its root."""

    choice: Float[Array, " actions"]  # the score of each action; scores of several searches are summed
    weights: Float[Array, " actions"]  # the improved policy that a network is trained on
    visits: Float[Array, " actions"]
    qvalues: Float[Array, " actions"]  # of the visited actions; for the player to move
    value: Float[Array, ""]  # mean of the root, for the player to move
    luck: Float[Array, " actions"]  # random numbers: which action is played of those that are equal in all else


class AbstractTreeRule(eqx.Module):
    """How a search chooses. `explore` adds the randomness of training."""

    @abc.abstractmethod
    def search(
        self,
        root: Any,
        recurrent: Callable[..., Any],
        legal: Bool[Array, " actions"],
        *,
        simulations: int,
        max_depth: int | None,
        explore: bool,
        key: PRNGKeyArray,
    ) -> Found:
        """What is found from mctx's `root` and `recurrent` function, both for a batch of one."""


class PUCT(AbstractTreeRule):
    """AlphaZero's: argmax of Q + U, `U = P sqrt(N) / (1 + n) (c_init + log((N + c_base + 1) / c_base))`.

    Source: Silver et al. 2018 and its pseudocode. Exploring, the root's prior is `(1 - f) P + f Dirichlet(alpha)`
    over the legal actions. Q is brought to [0, 1]: from `value_range` as in AlphaZero, or, where that is None, from the
    lowest and highest Q of the node and its actions (MuZero). An action not yet tried has the lowest Q, a loss. Raises
    ValueError for constants out of range.
    """

    c_init: float = eqx.field(static=True, default=1.25)
    c_base: float = eqx.field(static=True, default=19652.0)
    noise_fraction: float = eqx.field(static=True, default=0.25)
    noise_alpha: float = eqx.field(static=True, default=0.3)  # about 10 / (usual number of legal actions)
    value_range: tuple[float, float] | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        checks.not_negative("c_init", self.c_init)
        checks.positive("c_base", self.c_base)
        checks.fraction("noise_fraction", self.noise_fraction)
        checks.positive("noise_alpha", self.noise_alpha)
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range={self.value_range} must be (lowest, highest) with lowest < highest")

    def search(self, root, recurrent, legal, *, simulations, max_depth, explore, key):
        mctx = import_mctx()
        noise_key, search_key, luck_key = jr.split(key, 3)
        if explore and self.noise_fraction:
            noisy = self._noisy(root.prior_logits[0], legal, key=noise_key)
            root = root.replace(prior_logits=noisy[None])
        transform = mctx.qtransform_by_parent_and_siblings
        if self.value_range is not None:
            low, high = self.value_range
            transform = functools.partial(mctx.qtransform_by_min_max, min_value=low, max_value=high)
        tree = mctx.muzero_policy(
            None,
            search_key,
            root,
            recurrent,
            simulations,
            invalid_actions=~legal[None],
            max_depth=max_depth,
            qtransform=transform,
            dirichlet_fraction=0.0,
            pb_c_init=self.c_init,
            pb_c_base=self.c_base,
        ).search_tree
        return by_visits(tree, key=luck_key)

    def _noisy(self, logits: Array, legal: Array, *, key: PRNGKeyArray) -> Float[Array, " actions"]:
        """Logits of the prior mixed with noise. mctx's own noise would also fall on illegal actions."""
        gamma = jr.loggamma(key, self.noise_alpha, logits.shape)
        noise = jax.nn.softmax(jnp.where(legal, gamma, -jnp.inf))
        mixed = (1 - self.noise_fraction) * jax.nn.softmax(logits) + self.noise_fraction * noise
        return jnp.where(legal, jnp.log(jnp.maximum(mixed, jnp.finfo(mixed.dtype).tiny)), LOWEST)


class Gumbel(AbstractTreeRule):
    """Gumbel MuZero's: sequential halving over `considered` actions at the root, improves the policy at any budget.

    Source: Danihelka et al. 2022, through mctx. `weights` is the policy improved by completed Q-values. Exploring,
    the actions considered are drawn by Gumbel noise; without it they are the likeliest, and nothing is random but which
    of several equal actions is played. Raises ValueError for sizes below 1.
    """

    considered: int = eqx.field(static=True, default=16)

    def __check_init__(self) -> None:
        checks.whole_number("considered", self.considered)

    def search(self, root, recurrent, legal, *, simulations, max_depth, explore, key):
        search_key, luck_key = jr.split(key)
        policy = import_mctx().gumbel_muzero_policy(
            None,
            search_key,
            root,
            recurrent,
            simulations,
            invalid_actions=~legal[None],
            max_depth=max_depth,
            max_num_considered_actions=min(self.considered, legal.shape[-1]),
            gumbel_scale=float(explore),
        )
        summary = policy.search_tree.summary()
        visits, weights = summary.visit_counts[0], policy.action_weights[0]
        luck = jr.uniform(luck_key, visits.shape)
        # The weights are monotonic in mctx's own score, whose ties go to the lowest action.
        action = policy.action[0] if explore else luckiest(visits, weights, luck)
        choice = jax.nn.one_hot(action, legal.shape[-1])
        return Found(choice, weights, visits, summary.qvalues[0], summary.value[0], luck)


class UCB(AbstractTreeRule):
    """Upper confidence bounds: argmax of `Q + c sqrt(log N / n) + w P / (n + 1)`.

    Source: Kocsis & Szepesvari 2006; with `prior_weight` w above 0 the bonus that expert iteration gives to what its
    apprentice would do (Anthony et al. 2017, sec. 5.2). Actions not yet tried at a node come first, the likeliest of
    them before the others. Raises ValueError for negative constants.
    """

    exploration: float = eqx.field(static=True, default=2**0.5)
    prior_weight: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        checks.not_negative("exploration", self.exploration)
        checks.not_negative("prior_weight", self.prior_weight)

    def search(self, root, recurrent, legal, *, simulations, max_depth, explore, key):
        mctx = import_mctx()
        search_key, luck_key = jr.split(key)
        tree = mctx.search(
            None,
            search_key,
            root=root,
            recurrent_fn=recurrent,
            root_action_selection_fn=self._select,
            interior_action_selection_fn=self._select,
            num_simulations=simulations,
            max_depth=max_depth,
            invalid_actions=~legal[None],
        )
        return by_visits(tree, key=luck_key)

    def _select(self, key: PRNGKeyArray, tree: Any, node: Array, depth: Array | int = 0) -> Int[Array, ""]:
        """The action to try at a node of a tree without batch axis; ties are broken at random."""
        visits, logits = tree.children_visits[node], tree.children_prior_logits[node]
        prior = jax.nn.softmax(logits)
        bound = self.exploration * jnp.sqrt(jnp.log(jnp.maximum(tree.node_visits[node], 1)) / jnp.maximum(visits, 1))
        score = tree.qvalues(node) + bound + self.prior_weight * prior / (visits + 1)
        noise = 1e-6 * jr.uniform(key, prior.shape)
        score = jnp.where(visits > 0, score, FIRST * (1 + prior)) + noise * jnp.where(visits > 0, 1, FIRST)
        legal = logits > LOWEST
        # Behind an end nothing is legal and nothing counts: going wide there keeps the tree from growing deep.
        score = jnp.where(jnp.any(legal), jnp.where(legal, score, -jnp.inf), -1.0 * visits)
        return jnp.argmax(score).astype(jnp.int32)


FIRST = 1e12  # above every score: what an action that was never tried has


def by_visits(tree: Any, *, key: PRNGKeyArray) -> Found:
    """What a tree of mctx (batch of one) has found, where actions are played by how often they were tried."""
    summary = tree.summary()
    visits, weights = summary.visit_counts[0], summary.visit_probs[0]
    return Found(weights, weights, visits, summary.qvalues[0], summary.value[0], jr.uniform(key, visits.shape))


def luckiest(counts: Array, values: Array, luck: Array) -> Int[Array, ""]:
    """The action with the highest count, of several the one of best value, of several of those the luckiest."""
    return jnp.argmax(jnp.where(favourites(counts, values), luck, -1.0)).astype(jnp.int32)


def import_mctx() -> Any:
    """mctx, whose import is not needed by anything else. Raises UserError if it is not installed."""
    try:
        import mctx
    except ImportError as error:
        raise UserError(f'tree search needs mctx ({error}); run: pip install "forethought[search]"') from error
    return mctx
