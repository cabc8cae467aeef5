"""Closed-loop imagination: a policy acts in a model. The one loop for learners, diagnostics and baselines."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..types import Prediction
from .models import AbstractModel

Belief = TypeVar("Belief")


class Imagined(NamedTuple):
    """One imagined step of every branch, as a mask sees it; leaves `[particles, *starts, ...]`."""

    step: Int[Array, ""]  # 0 for the first
    belief: Any
    action: Array
    extras: PyTree
    after: Any  # the belief that the step led to
    prediction: Prediction
    alive: Float[Array, "particles *starts"]  # before the step


class Trajectory(NamedTuple):
    """Imagined steps; leaves `[time, particles, *starts, ...]`, where `time` is the horizon."""

    beliefs: Any  # `[time + 1, ...]`: before every step, and after the last
    obs: Float[Array, "time_p1 particles *starts obs"] | None  # where each particle stood; None: the model cannot say
    actions: Array
    rewards: Float[Array, "time particles *starts"]  # 0 where the branch is over
    continuation: Float[Array, "time particles *starts"]  # probability that the episode goes on after the step
    alive: Float[Array, "time particles *starts"]  # probability that it had not ended before the step; 0 once masked
    extras: PyTree  # what the policy returned beside its actions


def branches(model: AbstractModel[Belief], obs: Float[Array, "starts obs"], *, key: PRNGKeyArray) -> Belief:
    """Where branches from so many observations begin: `[particles, starts / particles, ...]`, one particle for each.

    Raises ValueError if the model's particles do not divide the starts.
    """
    belief = jax.vmap(lambda o, k: model.init(o, key=k), out_axes=1)(obs, jr.split(key, len(obs)))
    particles = jax.tree.leaves(belief)[0].shape[0]
    if len(obs) % particles:
        raise ValueError(f"{len(obs)} starts must be a multiple of the model's {particles} particles")
    own = jnp.arange(particles)
    return jax.tree.map(lambda x: x.reshape(particles, particles, -1, *x.shape[2:])[own, own], belief)


def imagine(
    model: AbstractModel[Belief],
    belief: Belief,
    policy: Callable[[Belief, PRNGKeyArray], Array | tuple[Array, PyTree]] | Array,
    horizon: int | None = None,
    *,
    limit: Int[Array, ""] | int | None = None,
    mask: Callable[[Imagined], Bool[Array, "particles *starts"]] | None = None,
    key: PRNGKeyArray,
) -> Trajectory:
    """`horizon` steps of `policy` in `model` from every start of `belief`, leaves `[particles, *starts, ...]`.

    Starts stand behind the particle axis, as the candidates of planners do, and draw their noise independently of one
    another. `policy(belief, key)` returns actions `[particles, *starts, *action]`, alone or with extras to keep; an
    array `[horizon, *starts, *action]` is a plan to follow. Where `mask(step)` is False a branch ends before that step:
    neither it nor what follows counts. Only the first `limit` steps are imagined, where one is given, and the others
    cost next to nothing: nobody is alive there. Gradients flow through everything that the caller does not stop.

    The model draws step t from `fold_in(key, t)`, as in `rollout`, and the policy from `fold_in(key, -1 - t)`, so a
    longer horizon begins as a shorter one. Raises ValueError for a function without a horizon, and for a plan of
    another length.
    """
    planned = not callable(policy)
    if planned and horizon not in (None, policy.shape[0]):
        raise ValueError(f"horizon={horizon} must be left out, or be the {policy.shape[0]} steps of the plan")
    steps = policy.shape[0] if planned else horizon
    if steps is None or steps < 1:
        raise ValueError(f"horizon={steps} must be a whole number of at least 1")

    def act(belief: Belief, x: tuple) -> tuple[Array, PyTree]:
        t, action = x
        if callable(policy):
            chosen = policy(belief, jr.fold_in(key, -1 - t))
            return chosen if isinstance(chosen, tuple) else (chosen, None)
        particles = jax.tree.leaves(belief)[0].shape[0]
        return jnp.broadcast_to(action, (particles, *action.shape)), None

    def step(carry: tuple, x: tuple) -> tuple:
        belief, going = carry
        action, extras = act(belief, x)
        after, said = model.step(belief, action, key=jr.fold_in(key, x[0]))
        alive = going
        if mask is not None:
            keep = mask(Imagined(x[0], belief, action, extras, after, said, alive))
            alive = jnp.where(keep, alive, 0.0)
        # Past an end a model may say NaN or inf, and 0 * NaN is NaN.
        reward = jnp.where(alive > 0, said.reward, 0.0)
        going = jnp.where(alive > 0, alive * said.continuation, 0.0)
        return (after, going), (belief, action, reward, said.continuation, alive, extras)

    xs = jnp.arange(steps, dtype=jnp.int32), policy if planned else None
    first = jax.tree.map(lambda x: x[0], xs)
    shape = jax.eval_shape(lambda b: model.step(b, act(b, first)[0], key=key)[1].continuation, belief)
    start = (belief, jnp.ones(shape.shape, shape.dtype))

    def step_or_rest(carry: tuple, x: tuple) -> tuple:
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(step, carry, x)[1])
        rest = lambda carry, x: (carry, (carry[0], *nothing[1:]))
        return jax.lax.cond(x[0] < limit, step, rest, carry, x)

    (last, _), kept = jax.lax.scan(step if limit is None else step_or_rest, start, xs)
    beliefs, actions, rewards, continuation, alive, extras = kept
    beliefs = jax.tree.map(lambda all, end: jnp.concatenate([all, end[None]]), beliefs, last)
    return Trajectory(beliefs, jax.vmap(model.drawn)(beliefs), actions, rewards, continuation, alive, extras)
