"""Logged data: what is read, what is derived, and what is refused."""

import io
import sys
import tracemalloc
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from forethought.errors import UserError
from forethought.replay import dataset
from forethought.replay.dataset import load_dataset, save_dataset
from forethought.types import Box, Discrete, Transition


def arrays(steps=6, **changes):
    """A flat log of two episodes of three steps: the first is truncated, the second terminates."""
    obs = np.arange(steps * 2, dtype=np.float64).reshape(steps, 2)
    flat = {
        "obs": obs,
        "action": np.linspace(-1, 2, steps, dtype=np.float32)[:, None],
        "reward": np.arange(steps, dtype=np.float64),
        "next_obs": obs + 2,
        "terminated": np.arange(steps) == steps - 1,
        "truncated": np.arange(steps) == 2,
    }
    return {name: value for name, value in {**flat, **changes}.items() if value is not None}


@pytest.fixture
def store(tmp_path):
    def write(data, **options):
        np.savez(tmp_path / "log.npz", **data, **options)
        return tmp_path / "log.npz"

    return write


def refused(path) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_flat_log_is_read_with_the_types_that_training_wants(store):
    dataset = load_dataset(store(arrays()))
    data = dataset.transitions
    np.testing.assert_array_equal(data.next_obs, data.obs + 2)
    assert [x.dtype for x in (data.obs, data.action, data.reward)] == [np.float32] * 3
    assert data.terminated.dtype == data.truncated.dtype == bool
    assert data.truncated.tolist() == [False, False, True, False, False, False]
    assert dataset.num_episodes == 2 and dataset.notes == []
    assert dataset.spec.obs_dim == 2 and dataset.spec.action == Box((-1.0,), (2.0,))


@pytest.mark.parametrize(
    "names",
    [
        ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts"),  # D4RL
        ("observations", "actions", "rewards", "next_observations", "terminations", "truncations"),  # Minari
    ],
)
def test_the_names_of_other_libraries_are_known(store, names):
    flat = arrays()
    renamed = store(dict(zip(names, flat.values())))
    for got, wanted in zip(load_dataset(renamed).transitions.__dict__.values(), flat.values()):
        np.testing.assert_array_equal(got, wanted.astype(got.dtype))


def test_integer_actions_are_discrete(store):
    dataset = load_dataset(store(arrays(action=np.array([0, 2, 1, 0, 1, 0]))))
    assert dataset.spec.action == Discrete(3)
    assert dataset.transitions.action.dtype == np.int32


def test_a_constant_action_still_has_bounds_of_some_width(store):
    assert load_dataset(store(arrays(action=np.zeros((6, 1))))).spec.action == Box((-1.0,), (1.0,))


def test_successors_are_derived_inside_episodes_and_never_across_their_ends(store):
    dataset = load_dataset(store(arrays(next_obs=None)))
    data = dataset.transitions
    np.testing.assert_array_equal(data.reward, [0, 1, 3, 4])  # steps 2 and 5 have no successor
    np.testing.assert_array_equal(data.next_obs, data.obs + 2)
    (note,) = dataset.notes
    assert "left out 2 last steps of episodes, 1 of them terminated" in note
    assert "nothing can be learned about termination" in note


def test_a_log_that_stops_in_mid_episode_loses_its_last_step_only(store):
    no = np.zeros(6, bool)
    dataset = load_dataset(store(arrays(next_obs=None, terminated=no, truncated=no)))
    np.testing.assert_array_equal(dataset.transitions.reward, [0, 1, 2, 3, 4])
    assert dataset.num_episodes == 1
    assert dataset.notes[0].endswith("left out 1 last steps of episodes, 0 of them terminated")


def by_episode(steps_of_obs=3):
    obs = np.arange(2 * steps_of_obs * 2, dtype=float).reshape(2, steps_of_obs, 2)
    last = np.array([[False, False, True]] * 2)
    return {
        "obs": obs,
        "action": np.arange(6.0).reshape(2, 3, 1),
        "reward": np.arange(6.0).reshape(2, 3),
        "terminated": last & [[False], [True]],
        "truncated": last & [[True], [False]],
    }


