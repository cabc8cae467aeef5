"""An agent of your own: least squares for the dynamics, the Riccati equation for the controller."""

import jax
import jax.numpy as jnp

import forethought


class LQRAgent(forethought.AbstractAgent):  # acts by `gain @ obs`, the best for the cost |obs|^2 + 0.1 |action|^2
    spec: forethought.EnvSpec
    given: forethought.Given  # reward and termination functions, where they are given; not needed here

    @property
    def schedule(self):  # 100 uniform actions, then an update, and another one every 100 environment steps
        return forethought.Schedule(random_steps=100, rounds=(forethought.Round("model", every=100, first=100),))

    def data(self, capacity, num_envs):  # where the steps that the driver takes are stored
        return {"env": forethought.UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key):
        return jnp.zeros((*self.spec.action.shape, self.spec.obs_dim))  # the state: all that learning changes

    def init_memory(self, state):
        return None  # what an episode changes: nothing here

    def act(self, state, memory, obs, *, key, explore):
        return jnp.clip(state @ obs, jnp.array(self.spec.action.low), jnp.array(self.spec.action.high)), memory, None

    def update(self, state, data, *, round, clock, key):
        rows, used = data["env"].rows()
        x, y = jnp.concatenate([rows.obs, rows.action], 1) * used[:, None], rows.next_obs * used[:, None]
        a, b = jnp.split(jnp.linalg.lstsq(x, y)[0].T, [self.spec.obs_dim], 1)  # next_obs = a @ obs + b @ action
        gain = lambda p: -jnp.linalg.solve(0.1 * jnp.eye(len(state)) + b.T @ p @ b, b.T @ p @ a)
        p = jax.lax.fori_loop(0, 200, lambda i, p: jnp.eye(len(a)) + a.T @ p @ (a + b @ gain(p)), jnp.eye(len(a)))
        return gain(p), {}, {"model/loss": jnp.sum((x @ jnp.hstack([a, b]).T - y) ** 2) / used.sum()}


if __name__ == "__main__":  # so that `forethought train own_agent:LQRAgent point-mass` can import this file too
    run = forethought.train(LQRAgent, "point-mass", steps=500)
