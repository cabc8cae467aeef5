"""A model of your own, in any planning agent: linear dynamics, fitted in closed form."""

import jax.numpy as jnp

import forethought
from forethought.models.distributions import DiagonalNormal
from forethought.types import pointwise


class LinearModel(forethought.AbstractModel):
    """next_obs = [obs, action] @ matrix. The belief is the observation, with a particle axis of length 1."""

    matrix: jnp.ndarray  # [obs + action, obs]
    env: forethought.AbstractEnv

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):  # belief [1, *batch, obs], action [1, *batch, action]
        next_obs = jnp.concatenate([belief, action], -1) @ self.matrix
        reward = pointwise(self.env.reward_function, self.env.spec.action)(belief, action, next_obs)
        return next_obs, forethought.Prediction(reward, jnp.ones_like(reward))  # continuation 1: never terminates

    def observation(self, belief):
        return DiagonalNormal(belief, jnp.zeros_like(belief))  # certain of itself


class LeastSquares(forethought.AbstractLearner):
    model: LinearModel

    def fit(self, replay, *, key):
        rows, used = replay.rows()
        x, y = (v * used[:, None] for v in (jnp.concatenate([rows.obs, rows.action], 1), rows.next_obs))
        matrix = jnp.linalg.lstsq(x, y)[0]
        return LeastSquares(LinearModel(matrix, self.model.env)), {"model/loss": jnp.sum((x @ matrix - y) ** 2)}


learner = LeastSquares(LinearModel(jnp.zeros((6, 4)), forethought.make_env("point-mass")))
print(forethought.train("mpc-ladder", "point-mass", learner=learner, steps=300).shown.verdict)
