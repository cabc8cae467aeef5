"""A model of your own, in any planning agent: linear dynamics, fitted in closed form."""

import jax.numpy as jnp

import forethought


class LinearModel(forethought.AbstractModel):
    """next_obs = [obs, action] @ matrix. The belief is the observation, with a particle axis of length 1."""

    matrix: jnp.ndarray  # [obs + action, obs]
    spec: forethought.EnvSpec
    given: forethought.Given  # reward and termination functions

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):  # belief [1, *batch, obs], action [1, *batch, action]
        next_obs = jnp.concatenate([belief, action], -1) @ self.matrix
        reward = forethought.pointwise(self.given.reward, self.spec.action)(belief, action, next_obs)
        return next_obs, forethought.Prediction(reward, jnp.ones_like(reward))  # never terminates

    def observation(self, belief):
        return forethought.DiagonalNormal(belief, jnp.zeros_like(belief))  # certain of itself


class LeastSquares(forethought.AbstractLearner):
    model: LinearModel

    def fit(self, replay, *, key):
        rows, used = replay.rows()
        x, y = (v * used[:, None] for v in (jnp.concatenate([rows.obs, rows.action], 1), rows.next_obs))
        model = LinearModel(jnp.linalg.lstsq(x, y)[0], self.model.spec, self.model.given)
        return LeastSquares(model), {"model/loss": jnp.sum((x @ model.matrix - y) ** 2)}


size = lambda spec: (spec.obs_dim + spec.action.feature_dim, spec.obs_dim)
fresh = lambda spec, given: LeastSquares(LinearModel(jnp.zeros(size(spec)), spec, given))  # before any data
print(forethought.train("mpc-ladder", "point-mass", learner=fresh, steps=300).shown.verdict)
