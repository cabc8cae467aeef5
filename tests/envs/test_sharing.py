"""Environments of one run share no simulator and keep no running statistics."""

import threading
from functools import partial

import gymnasium
import jax.random as jr
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import vector as vector_wrappers
from tiny import Averaging
from toy_envs import Counter, Uncopyable, normalised

from forethought.core import AbstractHostEnv, HostStep
from forethought.envs.host import GymnasiumEnv, GymnasiumVectorEnv
from forethought.envs.make import make
from forethought.envs.sharing import parts, shared
from forethought.errors import UserError
from forethought.presets.run import RunConfig
from forethought.setup import build
from forethought.types import Box, EnvSpec

KEY = jr.key(0)


class Simulation:
    """A simulator that may exist once."""

    def __init__(self):
        self.steps = 0

    def step(self):
        self.steps += 1


class Around(Counter):
    """An environment around a simulator that it is handed."""

    def __init__(self, simulation):
        super().__init__(ends=9)
        self.simulation = simulation

    def step(self, action):
        self.simulation.step()
        return super().step(action)


class InClass(Counter):
    """Keeps its simulator in the class, where all instances share it."""

    simulation = Simulation()


class Slotted(Counter):
    """Keeps what it is handed out of its dictionary."""

    __slots__ = ("held",)

    def __init__(self, held):
        super().__init__(ends=9)
        self.held = held


class Client:
    """Of a simulator that has no method `step`."""

    def __init__(self, simulation):
        self.simulation = simulation

    def advance(self):
        self.simulation.step()


class Handle:
    """A plain object around a simulator."""

    def __init__(self, simulation):
        self.simulation = simulation


ONLY = Counter(9)


class Outside(Counter):
    """Plays in an environment of its module."""

    def step(self, action):
        return ONLY.step(action)


def around(simulation):
    class Closed(Counter):
        def step(self, action):
            return simulation.step(action)

    return Closed


class Singleton(Counter):
    """There is only ever one, copies included."""

    def __deepcopy__(self, memo):
        return self


def same_wrapped(env):
    return lambda: wrappers.TimeLimit(env, 5)


def one_env(env):
    return lambda: env


def play(host, num_steps):
    host.start([KEY] * host.num_envs)
    actions = np.zeros((host.num_envs, 1), np.float32)
    for _ in range(num_steps):
        out = host.step(actions, step_key=KEY, reset_key=lambda i: KEY)
    return out


@pytest.mark.parametrize(
    "again",
    [one_env(Counter(9)), same_wrapped(Counter(9)), partial(Around, Simulation())],
    ids=["one environment", "two wrappers around one", "one simulator"],
)
def test_environments_side_by_side_and_evaluation_copies_step_on_their_own(again):
    host = make(again, num_envs=2)
    copied = host.copy(2)
    assert play(host, 3).next_obs[:, 1].tolist() == [3, 3]
    play(copied, 2)
    assert host.envs[0].unwrapped.steps == 3
    together = [*host.envs, *copied.envs]
    assert all(shared(a, b) is None for i, a in enumerate(together) for b in together[:i])


@pytest.mark.parametrize(
    "hold",
    [Client, lambda simulation: {"robots": [{"arm": simulation}]}, lambda s: Handle(Handle(s)), lambda s: s.step],
    ids=["client", "containers", "plain objects", "bound method"],
)
def test_a_simulator_is_copied_however_it_is_held(hold):
    held = hold(Simulation())
    host = make(partial(Slotted, held), num_envs=2)
    holders = [env.unwrapped.held for env in [*host.envs, *host.copy(2).envs]]
    assert len({id(getattr(holder, "__self__", holder)) for holder in holders}) == 4


def test_a_vector_environment_that_is_returned_again_and_again_is_copied():
    one = SyncVectorEnv([Counter, Counter])
    host = make(lambda: one)
    copied = host.copy()
    play(host, 1), play(copied, 2)
    assert one.envs[0].steps == 1 and copied.env is not one


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (one_env(Uncopyable()), "share one Uncopyable.*TypeError.*makes a new environment at every call"),
        (InClass, "share one Simulation"),
        (Outside, "share one Counter"),
        (around(Counter(9)), "share one Counter"),
        (one_env(Singleton()), "share one Singleton"),
        (Singleton(), "no second environment.*a deep copy shares its Singleton"),
    ],
)
def test_what_cannot_be_separated_is_refused(again, words):
    with pytest.raises(UserError, match=words):
        make(again, num_envs=2)
    with pytest.raises(UserError, match=words):
        make(again).copy()


