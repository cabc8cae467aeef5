"""Environments by name, class, function and instance."""

import subprocess
import sys

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from toy_envs import Counter

from forethought.core import AbstractEnv, AbstractHostEnv
from forethought.envs import gymnax
from forethought.envs.host import GymnasiumEnv, GymnasiumVectorEnv, HostedJaxEnv
from forethought.envs.make import OWN, list_envs, make
from forethought.envs.pendulum import Pendulum
from forethought.errors import UserError

KEY = jr.key(0)


def one_step(host):
    host.start([KEY] * host.num_envs)
    actions = np.asarray(host.spec.action.sample((host.num_envs,), key=KEY))
    return host.step(actions, step_key=KEY, reset_key=lambda i: KEY)


@pytest.mark.parametrize("name", sorted(OWN))
def test_own_tasks_carry_the_id_they_are_made_by(name):
    assert make(name).spec.name == name and isinstance(make(name), AbstractEnv)


@pytest.mark.parametrize(
    ("env", "kind", "name"),
    [
        ("pendulum", HostedJaxEnv, "pendulum"),
        ("Pendulum-v1", GymnasiumEnv, "Pendulum-v1"),
        ("dm_control/cartpole-swingup-v0", GymnasiumEnv, "dm_control/cartpole-swingup-v0"),
        ("gymnax/Pendulum-v1", HostedJaxEnv, "gymnax/Pendulum-v1"),
        ("toy_envs:Counter", GymnasiumEnv, "toy_envs:Counter"),
        ("forethought.envs.pendulum:Pendulum", HostedJaxEnv, "pendulum"),
        (Counter, GymnasiumEnv, "Counter"),
        (Counter(), GymnasiumEnv, "Counter"),
        (lambda: Counter(ends=1), GymnasiumEnv, "Counter"),
        (Pendulum, HostedJaxEnv, "pendulum"),
        (Pendulum(), HostedJaxEnv, "pendulum"),
    ],
)
def test_everything_that_names_or_is_an_environment_is_stepped_from_python(env, kind, name):
    host = make(env, num_envs=2, action_repeat=2, host=True)
    out = one_step(host)
    assert isinstance(host, kind) and host.spec.name == name and host.spec.action_repeat == 2
    assert out.next_obs.shape == (2, host.spec.obs_dim) and out.next_obs.dtype == np.float32
    copied = one_step(host.copy(1))
    np.testing.assert_allclose(copied.next_obs[0, 1:], out.next_obs[0, 1:], atol=1e-5)
    host.close()


def test_vector_environments_and_host_environments_are_taken_as_they_are():
    host = make(SyncVectorEnv([Counter, Counter]))
    assert isinstance(host, GymnasiumVectorEnv) and host.num_envs == 2
    assert make(host) is host
    assert make(lambda: SyncVectorEnv([Counter])).copy().num_envs == 1
    with pytest.raises(UserError, match="action_repeat=2"):
        make(host, action_repeat=2)
    with pytest.raises(UserError, match="num_envs=3"):
        make(host, num_envs=3)


def test_a_module_in_the_working_directory_is_found_as_with_python_m(tmp_path, monkeypatch):
    (tmp_path / "my_garage.py").write_text("from toy_envs import Counter\nclass Car(Counter):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert make("my_garage:Car").spec.name == "my_garage:Car"
    with pytest.raises(UserError, match="did you mean Car"):
        make("my_garage:Cat")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("pets-cartpol", "did you mean pets-cartpole"),
        ("Pendulun-v1", "did you mean Pendulum-v1"),
        ("dm_control/cartpole-swingpu-v0", "did you mean dm_control/cartpole-swingup-v0"),
        ("gymnax/Pendulum-v9", "did you mean gymnax/Pendulum-v1"),
        ("cheetah-run-v0", "did you mean dm_control/cheetah-run-v0"),
        ("xyzzy", "known: pets-cartpole"),
        ("no_such_module:Env", "no module 'no_such_module'"),
        ("gymnax/Pong-misc", "are not supported"),
        ("toy_envs:np", "gives module"),
        (42, "gives int"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_made_is_one_line_with_a_remedy(env, words):
    with pytest.raises(UserError, match=words) as caught:
        make(env)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"num_envs": 0}, {"action_repeat": 0}])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(UserError, match="must be at least 1"):
        make("pendulum", **wrong)


@pytest.mark.parametrize(
    ("env", "package", "extra"),
    [("dm_control/cartpole-swingup-v0", "dm_control", "envs"), ("gymnax/Acrobot-v1", "gymnax", "jaxenvs")],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(env, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'pip install "forethought\[{extra}\]"'):
        make(env)


def test_heavy_packages_are_not_imported_before_they_are_needed():
    code = (
        "import sys, forethought.envs.make as m; m.make('pendulum'); m.make('toy_envs:Counter');"
        "print([p for p in ('mujoco', 'dm_control', 'gymnax', 'pygame') if p in sys.modules])"
    )
    path = {"PYTHONPATH": ":".join(sys.path), "PATH": "", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, check=True)
    assert out.stdout.strip() == "[]"


def test_ids_of_gymnax_in_its_source_are_those_it_knows():
    pytest.importorskip("gymnax")
    assert gymnax.names_on_paper() == gymnax.task_ids()


def test_list_envs_names_families_and_every_own_id_can_be_made():
    families = list_envs()
    assert families["forethought"][: len(OWN)] == list(OWN)
    assert "Pendulum-v1" in families["gymnasium"]
    assert "dm_control/cartpole-swingup-v0" in families["dm_control"]
    assert "gymnax/Pendulum-v1" in families["gymnax"]


@pytest.fixture(scope="module")
def gymnax_cartpole():
    return make("gymnax/CartPole-v1")


def test_gymnax_keeps_termination_and_truncation_apart_and_hands_out_the_true_successor(gymnax_cartpole):
    env = gymnax_cartpole
    step = jax.jit(lambda s, a: env.step(s, a, key=KEY))
    state, _ = env.reset(key=KEY)
    for _ in range(30):
        state, obs, _, terminated, truncated = step(state, jnp.array(1))
        if terminated:
            break
    assert terminated and not truncated and abs(obs[2]) > 0.2
    late = type(state)(**{**vars(env.reset(key=KEY)[0]), "time": jnp.array(499)})
    *_, terminated, truncated = step(late, jnp.array(1))
    assert truncated and not terminated
    assert env.reset(key=KEY, start=late)[0].time == 0


def test_dm_control_truncates_at_its_limit_and_repeats_with_the_same_seed():
    env = make("dm_control/pendulum-swingup-v0")
    assert isinstance(env, AbstractHostEnv) and env.spec.max_episode_steps == 1000
    first, second = env.start([KEY]), env.start([KEY])
    np.testing.assert_array_equal(first, second)
    for _ in range(1000):
        out = env.step(np.zeros((1, 1)), step_key=KEY, reset_key=lambda i: jr.key(1))
    assert out.truncated[0] and not out.terminated[0]
    assert not np.array_equal(out.obs, out.next_obs)


def test_gymnasium_ids_are_made_with_frames_where_they_offer_them():
    assert make("Pendulum-v1").envs[0].render_mode == "rgb_array"
    assert gymnasium.spec("Pendulum-v1").max_episode_steps == make("Pendulum-v1").spec.max_episode_steps