def test_one_episode_a_row_is_flattened_in_order(store):
    dataset = load_dataset(store({**by_episode(), "next_obs": by_episode()["obs"] + 1}))
    np.testing.assert_array_equal(dataset.transitions.reward, np.arange(6))
    assert dataset.num_episodes == 2 and dataset.notes == []


def test_successors_do_not_cross_rows(store):
    data = load_dataset(store(by_episode())).transitions
    np.testing.assert_array_equal(data.reward, [0, 1, 3, 4])
    np.testing.assert_array_equal(data.next_obs, data.obs + 2)


def test_a_final_observation_saves_the_last_step(store):
    dataset = load_dataset(store(by_episode(steps_of_obs=4)))
    data = dataset.transitions
    np.testing.assert_array_equal(data.reward, np.arange(6))
    np.testing.assert_array_equal(data.next_obs, data.obs + 2)
    np.testing.assert_array_equal(data.obs[3], [8, 9])
    assert dataset.notes == [] and data.terminated.sum() == 1


def test_padding_behind_an_episode_is_refused(store):
    padded = by_episode()
    padded["terminated"] = np.array([[False, False, True], [False, True, False]])
    assert "episode 1 ends at step 1 of 3" in refused(store(padded))


def test_saved_transitions_come_back(tmp_path):
    flat = {name: jnp.asarray(value) for name, value in arrays().items()}
    save_dataset(tmp_path / "a.npz", Transition(**flat))
    loaded = load_dataset(tmp_path / "a.npz").transitions
    for name, value in flat.items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    with pytest.raises(ValueError, match=r"reward has shape \(1, 6\); a dataset is saved flat"):
        save_dataset(tmp_path / "b.npz", Transition(**{k: v[None] for k, v in flat.items()}))


def test_other_keys_are_ignored_and_named(store):
    assert load_dataset(store(arrays(goal=np.ones(6), info=np.ones(6)))).notes[0].endswith("log.npz: goal, info")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": None}, "lacks reward or rewards; it has: obs, action, next_obs, terminated, truncated"),
        ({"truncated": None}, "lacks truncated or timeouts or truncations; it has:"),
        ({"obs": None, "action": None}, "lacks obs or observation or observations; action or actions"),
        ({"observations": np.ones((6, 2))}, "has both obs and observations, which mean the same"),
        ({"terminated": None, "done": np.ones(6)}, "has 'done', which merges terminated (task ended) and trunc"),
        ({"reward": np.ones(5)}, "obs (float64) has shape [6, 2], wanted [5, obs], as reward is [5]; lengths"),
        ({"reward": np.ones((6, 1))}, "obs has shape [6, 2] and reward [6, 1]; wanted [steps, obs] and [steps]"),
        ({"obs": np.ones(6)}, "obs has shape [6] and reward [6]; wanted [steps, obs]"),
        ({"next_obs": np.ones((6, 3))}, "next_obs has shape [6, 3], wanted [6, 2] like obs"),
        ({"truncated": np.zeros(7)}, "truncated (float64) has shape [7], wanted [6], as reward is [6]"),
        ({"action": np.ones(6)}, "action (float64) has shape [6], wanted [6, action]"),
        ({"action": np.ones((6, 1), int)}, "wanted [6], as reward is [6]; discrete actions are integers"),
        ({"action": np.array([0, 1, -1, 0, 0, 0])}, "action: discrete actions count from 0; got -1"),
        ({"obs": np.full((6, 2), "a")}, "obs has dtype <U1, wanted numbers"),
        ({"reward": np.ones(6, complex)}, "reward has dtype complex128, wanted numbers"),
        ({"terminated": np.array([0, 0, 0.5, 0, 0, 1])}, "terminated must be True or False in every step"),
        ({"reward": np.array([0, 1, np.nan, 3, np.inf, 5])}, "reward has 2 values that are not finite"),
        ({"reward": np.array([0, 1, 2, 1e300, 4, 5])}, "the first at index [3]: 1e+300"),
        ({"obs": np.array([[0, 1], [np.inf, 3]] * 3)}, "the first at index [1, 0]: inf"),
        ({"obs": np.array([[{}, 1]] * 6)}, "obs is an array of Python objects, which is not read"),
    ],
)
def test_bad_data_is_refused_with_what_was_got_and_wanted(store, changes, message):
    assert message in refused(store(arrays(**changes)))


