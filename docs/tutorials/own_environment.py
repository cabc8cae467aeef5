"""Train PETS in a Gymnasium environment of your own; it need not be registered."""

import gymnasium
import numpy as np

import forethought


class Hover(gymnasium.Env):
    """A craft above the ground; its thrust is to hold it at height 0. Observation: height and velocity."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)  # seeds self.np_random, from which all randomness must come
        self.craft, self.steps = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32), 0
        return self.craft, {}

    def step(self, action):
        height, velocity = self.craft
        self.craft = np.array([height + 0.2 * velocity, velocity + 0.6 * action[0] - 0.2], np.float32)
        self.steps += 1
        reward = -(self.craft[0] ** 2) - 0.1 * self.craft[1] ** 2
        return self.craft, reward, False, self.steps == 25, {}  # time ran out: truncated, not terminated


if __name__ == "__main__":  # so that `forethought train pets own_environment:Hover` can import this file too
    options = forethought.RunConfig(steps=300, eval_every=0, final_episodes=3)
    run = forethought.train("pets", Hover, run=options)  # learns the reward; where you know it, `reward=fn` is better
    print(f"return {run.final_return:.1f}, report {run.report()}")
    policy = run.policy()
    obs, _ = Hover().reset(seed=0)
    print("action", policy.predict(obs))
