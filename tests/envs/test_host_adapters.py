"""Single Gymnasium environments and hosted JAX environments behind the host interface."""

from collections.abc import Callable

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium import spaces
from toy_envs import Counter, Faulty, Spaces, Uncopyable

from forethought.core import AbstractEnv
from forethought.envs.host import GymnasiumEnv, GymnasiumVectorEnv, HostedJaxEnv, seed_from
from forethought.envs.pendulum import Pendulum
from forethought.errors import EnvironmentFault, UserError
from forethought.types import Box, EnvSpec

KEY = jr.key(0)


def play(host, action, num_steps=1):
    for _ in range(num_steps):
        out = host.step(np.stack([action] * host.num_envs), step_key=KEY, reset_key=lambda i: jr.key(10 + i))
    return out


def test_next_obs_is_the_true_successor_and_obs_the_first_of_the_next_episode():
    host = GymnasiumEnv([Counter(ends=2), Counter(ends=3)])
    np.testing.assert_array_equal(host.start([KEY, KEY]), [[0, 0], [0, 0]])
    play(host, [1.0])
    out = play(host, [1.5])
    np.testing.assert_array_equal(out.next_obs, [[0, 2], [0, 2]])
    np.testing.assert_array_equal(out.obs, [[1, 0], [0, 2]])
    np.testing.assert_array_equal(out.terminated, [True, False])
    np.testing.assert_array_equal(out.fresh, [True, False])
    assert out.valid.all() and not out.truncated.any()
    np.testing.assert_array_equal(out.reward, [1.5, 1.5])


def test_a_time_limit_truncates_and_does_not_terminate():
    host = GymnasiumEnv([gymnasium.wrappers.TimeLimit(Counter(ends=9), 2)])
    host.start([KEY])
    out = play(host, [0.0], 2)
    assert out.truncated[0] and not out.terminated[0] and out.fresh[0]
    np.testing.assert_array_equal(out.next_obs, [[0, 2]])


def test_every_reset_is_seeded_from_the_key_it_is_handed():
    env = Counter(ends=1)
    host = GymnasiumEnv([env])
    host.start([jr.key(5)])
    play(host, [0.0])
    assert env.seeds == [seed_from(jr.key(5)), seed_from(jr.key(10))]
    assert all(0 <= seed < 2**31 for seed in env.seeds)


def test_action_repeat_sums_rewards_and_stops_where_the_episode_ends():
    host = GymnasiumEnv([Counter(ends=5)], action_repeat=3)
    host.start([KEY])
    out = play(host, [1.5])
    assert out.reward[0] == 4.5 and out.next_obs[0, 1] == 3
    out = play(host, [1.5])
    assert out.reward[0] == 3.0 and out.next_obs[0, 1] == 5 and out.terminated[0]
    assert host.spec.action_repeat == 3


@pytest.mark.parametrize(
    ("space", "action", "wanted"),
    [
        (spaces.Box(-2, 2, (1,), np.float32), [5.0], np.array([2.0], np.float32)),
        (spaces.Box(-1, 1, (2, 2), np.float64), [0.0, -3.0, 0.5, 2.0], np.array([[0.0, -1.0], [0.5, 1.0]])),
        (spaces.Box(0, 10, (1,), np.int64), [3.6], np.array([4])),
        (spaces.Discrete(3, start=5), 2, np.int64(7)),
    ],
)
def test_actions_arrive_clipped_and_in_the_environments_own_shape_dtype_and_numbering(space, action, wanted):
    env = Spaces(action_space=space)
    host = GymnasiumEnv([env])
    host.start([KEY])
    play(host, np.asarray(action))
    np.testing.assert_array_equal(env.taken[0], wanted)
    assert env.taken[0].dtype == wanted.dtype and space.contains(env.taken[0])


BOX = spaces.Box(-1, 1, (2,), np.float32)