def test_empty_data_is_refused(store):
    assert "is empty: obs has shape [0, 2]" in refused(store(arrays(steps=0)))
    assert "no step has a successor" in refused(store({k: v[:1] for k, v in arrays(next_obs=None).items()}))
    assert "it has: nothing" in refused(store({}))


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "log.npz"
    assert "there is no dataset at" in refused(path)
    path.write_bytes(b"not a zip")
    assert "cannot be read as .npz" in refused(path)
    path.write_bytes(b"")
    assert "cannot be read as .npz" in refused(path)
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    assert "is one bare array" in refused(path)


def test_a_compressed_npz_is_read_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / "log.npz"
    np.savez_compressed(path, **arrays(steps=60))
    assert load_dataset(path).transitions.reward.shape == (60,)
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)
    assert "cannot be read as .npz" in refused(path)


def test_a_truncated_or_altered_npz_is_refused(store):
    path = store(arrays())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "cannot be read as .npz" in refused(path)
    path.write_bytes(data.replace(np.float64(5).tobytes(), np.float64(6).tobytes()))
    assert "cannot be read as .npz" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("obs.npy", b"")
        for name in ("action", "reward", "terminated", "truncated"):
            file.writestr(f"{name}.npy", b"\x93NUMPY")
    refused(path)


# --- Minari


@pytest.fixture
def minari_log(tmp_path, monkeypatch):
    """Writes a Minari dataset of two episodes (3 steps truncated, 2 steps terminated) and returns its name."""
    import gymnasium
    import minari
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    box = gymnasium.spaces.Box(-10, 10, (2,), np.float32)

    reach = gymnasium.spaces.Box(-2, 2, (1,), np.float32)

    def write(observe=lambda obs: obs, space=box, act=lambda actions: actions, action_space=reach):
        buffers = []
        for episode, steps in enumerate((3, 2)):
            obs = np.arange(2 * (steps + 1), dtype=np.float32).reshape(-1, 2)
            buffers.append(
                EpisodeBuffer(
                    id=episode,
                    observations=observe(obs),
                    actions=act(np.full((steps, 1), 0.5, np.float32)),
                    rewards=[1.0] * steps,
                    terminations=[False] * (steps - 1) + [episode == 1],
                    truncations=[False] * (steps - 1) + [episode == 0],
                )
            )
        minari.create_dataset_from_buffers(
            "toy/log-v0",
            buffers,
            action_space=action_space,
            observation_space=space,
        )
        return "minari:toy/log-v0"

    return write


@pytest.mark.filterwarnings("ignore")
def test_a_minari_dataset_keeps_every_step_and_its_action_bounds(minari_log, tmp_path):
    name = minari_log()
    for source in (name, tmp_path / "toy" / "log-v0"):
        dataset = load_dataset(source)
        data = dataset.transitions
        np.testing.assert_array_equal(data.next_obs, data.obs + 2)
        assert data.reward.shape == (5,) and dataset.num_episodes == 2
        assert data.terminated.tolist() == [False] * 4 + [True]
        assert data.truncated.tolist() == [False, False, True, False, False]
        assert dataset.spec.action == Box((-2.0,), (2.0,))


@pytest.mark.filterwarnings("ignore")
def test_parts_of_minari_observations_become_one_vector_as_in_environments(minari_log):
    box, place = spaces.Box(-10, 10, (2,), np.float32), spaces.Discrete(9, start=1)
    parts = spaces.Dict({"position": box, "at": place, "say": spaces.Text(9)})
    observe = lambda obs: {"position": obs, "at": obs[:, 0].astype(int) + 1, "say": ["go"] * len(obs)}
    dataset = load_dataset(minari_log(observe, parts))
    data = dataset.transitions
    np.testing.assert_array_equal(data.obs[:, :9].argmax(1), [0, 2, 4, 0, 2])
    np.testing.assert_array_equal(data.next_obs[:, 9:], data.obs[:, 9:] + 2)
    assert dataset.notes == [
        "minari:toy/log-v0: an observation is one vector, Discretes one-hot: at (9), position (2); left out: say"
    ]


