"""An agent with two rounds: it fits a model every 200 steps, and learns from imagined steps after every action."""

import jax.numpy as jnp
import jax.random as jr

import forethought
from forethought import Addition, Round, Transition, UniformReplay, branches, imagine
from forethought.models.linear_gaussian import LinearGaussian, LinearGaussianLearner


class TwoRounds(forethought.AbstractAgent):  # fitted Q-iteration: `x @ critic @ x` is the value of x = (obs, action)
    spec: forethought.EnvSpec
    given: forethought.Given  # the reward must be given

    @property
    def schedule(self):  # an inline round is part of the compiled loop that collects steps
        model = Round("model", every=200, first=200)
        policy = Round("policy", every=self.spec.action_repeat, first=200, inline=True)
        return forethought.Schedule(random_steps=200, rounds=(model, policy))

    def data(self, capacity, num_envs):  # real steps, which the driver appends, and imagined steps
        imagined = UniformReplay.empty(self.spec, 2000)
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs), "model": imagined}

    def init(self, *, key):  # the state: a learner, which holds the model, and the critic
        learner = LinearGaussianLearner(LinearGaussian.still(self.spec, self.given))
        return learner, -jnp.eye(self.spec.obs_dim + self.spec.action.feature_dim)

    def init_memory(self, state):
        return None

    def best(self, critic, obs):  # the action of the highest value
        n = self.spec.obs_dim
        return -obs @ jnp.linalg.solve(critic[n:, n:], critic[n:, :n]).T

    def act(self, state, memory, obs, *, key, explore):
        low, high = jnp.array(self.spec.action.low), jnp.array(self.spec.action.high)
        return jnp.clip(self.best(state[1], obs), low, high), None, None

    def update(self, state, data, *, round, clock, key):
        (learner, critic), (fit_key, draw_key, start_key, key) = state, jr.split(key, 4)
        if round == "policy":
            rows, value = data["model"].sample(256, key=draw_key), lambda x: jnp.einsum("ni,ij,nj->n", x, critic, x)
            x = jnp.concatenate([rows.obs, rows.action], 1)
            after = jnp.concatenate([rows.next_obs, self.best(critic, rows.next_obs)], 1)
            error = rows.reward + 0.95 * value(after) - value(x)
            change = jnp.linalg.lstsq((x[:, :, None] * x[:, None]).reshape(256, -1), error)[0]
            return (learner, critic + 0.5 * change.reshape(critic.shape)), {}, {"critic/error": jnp.abs(error).mean()}
        learner, metrics = learner.fit(data["env"], key=fit_key)
        starts = branches(learner.model, data["env"].sample(200, key=draw_key).obs, key=start_key)
        policy = lambda belief, key: self.best(critic, belief.obs) + jr.normal(key, (1, 200, *self.spec.action.shape))
        seen = imagine(learner.model, starts, policy, horizon=5, key=key)  # leaves [time, particles, starts, ...]
        no, flat = jnp.zeros(seen.rewards.shape, bool), lambda x: x.reshape(-1, *x.shape[3:])
        rows = map(flat, (seen.obs[:-1], seen.actions, seen.rewards, seen.obs[1:], no, no))
        return (learner, critic), {"model": Addition(Transition(*rows))}, metrics


if __name__ == "__main__":
    run = forethought.train(TwoRounds, "point-mass", steps=1000)