@pytest.mark.parametrize(
    ("seen", "acts", "remedy"),
    [
        (spaces.Text(9), None, "Text observations.*TransformObservation"),
        (spaces.Tuple((BOX, spaces.Sequence(BOX))), None, "observation '1' is a Sequence.*FilterObservation"),
        (spaces.Dict({"a": BOX, "b": spaces.Discrete(5000)}), None, "'b'.*more than 4096 values"),
        (spaces.MultiBinary(8000), None, "states are more than"),
        (spaces.Box(0, 255, (8, 8, 3), np.float32), None, "pictures of uint8"),
        (None, spaces.MultiBinary(30), "combinations are too many to number"),
        (None, spaces.Dict({"a": BOX}), "TransformAction"),
        (None, spaces.Box(-np.inf, np.inf, (1,), np.float32), "unbounded"),
        (None, spaces.Box(-3.4e38, 3.4e38, (1,), np.float32), "unbounded"),
        (None, spaces.Box(-1e300, 1e300, (1,), np.float64), "unbounded"),
        (None, spaces.Box(1, 1, (1,), np.float32), "a single action"),
        (None, spaces.Box(1, 1 + 1e-12, (1,), np.float64), "a single action"),
        (
            None,
            spaces.Box(np.array([0, 1.0]), np.array([2, 1.0]), dtype=np.float64),
            r"dimensions \[1\].*leave them out",
        ),
    ],
)
def test_unsupported_spaces_get_one_line_that_says_what_to_wrap_them_with(seen, acts, remedy):
    with pytest.raises(UserError, match=remedy) as caught:
        GymnasiumEnv([Spaces(seen, acts)])
    assert "\n" not in str(caught.value) and "Spaces" in str(caught.value)


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiDiscrete([2, 3], start=[5, -1]),
        spaces.MultiDiscrete([[2, 3], [2, 2]]),
        spaces.MultiBinary(3),
    ],
)
def test_remedy_for_several_choices_numbers_their_combinations(space):
    env = Spaces(action_space=space)
    with pytest.raises(UserError, match="number the combinations") as caught:
        GymnasiumEnv([env])
    remedy = "gymnasium.wrappers.TransformAction(" + str(caught.value).partition("TransformAction(")[2]
    host = GymnasiumEnv([eval(remedy, {"gymnasium": gymnasium, "np": np, "env": env})])  # as a user would paste it
    count = host.spec.action.n
    host.start([KEY])
    for number in range(count):
        play(host, number)
    assert all(space.contains(taken) for taken in env.taken)
    assert len({tuple(np.ravel(taken).tolist()) for taken in env.taken}) == count == len(env.taken)


@pytest.mark.parametrize(("shape", "dtype"), [((4,), np.float32), ((2, 2), np.float64), ((4,), np.int64)])
def test_remedy_for_dimensions_with_a_single_value_leaves_them_out(shape, dtype):
    low, high = (np.reshape(bound, shape).astype(dtype) for bound in ([3, -1, 2, -1], [3, 1, 2, 1]))
    env = Spaces(action_space=spaces.Box(low, high, dtype=dtype))
    with pytest.raises(UserError, match="leave them out") as caught:
        GymnasiumEnv([env])
    remedy = str(caught.value).split("leave them out: ")[1]
    host = GymnasiumEnv([eval(remedy, {"gymnasium": gymnasium, "np": np, "env": env})])
    assert host.spec.action == Box((-1.0, -1.0), (1.0, 1.0))
    host.start([KEY])
    play(host, np.array([1.0, -0.75]))
    last = -1 if dtype == np.int64 else -0.75
    np.testing.assert_array_equal(env.taken[0], np.reshape([3, 1, 2, last], shape))
    assert env.action_space.contains(env.taken[0])


def test_an_observation_without_an_axis_is_a_single_number():
    env = Spaces(spaces.Box(-9, 9, (), np.float64))
    env.obs = lambda: np.array(env.steps - 0.5)
    host = GymnasiumEnv([env])
    assert host.start([KEY]).tolist() == [[-0.5]] and host.spec.obs_dim == 1


@pytest.mark.parametrize(
    ("bounds", "words"), [((-3.4e38, 3.4e38), "below 1e18"), ((1.0, 1.0 + 1e-12), "leave dimensions with a single")]
)
def test_box_of_an_environment_of_ones_own_says_what_its_bounds_must_be(bounds, words):
    with pytest.raises(ValueError, match=words):
        Box((bounds[0],), (bounds[1],))