def test_vector_environment_whose_environments_are_one_is_refused():
    one = Counter()
    with pytest.raises(UserError, match="share one Counter"):
        GymnasiumVectorEnv(SyncVectorEnv([lambda: one, same_wrapped(one)]))


def test_uncopyable_vector_environment_that_is_returned_again_is_refused():
    one = SyncVectorEnv([Counter])
    one.lock = threading.Lock()
    with pytest.raises(UserError, match=r"share one Counter.*a deep copy fails with TypeError"):
        make(lambda: one).copy()


class Robot(AbstractHostEnv):
    """A user's own host environment, whose copies may share its arm."""

    num_envs = 1
    spec = EnvSpec("robot", 2, Box((-1.0,), (1.0,)), max_episode_steps=7)

    def __init__(self, arm=None, copies=lambda robot: robot):
        self.arm, self.copies = arm or Simulation(), copies

    def start(self, keys):
        return np.zeros((1, 2), np.float32)

    def step(self, actions, *, step_key, reset_key):
        no, zeros = np.zeros(1, bool), np.zeros((1, 2), np.float32)
        return HostStep(zeros, np.zeros(1), no, no, zeros, no, np.ones(1, bool))

    def render(self):
        return None

    def copy(self, num_envs=1):
        return self.copies(self)


@pytest.mark.parametrize("copies", [lambda robot: robot, lambda robot: Robot(robot.arm)], ids=["itself", "its arm"])
def test_a_host_environment_whose_copy_shares_its_simulator_is_refused(copies):
    setup = build(Averaging(), lambda: Robot(copies=copies), run=RunConfig(steps=5))
    with pytest.raises(UserError, match=r"robot.*Robot.copy must return an environment with a simulator of its own"):
        setup.evaluator(1)


def test_a_host_environment_with_a_simulator_for_each_copy_is_taken():
    setup = build(Averaging(), lambda: Robot(copies=lambda robot: Robot()), run=RunConfig(steps=5))
    assert setup.evaluation_env is not setup.env


def test_an_environment_of_objects_without_a_module_is_looked_through():
    pytest.importorskip("Box2D")
    env = gymnasium.make("LunarLanderContinuous-v3")
    env.reset(seed=0)  # its world holds objects of a class that names no module
    assert make("LunarLanderContinuous-v3", num_envs=2).num_envs == 2 and make(env).num_envs == 1


class Table:
    """Of data, as of pandas: what it offers is not kept while it runs."""

    def mean(self): ...
    def var(self): ...
    def count(self): ...
    def update(self): ...


def test_a_table_of_data_is_no_running_statistic():
    env = Counter()
    env.prices = Table()
    assert isinstance(make(env), GymnasiumEnv)


@pytest.mark.parametrize("id", ["Pendulum-v1", "CartPole-v1", "FrozenLake-v1"])
def test_sound_environments_share_nothing(id):
    one, other = gymnasium.make(id), gymnasium.make(id)
    assert shared(one, other) is None and len(parts(one)) >= 2


class Statistics:
    """Of one's own making."""

    mean, var, count = 0.0, 1.0, 0

    def update(self, x):
        self.count += 1


class Normaliser:
    """Holds the statistics for a wrapper."""

    def __init__(self):
        self.obs_rms = (0.0, 1.0)


class Holding(gymnasium.Wrapper):
    """Normalises by what it holds."""

    def __init__(self, env):
        super().__init__(env)
        self.normaliser = Normaliser()


class Pushed:
    """Statistics as other libraries name them."""

    mean, std = 0.0, 1.0

    def push(self, x): ...


class Kept(gymnasium.Wrapper):
    """Keeps something."""

    def __init__(self, env, kept):
        super().__init__(env)
        self.kept = kept


