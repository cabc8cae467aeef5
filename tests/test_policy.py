"""A trained policy on its own, and the Python interface around it."""

import json

import equinox as eqx
import gymnasium
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import CONFIGS, Averaging, Walk, make_agent, same_bits

import forethought
from forethought.errors import EnvironmentFault, UserError
from forethought.policy import Policy
from forethought.presets.run import RunConfig

RUN = RunConfig(steps=40, eval_every=0, final_episodes=1, video=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "pets"
    return forethought.train(
        "pets", "point-mass", config=CONFIGS["pets"], run=RUN, out=out, quiet=True, argv=["forethought", "train"]
    )


OBS = np.array([0.5, -0.5, 0.0, 0.1], np.float32)


def test_train_leaves_a_complete_run(run):
    assert run.status == "finished" and run.final_return == run.metrics("eval")[-1]["mean_return"]
    record = json.loads((run.path / "run.json").read_text())
    assert record["agent"] == "pets" and record["env"] == "point-mass" and record["command"] == "forethought train"
    assert record["given"] == {"reward": "env", "termination": "env"} and record["driver"] == "jit"
    assert record["config"]["planner"]["horizon"] == 4 and record["total_steps"] == 40
    assert record["versions"]["jax"] and record["hardware"]["cores"]
    assert (run.path / "report.html").is_file() and (run.path / "figures" / "learning_curve.png").is_file()


def test_loaded_run_has_the_same_policy(run):
    again = forethought.load_run(run.path)
    assert same_bits(again.agent_state(), run.agent_state())
    np.testing.assert_array_equal(again.policy().predict(OBS), run.policy().predict(OBS))


@pytest.mark.parametrize("folder", [False, True])
def test_saved_policy_chooses_the_same_actions(run, tmp_path, folder):
    policy = run.policy()
    file = policy.save(tmp_path / "policy")
    loaded = Policy.load(file.parent if folder else file)
    for obs in (OBS, -OBS, 2 * OBS):
        np.testing.assert_array_equal(policy.predict(obs), loaded.predict(obs))


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("given", {"reward": "os:abort", "termination": "never"}, "your reward function os:abort; hand it in"),
        ("agent", "os:abort", "your own agent os:abort; hand it in"),
        ("env", "os:abort", "functions of os:abort; hand it in"),
    ],
)
def test_loading_a_policy_calls_nothing_that_its_file_names(run, tmp_path, field, value, wanted):
    policy = run.policy()
    policy.meta = policy.meta | {field: value}
    with pytest.raises(UserError, match=wanted):
        Policy.load(policy.save(tmp_path / "stranger"))


def test_finished_run_is_not_resumed(run):
    assert forethought.resume(run.path, quiet=True).outcome is None


@pytest.mark.slow
def test_fine_tuning_starts_from_the_other_runs_networks(run, tmp_path):
    options = {"config": CONFIGS["pets"], "start_from": run.path, "quiet": True}
    few = RunConfig(steps=5, eval_every=0, final_episodes=1, video=False)
    tuned = forethought.train("pets", "point-mass", run=few, out=tmp_path / "tuned", **options)
    assert same_bits(tuned.agent_state(), run.agent_state())  # five random steps change nothing yet
    assert tuned.folder.record["start_from"] == str(run.path)
    with pytest.raises(UserError, match="other spaces"):
        forethought.train("pets", "pendulum", run=few, out=tmp_path / "other", **options)


# ---- predict, on an agent that compiles quickly


@pytest.fixture
def policy():
    agent = Averaging()
    return Policy(agent, agent.init(key=jr.key(0)))


def test_memory_goes_on_until_an_episode_starts(policy):
    obs = np.array([1.0, 1.0])
    first, second = policy.predict(obs), policy.predict(obs)
    assert first.shape == (1,) and not np.array_equal(first, second)
    np.testing.assert_array_equal(policy.predict(obs, episode_start=True), first)
    np.testing.assert_array_equal(policy.predict(obs), second)
    policy.reset()
    np.testing.assert_array_equal(policy.predict(obs), first)


def test_rows_of_a_batch_have_memories_of_their_own(policy):
    obs = np.tile(np.array([1.0, 1.0]), (3, 1))
    first, second = policy.predict(obs), policy.predict(obs)
    assert first.shape == (3, 1)
    mixed = policy.predict(obs, episode_start=np.array([True, False, True]))
    np.testing.assert_array_equal(mixed[[0, 2]], first[[0, 2]])
    assert not np.array_equal(mixed[1], first[1]) and not np.array_equal(mixed[1], second[1])


def test_exploration_noise_only_if_asked_for(policy):
    obs = np.array([1.0, 1.0])
    quiet = policy.predict(obs, episode_start=True)
    noisy = policy.predict(obs, episode_start=True, deterministic=False)
    assert not np.array_equal(quiet, noisy)


@pytest.mark.parametrize("obs", [np.zeros(3), np.zeros((2, 3)), np.zeros((1, 1, 2)), 0.0])
def test_observation_of_another_shape_is_refused(policy, obs):
    with pytest.raises(UserError, match=r"obs has shape .*, wanted \(2,\) or \(n, 2\)"):
        policy.predict(obs)


def test_observation_that_is_not_finite_is_refused(policy):
    with pytest.raises(UserError, match="obs is not finite"):
        policy.predict([np.nan, 0.0])


