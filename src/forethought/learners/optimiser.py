"""The optimiser of Dreamer v3: adaptive gradient clipping, then LaProp."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


class LaPropState(NamedTuple):
    """Average of the squared gradient, momentum of the scaled one, and the steps taken."""

    square: Any
    momentum: Any
    count: Int[Array, ""]


def laprop(
    learning_rate: float, *, warmup: int = 1000, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-20
) -> optax.GradientTransformation:
    """RMS scaling first, momentum of the scaled gradient after it (Ziyin et al. 2020); both are bias-corrected.

    The step size rises linearly from 0 at the first step to `learning_rate` after `warmup` steps.
    """

    def init(params: Any) -> LaPropState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return LaPropState(zeros, zeros, jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, LaPropState]:
        count = state.count + 1
        fix1, fix2 = 1 - b1**count, 1 - b2**count
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.square, updates)
        scaled = jax.tree.map(lambda g, v: g / (jnp.sqrt(v / fix2) + eps), updates, square)
        momentum = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.momentum, scaled)
        rate = learning_rate * jnp.minimum(state.count / warmup if warmup else 1.0, 1.0)
        return jax.tree.map(lambda m: -rate * m / fix1, momentum), LaPropState(square, momentum, count)

    return optax.GradientTransformation(init, update)


def clip_adaptively(ratio: float = 0.3, floor: float = 1e-3) -> optax.GradientTransformation:
    """Each tensor's gradient is scaled down to a norm of at most `ratio` times that of its weights, these taken as at
    least `floor` (adaptive gradient clipping of Brock et al. 2021, per tensor as in Dreamer v3, not per unit).
    """

    def init(params: Any) -> optax.EmptyState:
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, optax.EmptyState]:
        def clip(grad: Array, weight: Array) -> Array:
            most = ratio * jnp.maximum(jnp.linalg.norm(weight), floor)
            return grad / jnp.maximum(1.0, jnp.linalg.norm(grad) / most)

        return jax.tree.map(clip, updates, params), state

    return optax.GradientTransformation(init, update)


def dreamer_optimiser(learning_rate: float, *, warmup: int, clip: float) -> optax.GradientTransformation:
    """`clip_adaptively`, then `laprop`."""
    return optax.chain(clip_adaptively(clip), laprop(learning_rate, warmup=warmup))


def by_part(**optimisers: optax.GradientTransformation) -> optax.GradientTransformation:
    """One optimiser for each named field of a module; its state is a dictionary of theirs."""

    def init(params: Any) -> dict[str, Any]:
        return {name: optimiser.init(getattr(params, name)) for name, optimiser in optimisers.items()}

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, dict[str, Any]]:
        done = {
            name: optimiser.update(getattr(updates, name), state[name], getattr(params, name))
            for name, optimiser in optimisers.items()
        }
        steps = dataclasses.replace(updates, **{name: step for name, (step, _) in done.items()})
        return steps, {name: new for name, (_, new) in done.items()}

    return optax.GradientTransformation(init, update)


def clipped_adamw(learning_rate: float, *, clip: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam after clipping the whole gradient's norm; the weights also lose `weight_decay` times the step size of
    themselves (Loshchilov & Hutter 2019)."""
    return optax.chain(optax.clip_by_global_norm(clip), optax.adamw(learning_rate, weight_decay=weight_decay))


def clipped_adam(
    learning_rate: float, *, clip: float, eps: float, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Adam after clipping the whole gradient's norm, as in PlaNet and the first two Dreamers.

    Every step also shrinks the weights by `weight_decay` of themselves, whatever the step size.
    """
    parts = [optax.clip_by_global_norm(clip), optax.adam(learning_rate, eps=eps)]
    return optax.chain(*parts, *([optax.add_decayed_weights(-weight_decay)] if weight_decay else []))