class InPlace(Counter):
    """Doubles the action that it is handed, in place."""

    def step(self, action):
        action *= 2
        return super().step(action)


def test_each_repeated_step_gets_an_action_of_its_own():
    host = GymnasiumEnv([InPlace(ends=9)], action_repeat=3)
    host.start([KEY])
    actions = np.array([[0.25]], np.float32)
    assert host.step(actions, step_key=KEY, reset_key=lambda i: KEY).reward[0] == 1.5 and actions[0, 0] == 0.25


def test_simulator_steps_of_an_episode_that_ends_inside_a_repeat_are_counted():
    host = GymnasiumEnv([Counter(ends=5), Counter(ends=9)], action_repeat=3)
    host.start([KEY] * 2)
    assert [play(host, [1.0]).steps.tolist() for _ in range(3)] == [[3, 3], [2, 3], [3, 3]]


class Says(Counter):
    """Hands out what it is told to in its second step, with reward and flags to choose."""

    def __init__(self, **said):
        super().__init__(ends=10)
        self.said = said

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.steps < 2:
            return obs, reward, terminated, truncated, info
        said = {"reward": reward, "terminated": terminated, "truncated": truncated, **self.said}
        return obs, *said.values(), info


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"terminated": "False"}, "terminated is 'False', wanted True or False"),
        ({"truncated": None}, "truncated is None, wanted"),
        ({"terminated": np.nan}, "terminated is nan, wanted"),
        ({"terminated": 2}, "terminated is 2, wanted"),
        ({"terminated": np.zeros(2, bool)}, r"terminated is array\(\[False, False\]\), wanted"),
        ({"truncated": {}}, "truncated is {}, wanted"),
        ({"reward": 1e39}, r"reward 1e\+39 overflows float32"),
        ({"reward": -np.float64(1e300)}, "reward -1e\\+300 overflows float32"),
        ({"reward": "1.0"}, "reward is no number: '1.0'"),
        ({"reward": 10**400}, "reward is no number: 1000"),
        ({"reward": None}, "reward is no number: None"),
    ],
)
def test_flags_and_rewards_that_are_none_are_faults(said, words):
    host = GymnasiumEnv([Says(**said)])
    host.start([KEY])
    play(host, [0.5])
    with pytest.raises(EnvironmentFault, match=f"Says.*episode 0, step 2: .*{words}"):
        play(host, [0.5])


@pytest.mark.parametrize("flag", [True, np.bool_(True), np.array(True), np.array([True]), 1, 1.0, np.array([[1]])])
def test_flags_of_one_element_are_taken(flag):
    host = GymnasiumEnv([Says(terminated=flag)])
    host.start([KEY])
    assert play(host, [0.5], 2).terminated.tolist() == [True]


def test_rewards_of_one_action_that_sum_up_past_float32_are_a_fault():
    host = GymnasiumEnv([gymnasium.wrappers.TransformReward(Counter(9), lambda r: 2e38)], action_repeat=2)
    host.start([KEY])
    with pytest.raises(EnvironmentFault, match=r"reward 4e\+38 overflows float32"):
        play(host, [0.5])


@pytest.mark.parametrize(
    ("fault", "words"),
    [("nan", "not finite"), ("shape", r"shape \(3,\)"), ("reward", "reward is inf"), ("raise", "motor is on fire")],
)
def test_a_fault_names_environment_episode_step_and_action(fault, words):
    host = GymnasiumEnv([Faulty(fault)])
    host.start([KEY])
    play(host, [0.5])
    with pytest.raises(EnvironmentFault, match=f"Faulty.*episode 0, step 2.*{words}.*0.5") as caught:
        play(host, [0.5])
    assert isinstance(caught.value.__cause__, RuntimeError) == (fault == "raise")
    assert caught.value.exit_code == 3


def test_copies_are_independent_of_the_original():
    host = GymnasiumEnv([Counter(ends=9)])
    host.start([KEY])
    other = host.copy(2)
    other.start([KEY, KEY])
    play(other, [0.0], 2)
    np.testing.assert_array_equal(play(host, [0.0]).next_obs, [[0, 1]])
    assert other.num_envs == 2 and other.spec == host.spec