def test_policy_of_unknown_origin_cannot_be_saved(policy, tmp_path):
    with pytest.raises(UserError, match="does not know what it was made of"):
        policy.save(tmp_path / "policy.npz")


# ---- environments and agents of the user's own


def trained(env, out, agent=None, **options):
    options = {"run": RUN, **options}
    return forethought.train(agent or make_averaging, env, out=out, quiet=True, **options)


def make_averaging(spec, given):
    return eqx.tree_at(lambda a: a.random_steps, Averaging(spec=spec), 20)


class Own(gymnasium.Env):
    """A Gymnasium environment as a user writes one."""

    observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.x, self.t = np.zeros(2, np.float32), 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.uniform(-1, 1, 2).astype(np.float32), 0
        return self.x, {}

    def step(self, action):
        self.t += 1
        self.x = np.float32(0.9 * self.x + 0.1 * action)
        return self.x, -float(abs(self.x[0])), False, self.t >= 8, {}


@pytest.mark.parametrize("env", [Own, Own(), lambda: Own()], ids=["class", "instance", "function"])
def test_environment_of_ones_own_is_trained_on(env, tmp_path):
    run = trained(env, tmp_path / "run")
    assert run.status == "finished" and run.folder.record["driver"] == "steps"
    assert [r["length"] for r in run.metrics("episode")] == [8] * 5
    assert run.folder.record["given"] == {"reward": "learned", "termination": "learned"}


@pytest.mark.slow
def test_gymnasium_id_is_trained_on(tmp_path):
    few = RunConfig(steps=24, eval_every=0, final_episodes=1, video=False)
    config = CONFIGS["random-shooting"]
    run = forethought.train("random-shooting", "Pendulum-v1", config=config, run=few, out=tmp_path / "run", quiet=True)
    assert run.status == "finished" and len(run.metrics("update")) == 1
    assert forethought.load_run(run.path).policy().predict(np.zeros(3)).shape == (1,)


class Language(Own):
    """Numbers its actions from 1, and shows a Dict."""

    observation_space = gymnasium.spaces.Dict(
        {"x": gymnasium.spaces.Box(-10, 10, (2,), np.float32), "at": gymnasium.spaces.Discrete(3, start=1)}
    )
    action_space = gymnasium.spaces.Discrete(3, start=1)

    def __init__(self, length: int = 8):
        super().__init__()
        self.length = length

    def seen(self):
        return {"x": np.float32(self.x), "at": 1 + self.t % 3}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        return self.seen(), float(action), False, self.t >= self.length, {}


class Constant(Averaging):
    """Takes the last action."""

    def act(self, state, memory, obs, *, key, explore):
        return jnp.int32(self.spec.action.n - 1), memory, None


def make_constant(spec, given):
    return eqx.tree_at(lambda a: a.random_steps, Constant(spec=spec), 20)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    out = tmp_path_factory.mktemp("spoken") / "run"
    return trained("test_policy:Language", out, make_constant, env_kwargs={"length": 5})


def test_a_policy_takes_what_the_environment_shows_and_gives_what_it_takes(spoken, tmp_path):
    loaded = Policy.load(spoken.policy().save(tmp_path / "policy"), agent=make_constant(spoken.setup.env.spec, None))
    shown = {"x": np.ones(2), "at": 3}
    for policy in (spoken.policy(), forethought.load_run(spoken.path).policy(), loaded):
        assert policy.predict(shown) == 3 and policy.predict([shown, shown]).tolist() == [3, 3]
        with pytest.raises(UserError, match=r"'at' 0 outside Discrete\(3, start=1\)"):
            policy.predict({**shown, "at": 0})


def test_constructor_arguments_are_recorded_and_used_wherever_the_run_is_loaded(spoken):
    assert spoken.folder.record["env_kwargs"] == {"length": 5}
    assert [row["length"] for row in spoken.metrics("episode")] == [5] * 8
    again = forethought.load_run(spoken.path)
    assert again.setup.env.envs[0].length == 5 and again.setup.evaluation_env.envs[0].length == 5
    assert forethought.load_run(spoken.path, env_kwargs={"length": 3}).setup.env.envs[0].length == 3


def test_what_was_made_of_the_observations_is_a_note_of_the_run(spoken):
    assert "an observation is one vector: at (3, one-hot), x (2)" in spoken.setup.notes


def test_run_that_breaks_raises_after_saving_and_says_how_to_go_on(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"step 5 of the run.*forethought\.resume"):
        trained(Walk(nan_after=4), tmp_path / "run")
    run = forethought.resume(tmp_path / "run", env=Walk(), agent=make_averaging, quiet=True)
    assert run.status == "finished"


@pytest.mark.slow
def test_several_seeds_have_policies_of_their_own(tmp_path):
    few = RunConfig(steps=25, seed=3, num_seeds=2, eval_every=0, final_episodes=1, video=False)
    run = trained(Walk(), tmp_path / "run", run=few)
    assert not same_bits(run.agent_state(seed=3), run.agent_state(seed=4))
    assert run.policy(seed=4).predict(np.zeros(2)).shape == (1,)
    with pytest.raises(UserError, match="seed=5 is not in this run; it has 3 to 4"):
        run.agent_state(seed=5)


@pytest.mark.slow
def test_ready_agent_is_trained(tmp_path):
    run = trained(Walk(), tmp_path / "run", agent=make_agent("mpc-ladder-0.5"))
    assert run.status == "finished" and run.folder.record["agent"].endswith(":PlanningAgent")
