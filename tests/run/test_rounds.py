"""Several rounds: called when they are due, in their order, with data sets of their own that they add to."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import Walk, copied, run_to, same_bits

from forethought.core import AbstractAgent, Addition, Clock, Round, Schedule
from forethought.envs.hosted import HostedJaxEnv
from forethought.errors import TrainingFault, UserError
from forethought.replay.uniform import UniformReplay
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.storage import checkpoint
from forethought.types import EnvSpec, Transition

ROWS, KEPT = 6, 15
calls: list[str] = []


class Learned(eqx.Module):
    """What is learned, and how often each round has come."""

    mean: jax.Array
    counts: jax.Array  # of model and policy
    between: jax.Array  # calls of the policy's round since the model's last


class Dreaming(AbstractAgent):
    """Dreams rows now and then, and moves towards what it has dreamt at every step."""

    spec: EnvSpec = Walk().spec
    first: int = 20
    model_every: int = 15
    model_inline: bool = False
    breaks_at: int | None = None  # call of the model's round whose loss is not finite
    keeps: bool = False
    counted: bool = False

    @property
    def schedule(self):
        model = Round("model", self.model_every, self.first, inline=self.model_inline)
        return Schedule(10, (model, Round("policy", 1, self.first, inline=True)))

    def data(self, capacity, num_envs):
        pool = UniformReplay.empty(self.spec, 40)
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs), "model": pool}

    def init(self, *, key):
        return Learned(jr.normal(key, (2,)), jnp.zeros(2, jnp.int32), jnp.int32(0))

    def init_memory(self, state):
        return None

    def act(self, state, memory, obs, *, key, explore):
        return jnp.clip(0.1 * jr.normal(key, (1,)) - jnp.mean(obs - state.mean), -1, 1), None, None

    def update(self, state, data, *, round, clock, key):
        if self.counted:
            jax.debug.callback(functools.partial(calls.append, round))
        if round == "policy":
            rows = data["model"].sample(4, key=key)
            mean = 0.9 * state.mean + 0.1 * rows.obs.mean(0)
            state = Learned(mean, state.counts.at[1].add(1), state.between + 1)
            return state, {}, {"policy/loss": jnp.sum(mean**2)}
        rows = data["env"].sample(ROWS, key=key)
        bad = False if self.breaks_at is None else state.counts[0] == self.breaks_at
        loss = jnp.where(bad, jnp.nan, jnp.float32(clock.env_steps))
        state = Learned(state.mean, state.counts.at[0].add(1), jnp.int32(0))
        addition = Addition(rows, rows.obs[:, 0] > -1e6, KEPT if self.keeps else None)
        return state, {"model": addition}, {"model/loss": loss}


@functools.cache
def driver(kind="jit", num_envs=1, num_seeds=None, **settings):
    agent = Dreaming(**settings)
    if kind == "jit":
        return JitDriver(agent, Walk(), num_envs=num_envs, num_seeds=num_seeds)
    return StepDriver(agent, HostedJaxEnv(Walk(), num_envs))


def started(one, seed=0):
    num_envs = one.num_envs if isinstance(one, JitDriver) else one.env.num_envs
    return one.start(one.agent.data(80, num_envs), seed=seed)


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_rounds_are_called_when_due_the_model_before_the_policy(kind):
    one = driver(kind)
    seen = {}
    for progress in one.train(started(one), total_steps=52):
        for name, metrics in progress.metrics.items():
            seen.setdefault(name, []).append((int(progress.env_steps), {k: float(v) for k, v in metrics.items()}))
    state = progress.agent_state
    assert np.asarray(progress.clock.calls).tolist() == state.counts.tolist() == [3, 33]  # at 20, 35, 50; 20 to 52
    assert [(at, said["model/loss"]) for at, said in seen["model"]] == [(20, 20.0), (35, 35.0), (50, 50.0)]
    assert int(state.between) == 3  # those of steps 50, 51 and 52 came after the model's
    assert int(progress.data["model"].size) == 3 * ROWS and int(progress.data["env"].size) == 52


def test_both_drivers_come_to_the_same():
    ends = [run_to(driver(kind), started(driver(kind)), 52) for kind in ("jit", "steps")]
    same = lambda part: [np.testing.assert_allclose(a, b, atol=1e-5) for a, b in zip(*map(jax.tree.leaves, part))]
    same([end.agent_state for end in ends])
    same([end.data for end in ends])
    same([end.clock for end in ends])


@pytest.mark.parametrize("kind", ["jit", "steps"])
@pytest.mark.parametrize("cut", [10, 19, 20, 34, 35, 41, 50])
def test_a_run_cut_at_any_round_goes_on_bit_for_bit(kind, cut, tmp_path):
    one = driver(kind)
    checkpoint.save(tmp_path / "cut.npz", run_to(one, started(one), cut), {})
    loaded, _ = checkpoint.load(tmp_path / "cut.npz", started(one, seed=3))
    assert same_bits(run_to(one, loaded, 52), _whole(kind))


@functools.cache
def _whole(kind):
    return run_to(driver(kind), started(driver(kind)), 52)


def test_every_yield_can_be_saved_and_continued(tmp_path):
    one = driver()
    for i, progress in enumerate(one.train(started(one), total_steps=52, seconds_per_yield=0.0)):
        checkpoint.save(tmp_path / f"{i}.npz", dataclasses.replace(progress, metrics={}), {})
    for path in sorted(tmp_path.iterdir())[::5]:
        loaded, _ = checkpoint.load(path, started(one, seed=3))
        assert same_bits(run_to(one, loaded, 52), _whole("jit")), path


def test_seeds_side_by_side_are_what_they_are_alone():
    many = driver(num_seeds=4)
    together = run_to(many, started(many, seed=5), 52)
    for i in range(4):
        alone = run_to(driver(), started(driver(), seed=5 + i), 52)
        pairs = zip(
            jax.tree.leaves((together.agent_state, together.data)), jax.tree.leaves((alone.agent_state, alone.data))
        )
        for stacked, single in pairs:
            np.testing.assert_allclose(stacked[i], single, atol=1e-5)


@pytest.mark.parametrize("inline", [False, True])
def test_a_rare_round_of_four_seeds_runs_only_when_it_is_due(inline):
    """The clock is not batched over seeds, so what depends on it stays a branch and no step pays for a rare round."""
    many = driver(num_seeds=4, model_inline=inline, counted=True)
    calls.clear()
    end = run_to(many, started(many), 52)
    jax.effects_barrier()
    assert (calls.count("model"), calls.count("policy")) == (3, 33)
    assert end.agent_state.counts.tolist() == [[3, 33]] * 4


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_several_environments_make_as_many_calls(kind):
    one = driver(kind, num_envs=4)
    end = run_to(one, started(one), 52)
    assert np.asarray(end.clock.calls).tolist() == [3, 33] and int(end.clock.ticks) == 13


@pytest.mark.parametrize("kind", ["jit", "steps"])
def test_nothing_is_appended_where_a_metric_is_not_finite(kind):
    one, last = driver(kind, breaks_at=1), None
    with pytest.raises(TrainingFault, match="model/loss became nan in update 2 at step 35"):
        for progress in one.train(started(one), total_steps=52):
            last = copied(progress)
    assert int(last.env_steps) == 35 and int(last.data["model"].size) == ROWS
    assert np.asarray(last.clock.calls).tolist() == [1, 15] and last.agent_state.counts.tolist() == [1, 15]


class Spread(Dreaming):
    """Says a number for each row where a round's metrics are scalars."""

    def update(self, state, data, *, round, clock, key):
        state, additions, metrics = super().update(state, data, round=round, clock=clock, key=key)
        return state, additions, {**metrics, f"{round}/error": jnp.zeros(ROWS)}