@pytest.mark.filterwarnings("ignore")
def test_numbered_states_and_counted_actions_of_minari_begin_at_zero(minari_log):
    observe, act = lambda obs: 3 + (obs[:, 0] / 2).astype(int), lambda actions: np.array([1, 3, 1])[: len(actions)]
    name = minari_log(observe, spaces.Discrete(4, start=3), act, spaces.Discrete(3, start=1))
    dataset = load_dataset(name)
    assert dataset.spec.action == Discrete(3) and dataset.transitions.action.tolist() == [0, 2, 0, 0, 2]
    np.testing.assert_array_equal(dataset.transitions.obs, np.eye(4)[[0, 1, 2, 0, 1]])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(2, 2), ()])
def test_minari_actions_of_any_shape_are_vectors(minari_log, shape):
    act = lambda actions: np.full((len(actions), *shape), 0.5, np.float32)
    dataset = load_dataset(minari_log(act=act, action_space=spaces.Box(-1, 1, shape, np.float32)))
    size = int(np.prod(shape))
    assert dataset.spec.action == Box((-1.0,) * size, (1.0,) * size)
    np.testing.assert_array_equal(dataset.transitions.action, np.full((5, size), 0.5))


@pytest.mark.filterwarnings("ignore")
def test_actions_of_minari_that_no_agent_knows_are_refused(minari_log):
    name = minari_log(act=lambda actions: np.ones((len(actions), 2), int), action_space=spaces.MultiDiscrete([2, 3]))
    assert "MultiDiscrete actions are not supported" in refused(name)


def test_matrix_actions_of_a_log_are_flattened(store):
    log = arrays()
    log["action"] = np.arange(4.0 * len(log["reward"])).reshape(-1, 2, 2)
    dataset = load_dataset(store(log))
    assert dataset.transitions.action.shape[1:] == (4,) and dataset.transitions.action[1].tolist() == [4, 5, 6, 7]
    assert "action of shape [2, 2] is flattened" in " ".join(dataset.notes)


def test_numbered_states_of_a_log_are_one_hot(store):
    log = arrays()
    log["obs"] = np.arange(len(log["reward"])) % 3
    log.pop("next_obs", None)
    dataset = load_dataset(store(log))
    np.testing.assert_array_equal(dataset.transitions.obs, np.eye(3)[[0, 1, 0, 1]])
    np.testing.assert_array_equal(dataset.transitions.next_obs, np.eye(3)[[1, 2, 1, 2]])
    assert "an observation is one-hot (3)" in " ".join(dataset.notes)
    log["obs"] = log["obs"] - 1
    assert "numbers of states from -1 to 1" in refused(store(log))


def test_a_minari_dataset_that_is_not_here_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert "`minari download D4RL/none-v0`" in refused("minari:D4RL/none-v0")
    (tmp_path / "folder").mkdir()
    assert "cannot be read" in refused(tmp_path / "folder")


def test_minari_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    assert 'pip install "forethought[offline]"' in refused("minari:toy/log-v0")


def inflating(path, name, shape, zeros):
    """A compressed log of six steps whose `name` has a header of `shape` before so many zeros."""
    np.savez_compressed(path, **arrays())
    with zipfile.ZipFile(path) as file:
        members = {member: file.read(member) for member in file.namelist()}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    members[f"{name}.npy"] = stream.getvalue() + bytes(zeros)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member, data in members.items():
            file.writestr(member, data)
    return path


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("obs", (2**22, 4), "lengths must agree"),  # all other arrays have six steps
        ("reward", (6,), "wanted 24 for float32"),
        ("obs", (6, 2**40), "bytes, wanted"),
    ],
)
def test_a_small_log_that_inflates_to_a_large_one_is_refused_before_it_takes_memory(tmp_path, name, shape, message):
    path = inflating(tmp_path / "log.npz", name, shape, 2**26)
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    try:
        assert message in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_a_log_of_more_than_half_the_memory_is_refused_with_its_size(store, monkeypatch):
    path = store(arrays())
    monkeypatch.setattr(dataset, "host_bytes", lambda: 300)
    assert "GiB once it is inflated, more than half of this machine's memory" in refused(path)
