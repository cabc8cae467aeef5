"""What cannot fit into memory is refused from its sizes, before anything is made, and what is published fits."""

import dataclasses

import pytest
from tiny import Walk

from forethought import room
from forethought.catalogue import AGENTS
from forethought.envs.games.connect_four import ConnectFour
from forethought.errors import UserError
from forethought.presets.run import RunConfig
from forethought.presets.values import merged
from forethought.setup import build, opponent
from forethought.types import Box, EnvSpec

MEMORY = 16e9
PICTURE = EnvSpec("pictures", 64 * 64 * 3, Box((-1.0,), (1.0,)), image=(64, 64, 3))


@pytest.fixture(autouse=True)
def sixteen_gigabytes(monkeypatch):
    monkeypatch.setattr(room, "device_bytes", lambda: MEMORY)


def refused(agent, spec=None, **changes):
    config = merged(AGENTS[agent].preset("default"), changes)
    with pytest.raises(
        UserError, match=r"needs at least .* GB, and the memory is 16 GB; lower (it|the largest of them)"
    ) as caught:
        room.check_config_room(Walk().spec if spec is None else spec, config)
    return str(caught.value)


@pytest.mark.parametrize("agent", AGENTS)
def test_published_settings_fit_on_small_tasks(agent):
    for config in AGENTS[agent].presets.values():
        room.check_config_room(Walk().spec, config)


@pytest.mark.parametrize(
    ("agent", "changes", "named"),
    [
        ("pets", {"model.hidden": [10**6, 10**6]}, "num_members=5, hidden=(1000000, 1000000)"),
        ("pets", {"model.batch_size": 10**8}, "num_members=5, batch_size=100000000"),
        ("pets", {"model.hidden": [10**9]}, "hidden=(1000000000,)"),
        ("pets", {"planner.population": 10**9}, "population=1000000000"),
        ("pets", {"planner.horizon": 10**9}, "population=150, horizon=1000000000"),
        ("pets", {"model.particles": 10**7 * 5}, "population=150, particles=50000000"),
        ("pets", {"planner.kind": "tree", "planner.simulations": 2 * 10**9}, "simulations=2000000000"),
        ("planet", {"model.deter": 10**8, "model.hidden": 1000}, "deter=100000000, hidden=1000"),
        ("dreamer-v3", {"batch_size": 10**9}, "batch_size=1000000000, batch_length=16"),
        ("dreamer-v3", {"imagination": 10**9}, "imagination=1000000000"),
        ("model-samples", {"walkers": 10**9}, "walkers=1000000000"),
        ("pilco", {"centres": 2**31 - 1}, "centres=2147483647"),
        ("pilco", {"horizon": 2**31 - 1}, "horizon=2147483647"),
    ],
)
def test_sizes_that_cannot_fit_are_named_with_what_they_need(agent, changes, named):
    assert named in refused(agent, **changes)


def test_gaussian_processes_of_pictures_are_refused_before_they_are_made():
    assert "max_points=400 on pictures needs at least 49" in refused("pilco", PICTURE)


def test_environments_side_by_side_have_to_fit():
    with pytest.raises(UserError, match=r"num_envs=1000000000 needs at least 3,000 GB"):
        build("pets", "os:getcwd", run=RunConfig(num_envs=10**9))  # before the environment is looked for


def test_games_and_episodes_and_searches_have_to_fit():
    with pytest.raises(UserError, match="episodes=1000000000 needs at least"):
        room.check_episode_room(Walk().spec, 10**9)
    with pytest.raises(UserError, match="rollouts=999999999999 needs at least"):
        opponent(ConnectFour(), "uct-999999999999")


def test_a_run_that_is_too_large_as_a_whole_is_refused_by_its_largest_part(monkeypatch):
    config = merged(AGENTS["pets"].preset("default"), {"model.hidden": [8], "planner.population": 16})
    setup = build("pets", Walk, config=dataclasses.replace(config), run=RunConfig())
    monkeypatch.setattr(room, "device_bytes", lambda: 1e4)
    monkeypatch.setattr(room, "check_episode_room", lambda spec, episodes: None)
    monkeypatch.setattr("forethought.setup.check_episode_room", lambda spec, episodes: None)
    with pytest.raises(UserError, match="the run, most of it the replay, needs at least"):
        setup.prepare()