@pytest.mark.parametrize("kind", ["jit", "steps"])
@pytest.mark.parametrize("model_inline", [True, False])
def test_a_metric_that_is_no_scalar_is_refused(kind, model_inline):
    agent = Spread(model_inline=model_inline)
    one = JitDriver(agent, Walk()) if kind == "jit" else StepDriver(agent, HostedJaxEnv(Walk()))
    with pytest.raises(UserError, match=rf"round \w+: metric \w+/error has shape \({ROWS},\), wanted a scalar"):
        run_to(one, started(one), 52)


def test_a_data_set_can_be_told_to_forget():
    one = driver(keeps=True)
    end = run_to(one, started(one), 70)
    assert int(end.clock.calls[0]) * ROWS > KEPT == int(end.data["model"].size)
    _, used = end.data["model"].rows()
    assert np.flatnonzero(used).tolist() == list(range(24 - KEPT, 24))


def test_rows_for_a_data_set_that_there_is_not_are_refused():
    class Lost(Dreaming):
        def data(self, capacity, num_envs):
            return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

        def update(self, state, data, *, round, clock, key):
            rows = data["env"].sample(ROWS, key=key)
            return state, {"model": Addition(rows)}, {}

    one = JitDriver(Lost(), Walk())
    with pytest.raises(UserError, match="round policy: additions for model; the agent's data sets are"):
        run_to(one, started(one), 30)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule(-1, ()), "random_steps=-1 must be at least 0"),
        (Schedule(0, (Round("a", 1), Round("a", 2))), "rounds are named a, a"),
        (Schedule(0, (Round("a", -1),)), "round a: every=-1, first=0 must be at least 0"),
        (Schedule(0, (Round("a", None),)), "round a never falls due"),
        (Schedule(0, (Round("a", 0),)), "wants inline=True and first=0"),
        (
            Schedule(0, (Round("a", 1, inline=True), Round("b", 1))),
            "rounds a, b: those with inline=True must come last",
        ),
    ],
)
def test_schedules_that_cannot_be_are_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        schedule.check()


@pytest.mark.parametrize("each", [Round("a", 7), Round("a", 7, 20), Round("a", None, 20), Round("a", 1, 5)])
def test_the_next_call_is_where_one_more_is_due(each):
    for steps in range(60):
        then = each.next_due(steps)
        later = [s for s in range(steps + 1, 200) if each.due(s, s) > each.due(steps, steps)]
        assert then == (later[0] if later else None), steps
        traced = each.due(jnp.int32(steps), jnp.int32(steps))
        assert int(traced) == each.due(steps, steps)


def test_a_clock_starts_at_nothing_and_counts_calls():
    clock = Clock.start(2).called(1)
    assert (int(clock.env_steps), int(clock.ticks), clock.calls.tolist()) == (0, 0, [0, 1])


def test_appending_is_in_place():
    """The pool keeps its buffer: nothing is copied, however large it is."""
    one = driver("steps")
    progress = run_to(one, started(one), 34)
    before = progress.data["model"].rings.data.obs.unsafe_buffer_pointer()
    progress = run_to(one, progress, 35)
    assert progress.data["model"].rings.data.obs.unsafe_buffer_pointer() == before
    assert isinstance(progress.data["model"].latest(1), Transition)
