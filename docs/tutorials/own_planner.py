"""A planner of your own, in PETS: local search that keeps a sequence and takes every better neighbour."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

import forethought
from forethought.planners import SequencePlan, rollout


class Search(eqx.Module):
    actions: jnp.ndarray  # [horizon, action]: the best sequence so far
    value: jnp.ndarray  # its imagined return


class LocalSearch(forethought.AbstractRefiningPlanner[SequencePlan, Search]):
    action: forethought.Box
    iterations: int = 3  # calls of `refine` for one action; with plan_ms, as many as time allows

    def init(self):
        middle = jnp.zeros((12, *self.action.shape))
        return SequencePlan(middle, -jnp.inf * jnp.ones(()), middle)

    def begin(self, plan):
        return Search(plan.warm, -jnp.inf * jnp.ones(()))

    def refine(self, model, belief, search, *, guide=None, key):
        noise = 0.5 * jr.normal(jr.fold_in(key, 0), (16, *search.actions.shape)).at[0].set(0.0)
        near = jnp.clip(search.actions + noise, jnp.array(self.action.low), jnp.array(self.action.high))
        returns = rollout(model, belief, near, key=jr.fold_in(key, 1))  # [16], mean over the model's particles
        return Search(near[jnp.argmax(returns)], jnp.max(returns))

    def best(self, search):
        warm = jnp.roll(search.actions, -1, axis=0).at[-1].set(0.0)  # start of the next step's search
        return search.actions[0], SequencePlan(search.actions, search.value, warm)


env = forethought.make_env("point-mass")
run = forethought.train("pets", env, planner=LocalSearch(env.spec.action), steps=300)
