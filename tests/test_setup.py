"""From what a user asks for to the objects of a run."""

import jax.random as jr
import numpy as np
import pytest
from tiny import CONFIGS, Walk

import forethought
from forethought.build import make_learner, make_planner
from forethought.errors import UserError
from forethought.presets.run import RunConfig
from forethought.setup import build

RUN = RunConfig(steps=40, eval_every=0, final_episodes=1, video=False)
PETS = CONFIGS["pets"]


def numpy_reward(obs, action, next_obs):
    return float(np.sum(obs))


def vector_reward(obs, action, next_obs):
    return obs


def own_learner(spec, given):
    return make_learner(spec, PETS.model, given=given, key=jr.key(0))


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