class Own(gymnasium.Wrapper):
    """Normalises by statistics under a name of its own."""

    def __init__(self, env):
        super().__init__(env)
        self.seen_so_far = Statistics()


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (lambda: wrappers.NormalizeObservation(Counter()), r"NormalizeObservation keeps.*\(obs_rms\)"),
        (lambda: wrappers.NormalizeReward(Counter()), r"NormalizeReward keeps.*\(return_rms\)"),
        (lambda: wrappers.TimeLimit(wrappers.NormalizeObservation(Counter()), 5), "NormalizeObservation"),
        (lambda: Own(Counter()), r"Own keeps running statistics \(seen_so_far\)"),
        (lambda: Holding(Counter()), r"Holding keeps running statistics \(normaliser.obs_rms\)"),
        (lambda: Kept(Counter(), {"obs": Statistics()}), r"Kept keeps running statistics \(kept.obs\)"),
        (lambda: Kept(Counter(), [Statistics()]), r"Kept keeps running statistics \(kept.0\)"),
        (lambda: Kept(Counter(), Pushed()), r"Kept keeps running statistics \(kept\)"),
        (lambda: vector_wrappers.NormalizeObservation(SyncVectorEnv([Counter])), "NormalizeObservation"),
        (lambda: vector_wrappers.NormalizeReward(SyncVectorEnv([Counter])), "NormalizeReward"),
        (lambda: SyncVectorEnv([lambda: wrappers.NormalizeObservation(Counter())]), "NormalizeObservation"),
    ],
)
def test_running_statistics_are_refused_with_a_remedy(again, words):
    with pytest.raises(UserError, match=f"{words}.*TransformObservation.*update_running_mean = False"):
        make(again)


def test_running_statistics_in_processes_of_their_own_are_found():
    env = AsyncVectorEnv([normalised], context="spawn")
    with pytest.raises(UserError, match=r"running statistics \(obs_rms\)"):
        make(env)
    env.close()


def test_remedies_against_running_statistics_are_taken():
    frozen = wrappers.NormalizeObservation(Counter())
    frozen.obs_rms.mean = np.array([1.0, 2.0])
    frozen.update_running_mean = False
    host = make(frozen)
    assert host.copy().start([KEY]) == pytest.approx(host.start([KEY]), abs=1e-4)
    fixed = partial(wrappers.TransformObservation, Counter(), lambda x: (x - 1) / 2, Counter().observation_space)
    assert isinstance(make(fixed), GymnasiumEnv)
    assert isinstance(make(lambda: wrappers.TransformReward(Counter(), lambda r: r / 2)), GymnasiumEnv)


class Body:
    """A simulator without a method called `step`."""

    def __init__(self):
        self.place = 0

    def push(self):
        self.place += 1


BODY, TABLE = Body(), {"place": 0}


class Moves(Counter):
    """Shows where `body` is, which stands at 0 at first."""

    body = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.back()
        return self.obs(), {}

    def step(self, action):
        self.forward()
        return super().step(action)

    def obs(self):
        return np.array([self.where(), 0], np.float32)


class WithBody(Moves):
    def __init__(self):
        super().__init__(9)
        self.body = BODY

    back = lambda self: setattr(self.body, "place", 0)
    forward = lambda self: self.body.push()
    where = lambda self: self.body.place


class WithArray(Moves):
    state = np.zeros(2)
    back = lambda self: self.state.fill(0)
    forward = lambda self: self.state.__iadd__(1)
    where = lambda self: self.state[0]


class WithTable(Moves):
    back = lambda self: TABLE.update(place=0)
    forward = lambda self: TABLE.update(place=TABLE["place"] + 1)
    where = lambda self: TABLE["place"]


class WithBodyOfModule(Moves):
    back = lambda self: setattr(BODY, "place", 0)
    forward = lambda self: BODY.push()
    where = lambda self: BODY.place


class Constants(Moves):
    """Tables that never change, a cache that grows, and luck in common: all of it may be shared."""

    table, cache, luck, seen = np.arange(9.0), {}, np.random.default_rng(0), []

    def back(self):
        self.place = 0
        self.luck.normal()

    def forward(self):
        self.place += 1
        self.cache[self.place] = self.table[self.place % 9]
        self.seen.append(self.place)

    where = lambda self: self.place


def test_a_simulator_that_does_not_call_it_stepping_is_copied():
    host = make(WithBody, num_envs=2)
    assert len({id(env.unwrapped.body) for env in [*host.envs, *host.copy(2).envs]}) == 4


@pytest.mark.parametrize(
    ("kind", "part"), [(WithArray, "ndarray"), (WithTable, "dict"), (WithBodyOfModule, "Body")], ids=lambda x: str(x)
)
def test_state_of_a_class_or_a_module_is_refused_with_the_place_where_it_belongs(kind, part):
    words = f"two environments share one {part}, which changes as one of them steps; make it in __init__"
    with pytest.raises(UserError, match=words):
        make(kind, num_envs=2)
    with pytest.raises(UserError, match=words):
        make(kind).copy()
    with pytest.raises(UserError, match=words):
        make(SyncVectorEnv([kind, kind]))


def test_constants_caches_and_luck_may_be_shared():
    assert make(Constants, num_envs=3).copy(2).num_envs == 2
