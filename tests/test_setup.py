"""From what a user asks for to the objects of a run."""

import dataclasses
import functools

import gymnasium
import jax.random as jr
import numpy as np
import pytest
from tiny import CONFIGS, Walk

import forethought
from forethought.errors import UserError
from forethought.learners.model_planning import ensemble_learner
from forethought.outlook import plan_lines
from forethought.planners.choice import make_planner
from forethought.presets.run import RunConfig
from forethought.refusals import NOWHERE
from forethought.setup import build

RUN = RunConfig(steps=40, eval_every=0, final_episodes=1, video=False)
PETS = CONFIGS["pets"]


def numpy_reward(obs, action, next_obs):
    return float(np.sum(obs))


def vector_reward(obs, action, next_obs):
    return obs


def scaled_reward(scale, obs, action, next_obs):
    return scale * next_obs.sum()


def own_learner(spec, given):
    return ensemble_learner(spec, PETS.model, given=given, key=jr.key(0))


def own_planner(action):
    return make_planner(action, PETS.planner)


@pytest.mark.parametrize(("reward", "what"), [(numpy_reward, "jax.numpy"), (vector_reward, "one number")])
def test_given_function_that_cannot_be_planned_with_is_refused_at_once(reward, what):
    with pytest.raises(UserError, match=rf"reward=test_setup:{reward.__name__}.*{what}"):
        build("pets", Walk, config=PETS, run=RUN, reward=reward)


def test_class_of_an_environment_is_recorded_by_the_name_it_can_be_found_by():
    setup = build("pets", Walk, config=PETS, run=RUN)
    assert (setup.env_name, setup.own) == ("tiny:Walk", [])


def test_parts_from_functions_are_made_for_the_task_and_recorded_as_own():
    setup = build("pets", Walk, config=PETS, run=RUN, learner=own_learner, planner=own_planner)
    assert setup.own == ["learner", "planner"]
    assert setup.agent.learner.model.spec == setup.env.spec


@pytest.mark.slow
def test_run_with_a_part_of_ones_own_is_loaded_only_with_that_part(tmp_path):
    path = tmp_path / "run"
    forethought.train("pets", Walk, config=PETS, run=RUN, planner=own_planner, out=path, quiet=True)
    with pytest.raises(UserError, match=r"a planner of your own.*hand it in again"):
        forethought.load_run(path)
    again = forethought.load_run(path, planner=own_planner)
    assert again.policy().predict(np.zeros(again.setup.env.spec.obs_dim)).shape == again.setup.env.spec.action.shape


def test_object_without_a_name_must_be_handed_in_again():
    assert build("pets", Walk(), config=PETS, run=RUN).own == ["env"]
    assert build("pets", Walk, config=PETS, run=RUN, reward=lambda o, a, n: n.sum()).own == ["reward"]


def test_combination_that_cannot_run_leaves_no_folder(tmp_path):
    path = tmp_path / "run"
    run = dataclasses.replace(RUN, plan_ms=5.0)
    with pytest.raises(UserError, match="no search that can be cut short"):
        forethought.train("sac", Walk, run=run, out=path, quiet=True)
    assert not path.exists()


def test_options_that_contradict_each_other_are_refused():
    with pytest.raises(UserError, match="stop_at_return needs evaluations"):
        build("pets", Walk, config=PETS, run=dataclasses.replace(RUN, stop_at_return=1.0))
    with pytest.raises(UserError, match="replay_capacity=1 must be at least num_envs=2"):
        build("pets", Walk, config=PETS, run=dataclasses.replace(RUN, replay_capacity=1, num_envs=2))


def test_given_function_without_a_name_is_recorded_as_own():
    setup = build("pets", Walk, config=PETS, run=RUN, reward=functools.partial(scaled_reward, 2.0))
    assert setup.own == ["reward"] and setup.given["reward"] == "partial"


@pytest.mark.slow
def test_gymnasium_instance_is_trained_on_itself():
    env = gymnasium.make("Pendulum-v1")
    setup = build("pets", env, config=PETS, run=RUN)
    assert setup.driver().env is setup.env and setup.evaluation_env is not setup.env


class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-5.0, 5.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}


def test_an_environment_that_may_never_end_is_said_to_and_one_with_a_limit_is_not():
    run = dataclasses.replace(RUN, steps=1100)
    (note,) = build("sac", Endless, run=run).notes
    assert note.startswith("no time limit is declared") and "gymnasium.wrappers.TimeLimit" in note
    assert build("sac", lambda: gymnasium.wrappers.TimeLimit(Endless(), 50), run=run).notes == []
    assert build("sac", lambda: Walk(limit=None), run=run).notes == [note]
    assert build("sac", lambda: Walk(limit=None, ends_above=0.5), run=run).notes == [note]  # may end, or may not


def test_a_replay_of_one_round_is_not_sized_by_the_run():
    run = dataclasses.replace(RUN, steps=100)
    assert build("ppo", "pendulum", run=run).run.replay_capacity is None  # fewer steps than its first round takes


def test_a_replay_smaller_than_a_batch_and_a_run_too_short_to_learn_are_named():
    run = dataclasses.replace(RUN, steps=1500, replay_capacity=100)
    for agent, env in (("sac", "pendulum"), ("mbpo", "pendulum"), ("dqn", "CartPole-v1")):
        with pytest.raises(UserError, match="replay_capacity=100 keeps fewer transitions than the 256 of a batch"):
            build(agent, env, run=run)
    (note,) = build("sac", "pendulum", run=dataclasses.replace(RUN, steps=400)).notes
    assert note == (
        "400 steps are too few to learn from: sac first learns after 1,000; take more steps, or fewer random ones than "
        "1,000 (random_steps)"
    )


def test_a_model_free_agent_is_said_to_have_no_model():
    setup = build("ppo", "pendulum", run=dataclasses.replace(RUN, steps=3000))
    first, second, *_ = plan_lines(setup, setup.driver().start(setup.data(NOWHERE), seed=0))
    assert "2 policy updates" in first and second.startswith("no model")
