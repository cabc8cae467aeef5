"""Planning in a model as a smooth optimal-control problem: what iLQR and LQR solve."""

from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..core import AbstractModel
from ..types import Box
from . import checks
from .ilqr import Problem
from .sequences import bounds


def problem_of(
    model: AbstractModel,
    belief: PyTree,
    action: Box,
    *,
    horizon: int,
    discount: float = 1.0,
    final_weight: float = 1.0,
    angle_dims: tuple[int, ...] = (),
    key: PRNGKeyArray,
) -> tuple[Problem, PyTree]:
    """The problem whose cost is minus the imagined return from `belief`, and the state to start it from.

    The model is followed without chance where it offers that (`certain`); else its particles are imagined side by
    side, with the noise of step t from `fold_in(key, t)`, and the reward is their mean. The state is what is continuous
    in the belief *and* changes what comes later: what a model merely notes there is left out. A reward counts with the
    discount and the probability that the episode was still going on, as in `rollout`; derivatives take that
    probability as it is. The last reward counts `final_weight` times. `angle_dims` are entries of the state whose
    differences go the short way round. Raises ValueError for a horizon below 1, a discount outside [0, 1], a final
    weight that is not positive, and angles that the state does not have.
    """
    checks.whole_number("horizon", horizon)
    checks.fraction("discount", discount)
    checks.positive("final_weight", final_weight)
    certain = model.certain()
    if certain is not None:
        model, belief = certain, jax.tree.map(_mean_particle, belief)
    leaves, structure = jax.tree.flatten(belief)
    particles = leaves[0].shape[0]
    spread = lambda u: jnp.broadcast_to(u.astype(jnp.result_type(*_continuous(leaves))), (particles, *u.shape))

    def step(state: tuple[PyTree, Array], u: Array, t: Array) -> tuple[tuple[PyTree, Array], Array]:
        belief, going = state
        after, said = model.step(belief, spread(u), key=jr.fold_in(key, t))
        # Past an end a model may say NaN or inf, and 0 * NaN is NaN.
        reward = jnp.mean(jnp.where(going > 0, going * said.reward, 0.0))
        reward = jnp.where(t == horizon - 1, final_weight * reward, reward)
        return (after, going * discount * jax.lax.stop_gradient(said.continuation)), -reward

    def one(leaves: list[Array], u: Array) -> tuple[list[Array], tuple[Array, Array]]:
        after, said = model.step(jax.tree.unflatten(structure, leaves), spread(u), key=key)
        return jax.tree.leaves(after), (said.reward, said.continuation)

    state = belief, jnp.ones(particles, jnp.result_type(*_continuous(leaves)))
    matters = _needed(one, leaves, jnp.zeros(action.shape))
    chosen = [i for i, leaf in enumerate(leaves) if matters[i] and jnp.issubdtype(leaf.dtype, jnp.inexact)]

    def pack(state: tuple[PyTree, Array]) -> Array:
        leaves = jax.tree.leaves(state[0])
        return jnp.concatenate([leaves[i].ravel() for i in chosen])

    def unpack(x: Array, state: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
        new, at = jax.tree.leaves(state[0]), 0
        for i in chosen:
            new[i], at = x[at : at + new[i].size].reshape(new[i].shape), at + new[i].size
        return jax.tree.unflatten(structure, new), state[1]

    size = sum(leaves[i].size for i in chosen)
    if any(not 0 <= dim < size for dim in angle_dims):
        raise ValueError(f"angle_dims={angle_dims} must lie in 0..{size - 1}, the entries of the model's state")
    low, high = bounds(action)
    difference = lambda a, b: _wrapped(a - b, angle_dims)
    return Problem(step, lambda state: jnp.zeros(()), low, high, pack, unpack, difference), state


def _mean_particle(leaf: Array) -> Array:
    """`[1, ...]`: the mean of the particles, or the first where there is no mean."""
    return jnp.mean(leaf, 0, keepdims=True) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf[:1]


def _continuous(leaves: list[Array]) -> list[Array]:
    found = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    if not found:
        raise ValueError(
            "iLQR and LQR need a model whose belief holds continuous numbers; this one is discrete: use cem, icem, "
            "mppi or tree"
        )
    return found


def _wrapped(delta: Array, dims: tuple[int, ...]) -> Array:
    if not dims:
        return delta
    index = jnp.array(dims)
    return delta.at[index].set((delta[index] + jnp.pi) % (2 * jnp.pi) - jnp.pi)


def _needed(step: Any, leaves: list[Array], u: Array) -> list[bool]:
    """Which leaves of a belief what `step` says depends on, now or at a later step."""
    closed = jax.make_jaxpr(step)(leaves, u)
    count = len(leaves)
    needed = [False] * count
    while True:
        found = _inputs_of(closed.jaxpr, [*needed, True, True])[:count]
        found = [a or b for a, b in zip(needed, found)]
        if found == needed:
            return needed
        needed = found


def _inputs_of(jaxpr: Any, wanted: list[bool]) -> list[bool]:
    """Which inputs of a traced function its `wanted` outputs depend on; too many rather than too few."""
    is_variable = lambda v: not isinstance(v, jax.extend.core.Literal)
    live = {v for v, want in zip(jaxpr.outvars, wanted) if want and is_variable(v)}
    for eqn in reversed(jaxpr.eqns):
        outs = [v in live for v in eqn.outvars]
        if not any(outs):
            continue
        inner = eqn.params.get("jaxpr") if eqn.primitive.name in ("jit", "pjit") else None
        used = [True] * len(eqn.invars) if inner is None else _inputs_of(inner.jaxpr, outs)
        live |= {v for v, use in zip(eqn.invars, used) if use and is_variable(v)}
    return [v in live for v in jaxpr.invars]