def test_copy_of_an_instance_keeps_the_arguments_it_was_made_with():
    host = GymnasiumEnv([gymnasium.make("Pendulum-v1", g=5.0)])
    assert host.copy().envs[0].unwrapped.g == 5.0
    assert host.spec.max_episode_steps == 200


def test_what_cannot_be_copied_asks_for_a_class_or_a_function():
    with pytest.raises(UserError, match="pass a class or a function"):
        GymnasiumEnv([Uncopyable()]).copy()


def test_hosted_jax_environment_uses_the_very_keys_that_it_is_handed():
    env, host = Pendulum(), HostedJaxEnv(Pendulum(), 2)
    keys = list(jr.split(jr.key(3), 2))
    first = host.start(keys)
    np.testing.assert_allclose(first, [env.reset(key=key)[1] for key in keys], atol=1e-6)
    out = play(host, [1.0], 200)
    assert out.truncated.all() and out.fresh.all() and out.valid.all() and not out.terminated.any()
    again = [env.reset(key=jr.key(10 + i))[1] for i in range(2)]
    np.testing.assert_allclose(out.obs, again, atol=1e-6)
    now, _ = env.reset(key=keys[0])
    last = jax.jit(lambda s: jax.lax.fori_loop(0, 200, lambda i, s: env.step(s, jnp.ones(1), key=KEY)[0], s))(now)
    np.testing.assert_allclose(out.next_obs[0], env.observe(last.physics), atol=1e-3)


class Noise(AbstractEnv):
    """Sees and is rewarded with nothing but its keys."""

    @property
    def spec(self):
        return EnvSpec("noise", 1, Box((-1.0,), (1.0,)))

    def reset(self, *, key, start=None, clock=0):
        return jnp.array(0.0), jr.normal(key, (1,))

    def step(self, state, action, *, key):
        no = jnp.array(False)
        return state, jr.normal(key, (1,)), jr.uniform(key), no, no


def test_environment_i_of_the_hosted_ones_steps_with_the_step_key_folded_with_i():
    host = HostedJaxEnv(Noise(), 3)
    host.start([KEY] * 3)
    out = host.step(np.zeros((3, 1)), step_key=jr.key(9), reset_key=lambda i: KEY)
    for i in range(3):
        np.testing.assert_allclose(out.next_obs[i], jr.normal(jr.fold_in(jr.key(9), i), (1,)), rtol=1e-6)


class Breaks(AbstractEnv):
    """Sees 2 - steps, and after that what `broken` gives."""

    broken: Callable = eqx.field(static=True)

    @property
    def spec(self):
        return EnvSpec("breaks", 1, Box((-1.0,), (1.0,)))

    def reset(self, *, key, start=None, clock=0):
        return jnp.array(2.0), jnp.array([2.0])

    def step(self, state, action, *, key):
        no = jnp.array(False)
        return state - 1, self.broken(jnp.array([state - 1])), jnp.array(0.0), no, no


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda obs: jnp.log(obs), "episode 0, step 2.*not finite"),
        (lambda obs: jnp.zeros(3), r"episode 0, step 1.*\(1, 3\), expected \(1, 1\)"),
        (lambda obs: obs["speed"], "episode 0, step 1.*raised"),
    ],
)
def test_hosted_jax_environment_that_breaks_is_reported_like_any_other(broken, words):
    host = HostedJaxEnv(Breaks(broken))
    host.start([KEY])
    with pytest.raises(EnvironmentFault, match="breaks.*" + words):
        play(host, [0.5], 3)


def test_render_gives_a_frame_where_there_is_one_and_none_otherwise():
    assert GymnasiumEnv([Counter()]).render() is None
    host = GymnasiumEnv([gymnasium.make("Pendulum-v1", render_mode="rgb_array")])
    host.start([KEY])
    assert host.render().shape == (500, 500, 3) and host.render().dtype == np.uint8
    hosted = HostedJaxEnv(Pendulum())
    hosted.start([KEY])
    assert hosted.render().shape == (320, 480, 3)


