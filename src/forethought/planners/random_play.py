"""Play at random in a model, and whose turn it is there: what searches of games are made of."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core import AbstractModel


def uniform(among: Bool[Array, " n"], key: PRNGKeyArray) -> Int[Array, ""]:
    """One of those marked, each as likely; 0 if none is."""
    counts = jnp.cumsum(among)
    return jnp.argmax(counts > jnp.floor(jr.uniform(key) * counts[-1])).astype(jnp.int32)


def favourites(counts: Array, values: Float[Array, " n"]) -> Bool[Array, " n"]:
    """Marks the choices with the highest count, and among them only those with the best value (NaN: the worst)."""
    most = counts == counts.max()
    values = jnp.where(most & ~jnp.isnan(values), values, -jnp.inf)
    best = values.max()
    # Means of the same returns differ by rounding.
    return most & (values >= best - 1e-6 * (1.0 + jnp.abs(best)))


def turn(model: AbstractModel, belief: PyTree, num_actions: int) -> tuple[Bool[Array, " actions"], Int[Array, ""]]:
    """Legal actions, and the player to move; all of them and player 0 where the model knows of no moves."""
    moves = model.moves(belief)
    if moves is None:
        return jnp.ones(num_actions, bool), jnp.zeros((), jnp.int32)
    return jnp.any(moves.legal, 0), moves.player[0].astype(jnp.int32)


def stepped(
    model: AbstractModel,
    belief: PyTree,
    player: Int[Array, ""],
    action: Int[Array, ""],
    *,
    num_actions: int,
    discount: float,
    key: PRNGKeyArray,
) -> tuple[PyTree, Float[Array, ""], Float[Array, ""], Bool[Array, " actions"], Int[Array, ""]]:
    """One step of a belief of one particle: the belief, the reward, what a return from there is worth here (discount,
    sign, 0 at an end), legal actions and the player."""
    belief, said = model.step(belief, action[None], key=key)
    legal, following = turn(model, belief, num_actions)
    continuation = said.continuation[0]
    sign = jnp.where(following == player, 1.0, -1.0)
    return belief, said.reward[0], discount * sign * continuation, legal & (continuation > 0), following


def random_play(
    model: AbstractModel,
    belief: PyTree,
    legal: Bool[Array, " actions"],
    player: Int[Array, ""],
    *,
    discount: float,
    max_steps: int,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """The return, for `player`, of one play at random from a belief of one particle to the end; 0 if nothing is legal.

    After `max_steps` nothing more is counted.
    """

    def going(at: tuple) -> Array:
        return at[1].any() & (at[-1] < max_steps)

    def on(at: tuple) -> tuple:
        belief, legal, player, total, worth, key, steps = at
        key, action_key, step_key = jr.split(key, 3)
        action = uniform(legal, action_key)
        belief, reward, link, legal, player = stepped(
            model, belief, player, action, num_actions=legal.shape[-1], discount=discount, key=step_key
        )
        return belief, legal, player, total + worth * reward, worth * link, key, steps + 1

    start = (belief, legal, player, jnp.zeros(()), jnp.ones(()), key, jnp.int32(0))
    return jax.lax.while_loop(going, on, start)[3]
