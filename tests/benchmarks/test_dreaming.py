"""Dreamer's benchmarks run, at sizes of no interest, and count the work that there is; no test looks at a time."""

import argparse
import dataclasses
import json
import math
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from benchmarks import arms, dreaming, frames, ours, record, tables, work
from benchmarks.peers import sheeprl_options
from forethought.models.rssm import LatentBelief
from forethought.presets.dreamer_v3 import PRESETS
from forethought.types import Sequence

pytestmark = pytest.mark.slow

TINY = work.Dreaming(
    deter=16, hidden=8, latents=3, classes=4, units=8, layers=2, behaviour_layers=2, batch=2, length=4, imagination=3
)
PICTURES = dataclasses.replace(TINY, obs=0, image=64, depth=2, blocks=4)


def products(jaxpr, times: int = 1) -> int:
    """FLOP of the products and convolutions that a jaxpr holds, those in loops as often as they run; of branches, the
    dearest."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "conv_general_dilated":
            kernel, numbers = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"]
            total += times * 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
        if eqn.primitive.name == "cond":
            total += max(products(branch.jaxpr, times) for branch in eqn.params["branches"])
            continue
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            left = eqn.invars[0].aval.shape
            total += times * 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        inside = times * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: isinstance(x, jax.extend.core.Jaxpr)):
            if isinstance(inner, jax.extend.core.ClosedJaxpr):
                inner = inner.jaxpr
            if isinstance(inner, jax.extend.core.Jaxpr):
                total += products(inner, inside)
    return total


def traced(function, *arguments):
    """The jaxpr of `function`, without what its result does not need; arrays in `arguments` are shapes alone."""
    shaped = lambda x: isinstance(x, jax.ShapeDtypeStruct)
    dynamic, static = eqx.partition(arguments, shaped)
    call = lambda dynamic: eqx.filter(function(*eqx.combine(dynamic, static)), eqx.is_array)
    closed = jax.make_jaxpr(call)(dynamic)
    return jax.interpreters.partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.out_avals))[0]


def untrained(sizes: work.Dreaming):
    """An agent and the shapes of its state."""
    agent = ours.dreamer(sizes)
    return agent, eqx.filter_eval_shape(lambda: agent.init(key=jr.key(0)))


def shape(*lengths: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(lengths, dtype)


@pytest.mark.parametrize("sizes", [TINY, PICTURES], ids=["vectors", "pictures"])
def test_flop_of_every_network_are_those_of_the_products_in_it(sizes):
    agent, state = untrained(sizes)
    learned = state.learned
    model, rssm = learned.model, learned.model.rssm

    def per_row(function, network, *inputs: int) -> int:
        """What one more row takes; what is worked out once, of the weights alone, does not count."""
        count = lambda rows: products(traced(function, network, *(shape(rows, size) for size in inputs)))
        return count(2) - count(1)

    call = lambda network, *inputs: network(*inputs)
    decode = lambda decoder, d, s, f: decoder(LatentBelief(d, s), f).loc
    assert per_row(call, rssm.cell, sizes.deter, sizes.stoch, sizes.action) == sizes.cell
    assert per_row(lambda rssm, x: rssm.prior(x).log_probs, rssm, sizes.deter) == sizes.prior
    assert per_row(call, model.encoder, agent.spec.obs_dim) == sizes.encoder[0]
    assert per_row(decode, model.decoder, sizes.deter, sizes.stoch, sizes.features) == sizes.decoder
    assert per_row(call, model.reward_head.network, sizes.features) == sizes.head(work.BINS)
    assert per_row(call, model.continue_head.network, sizes.features) == sizes.head(1)
    behaviour = sizes.behaviour_layers
    assert per_row(call, learned.actor.network, sizes.features) == sizes.head(2 * sizes.action, behaviour)
    assert per_row(call, learned.critic.network, sizes.features) == sizes.head(work.BINS, behaviour)


@pytest.mark.parametrize("sizes", [TINY, PICTURES], ids=["vectors", "pictures"])
def test_a_gradient_step_is_counted_as_what_must_be_done_which_is_at_most_what_is_done(sizes):
    agent, state = untrained(sizes)
    steps = (sizes.batch, sizes.length)
    flag = shape(*steps, dtype=bool)
    seen, done = shape(*steps, agent.spec.obs_dim), shape(*steps, sizes.action)
    batch = Sequence(seen, done, shape(*steps), flag, flag, flag)

    def gradient(state, batch):
        return eqx.filter_grad(lambda learned: agent.loss(learned, state, batch, key=jr.key(0))[0])(state.learned)

    counted = products(traced(gradient, state, batch))
    assert sizes.flop <= counted <= 2 * sizes.flop


@pytest.mark.parametrize("name", ["tiny", "1m"])
def test_sizes_of_that_name_are_those_of_our_preset(name):
    config, model, sizes = PRESETS[name], PRESETS[name].model, work.DREAMING[name]
    made = ours.dreamer(sizes).config
    assert dataclasses.replace(made.model, kernel=model.kernel) == model  # no picture: no kernel
    same = ("batch_size", "batch_length", "imagination", "actor_layers", "critic_layers")
    assert [getattr(made, field) for field in same] == [getattr(config, field) for field in same]


@pytest.mark.parametrize("sizes", [TINY, PICTURES], ids=["vectors", "pictures"])
def test_an_update_is_one_gradient_step_on_finite_numbers(sizes):
    job = ours.dreaming(dataclasses.asdict(sizes), {})
    state, _, metrics = job()
    assert int(state.opt_state["model"][1].count) == 1 and all(np.isfinite(value) for value in metrics.values())
    assert job.notes["parameters"] == sum(x.size for x in jax.tree.leaves(eqx.filter(state.learned, eqx.is_array)))


def test_both_sides_have_every_size_and_the_peer_also_compiled_where_asked(tmp_path):
    given = argparse.Namespace(no_peers=False, venv=tmp_path, compiled=["tiny"])
    found = [arm for arm in dreaming.all_arms(given, work.DREAMING) if not arm.name.startswith("peak")]
    both = [f"{library}, {size}" for size in work.DREAMING for library in ("ours", "sheeprl")]
    assert sorted(arm.name for arm in found) == sorted([*both, "sheeprl, compiled, tiny"])
    assert {arm.name: arm.flop for arm in found} == {
        arm.name: work.DREAMING[arm.name.split(", ", 2 if "compiled" in arm.name else 1)[-1]].flop for arm in found
    }


def test_arms_with_other_networks_are_found_out():
    arm = {"flop": 10, "parameters": 5}
    dreaming.check_weights({"ours": arm, "sheeprl": dict(arm), "ours, large": {"flop": 20, "parameters": 9}})
    with pytest.raises(SystemExit, match="ours has 5 weights, sheeprl 6"):
        dreaming.check_weights({"ours": arm, "sheeprl": {**arm, "parameters": 6}})


def test_dreaming_alternates_its_arms_and_its_table_names_them(monkeypatch, tmp_path):
    out, real = tmp_path / "dreaming.json", arms.peak_arms
    numpy_only = lambda venv: [arm for arm in real(venv, (16,)) if "NumPy" in arm.name]
    monkeypatch.setattr(arms, "peak_arms", numpy_only)
    monkeypatch.setattr(work, "DREAMING", {"small": TINY})
    dreaming.main(["--no-peers", "--rounds", "2", "--out", str(out), "--quiet"])
    raw = json.loads(out.read_text())
    assert [len(arm["timings"]) for arm in raw["arms"].values()] == [2, 2]
    assert f"| ours, small | {raw['arms']['ours, small']['parameters']:,} |" in tables.dreaming(raw)


NETWORKS = [field.name for field in dataclasses.fields(work.Dreaming) if field.name not in ("obs", "image", "action")]


@pytest.mark.parametrize("field", NETWORKS)
def test_the_peer_is_told_of_every_size(field):
    other = dataclasses.replace(TINY, **{field: 2 * getattr(TINY, field)})
    assert sheeprl_options.overrides(other) != sheeprl_options.overrides(TINY)


def test_the_peer_is_told_whether_it_sees_vectors_or_pictures():
    assert {"algo.cnn_keys.encoder=[]", "algo.mlp_keys.encoder=[state]"} <= set(sheeprl_options.overrides(TINY))
    assert {"algo.cnn_keys.encoder=[rgb]", "algo.mlp_keys.encoder=[]"} <= set(sheeprl_options.overrides(PICTURES))


def test_the_peers_loop_is_told_our_presets_schedule(tmp_path):
    given = argparse.Namespace(steps=900, threads=2, venv=pathlib.Path("/nowhere"), cache=tmp_path)
    with pytest.raises(SystemExit, match="no environment of peers"):
        frames.command("sheeprl, Pendulum-v1", 3, given, tmp_path)
    words = sheeprl_options.loop(TINY, "Pendulum-v1", "rows", "out", steps=900, random=500, ratio=0.25)
    wanted = {"env.id=Pendulum-v1", "algo.total_steps=900", "algo.learning_starts=500", "algo.replay_ratio=0.25"}
    assert wanted <= set(words) and set(sheeprl_options.overrides(TINY)) < set(words)
    assert frames.UPDATES_PER_STEP == 1 / 4


def test_ours_is_run_at_the_preset_with_nothing_but_training(tmp_path):
    given = argparse.Namespace(steps=900, threads=2, cache=tmp_path)
    words, env, rows = frames.command("ours, catch", 3, given, tmp_path)
    assert words[3:8] == ["train", "dreamer-v3", "catch", "--preset", "tiny"]
    assert words[words.index("--eval-every") + 1] == "0" and words[words.index("--steps") + 1] == "900"
    assert env == {"XDG_CACHE_HOME": str(tmp_path)} and rows.name == "metrics.jsonl"


def test_steps_are_counted_from_the_first_episode_after_the_start_to_the_last():
    trials = [{"env_steps": s, "wall_s": w, "cpu_s": 2 * w} for s, w in ((100, 50.0), (200, 60.0), (500, 80.0))]
    found = frames.counted(trials, 150)
    assert found == {"env_steps": 300, "wall_s": 20.0, "cpu_s": 40.0, "frames_per_s": 15.0}
    with pytest.raises(SystemExit, match="only 1 episodes ended at or after step 201"):
        frames.counted(trials, 201)


def test_frames_alternate_their_arms_and_their_table_names_them(monkeypatch, tmp_path):
    out, order = tmp_path / "frames.json", []

    def follow(words, env, path, **limits):
        order.append(words[4] if "forethought" in words else "sheeprl")
        return {"trials": [{"env_steps": s, "wall_s": s / 50, "cpu_s": 1.0} for s in (400, 800, 1200)]}

    monkeypatch.setattr(frames, "follow", follow)
    frames.main(["--no-peers", "--rounds", "2", "--out", str(out), "--quiet"])
    raw = json.loads(out.read_text())
    assert len(order) == 6 and set(raw["arms"]) == set(frames.ARMS[:3])
    assert raw["arms"]["ours, catch"]["frames_per_s"] == record.summary([50.0, 50.0])
    assert "| ours, catch | 400 | 2 | 50.0 (50.0 to 50.0) | 12.5 |" in tables.frames(raw)


def test_a_table_without_a_raw_file_says_how_to_make_it(tmp_path):
    page = "<!-- table: frames -->\nold\n<!-- end -->"
    assert "Not measured yet: `python -m benchmarks.frames`" in tables.rendered(page, tmp_path)