GOAL = spaces.Dict({"goal": BOX, "at": spaces.Discrete(3, start=1), "on": spaces.MultiBinary(2)})
SEEN = {"on": np.array([1, 0]), "goal": np.array([0.5, -0.5]), "at": 3}
HAND = spaces.Tuple((spaces.Discrete(4), spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 5])))


class Showing(Spaces):
    """Shows one observation all the time."""

    def __init__(self, space, shown):
        super().__init__(space)
        self.shown = shown

    def obs(self):
        return self.shown


@pytest.mark.parametrize(
    ("space", "shown", "numbered", "wanted"),
    [
        (GOAL, SEEN, True, [0, 0, 1, 0.5, -0.5, 1, 0]),  # at, goal, on: Gymnasium sorts the keys
        (HAND, (2, 3, np.array([1, 4])), True, [2 * 30 + 2 * 10 + 1 * 5 + 4]),
        (HAND, (2, 3, np.array([1, 4])), False, [0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1]),
        (spaces.Discrete(3, start=5), 6, False, [0, 1, 0]),
        (spaces.MultiBinary(3), np.array([1, 0, 1]), True, [5]),
        (spaces.MultiBinary(30), np.ones(30, np.int8), True, np.ones(30)),  # 2^30 states are too many to number
        (spaces.Dict({"x": spaces.Dict({"y": BOX}), "say": spaces.Text(9)}), {"x": {"y": np.ones(2)}}, True, [1, 1]),
    ],
)
@pytest.mark.parametrize("side_by_side", [False, True])
def test_parts_become_one_vector_or_number_in_the_order_of_the_space(space, shown, numbered, wanted, side_by_side):
    shown = {**shown, "say": "go"} if isinstance(shown, dict) and "say" in space.spaces else shown
    make = lambda: Showing(space, shown)
    if side_by_side:
        host = GymnasiumVectorEnv(gymnasium.vector.SyncVectorEnv([make, make]), numbered=numbered)
    else:
        host = GymnasiumEnv([make(), make()], numbered=numbered)
    np.testing.assert_array_equal(host.start([KEY, KEY]), [wanted] * 2)
    np.testing.assert_array_equal(host.copy(2).start([KEY, KEY]), [wanted] * 2)
    assert (host.spec.num_states is not None) == (len(wanted) == 1) and host.spec.obs_dim == len(wanted)


def test_what_was_made_of_the_parts_is_said():
    seen = lambda space, **more: GymnasiumEnv([Spaces(space)], **more).seen.note
    assert seen(GOAL) == "an observation is one vector: at (3, one-hot), goal (2), on (2)"
    assert "one of 120 states, the last of the parts counting fastest: 0 (4), 1 (3), 2 (2x5)" in seen(HAND)
    assert seen(spaces.Dict({"x": BOX, "say": spaces.Text(9)})).endswith(
        "left out, as agents see only numbers: say (Text)"
    )
    assert seen(BOX) is None and seen(spaces.Discrete(3)) is None
    assert seen(spaces.Discrete(3), numbered=False) == "an observation is one vector: (3, one-hot)"


@pytest.mark.parametrize(
    ("space", "shown", "words"),
    [
        (GOAL, {**SEEN, "at": 4}, r"observation 'at' 4 outside Discrete\(3, start=1\)"),
        (GOAL, {**SEEN, "at": 1.5}, "observation 'at' 1.5 outside"),
        (GOAL, {"goal": SEEN["goal"]}, r"observation \['goal'\], expected a dict with 'at'"),
        (GOAL, {**SEEN, "goal": np.zeros(3)}, r"observation 'goal' shape \(3,\), expected \(2,\)"),
        (HAND, (2, 3), "observation tuple of 2, expected a tuple of at least 3"),
        (HAND, (2, 3, np.array([1, 5])), r"observation '2' \[1, 5\] outside"),
    ],
)
def test_a_part_outside_its_space_is_a_fault_that_names_it(space, shown, words):
    with pytest.raises(EnvironmentFault, match=words):
        GymnasiumEnv([Showing(space, shown)]).start([KEY])
